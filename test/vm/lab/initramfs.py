# SPDX-License-Identifier: GPL-2.0
"""Small initramfs per kernel: busybox, a few of that kernel's own modules.

A base archive per kernel is cached; what a run adds is a second archive behind it (the
kernel unpacks concatenated archives in order). Nothing is compressed: unpacking costs more
under TCG than copying does.
"""

import hashlib
import lzma
import os
import stat
import subprocess
from pathlib import Path

from .host import LAB, LabError, in_root, lock, remove_tree, run

INIT = Path(__file__).with_name("init.sh")
# Everything the cases load; names that a kernel lacks or has built in are skipped.
MODULES = (
    "virtio_pci", "virtio_console", "virtio_net", "virtio_blk", "nvme", "igb", "vfio_pci",
    "vfio_iommu_type1",
    "pci_pf_stub",
    "failover", "net_failover", "crc32c", "crc32c_generic", "iova", "crc-t10dif",
)


def _header(name, mode, size, rdev=(0, 0), inode=0):
    fields = (inode, mode, 0, 0, 1, 0, size, 0, 0, *rdev, len(name) + 1, 0)
    data = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return data + b"\0" * (-len(data) % 4)


class Cpio:
    """A newc archive in memory."""

    def __init__(self):
        self._parts = []
        self._dirs = set()

    def _add(self, name, mode, data=b"", rdev=(0, 0)):
        self._parts.append(_header(name, mode, len(data), rdev, len(self._parts) + 1))
        self._parts.append(data + b"\0" * (-len(data) % 4))

    def directory(self, name):
        name = name.strip("/")
        if not name or name in self._dirs:
            return
        self.directory(os.path.dirname(name))
        self._dirs.add(name)
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o755):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name, target):
        name = name.strip("/")
        self.directory(os.path.dirname(name))
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._add(name.strip("/"), stat.S_IFCHR | 0o600, rdev=(major, minor))

    def bytes(self):
        end = _header("TRAILER!!!", 0, 0)
        data = b"".join(self._parts) + end
        return data + b"\0" * (-len(data) % 512)


def read_module(path):
    """A kernel module's bytes, decompressed if the distribution compresses them."""
    data = Path(path).read_bytes()
    if path.name.endswith(".xz"):
        return lzma.decompress(data)
    if path.name.endswith(".zst"):
        return subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE, check=True).stdout
    return data


def _plain(name):
    return name.split(".ko")[0].replace("-", "_")


def _closure(kernel, wanted):
    """Paths below the module directory of the wanted modules and what they depend on."""
    depends = {}
    for line in (kernel.modules / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        depends[module] = rest.split()
    by_name = {_plain(os.path.basename(path)): path for path in depends}
    todo = [by_name[_plain(name)] for name in wanted if _plain(name) in by_name]
    found = []
    while todo:
        path = todo.pop()
        if path not in found:
            found.append(path)
            todo += depends[path]
    return sorted(found)


def _depmod(kernel, directory):
    """Run the build root's depmod on a directory of modules; the host may have none."""
    run(in_root(kernel.root.path, ["depmod", "-b", "/mnt", kernel.release],
                binds=[(directory, f"/mnt/lib/modules/{kernel.release}")]))


def _gather(kernel, tree):
    """Copy the closure, decompressed, below `tree` and index it."""
    for path in _closure(kernel, MODULES):
        target = tree / path.split(".ko")[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_name(target.name + ".ko").write_bytes(read_module(kernel.modules / path))
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (tree / name).write_bytes((kernel.modules / name).read_bytes())
    _depmod(kernel, tree)


def _base_bytes(kernel, tree):
    cpio = Cpio()
    for name in ("dev", "proc", "sys", "run", "tmp", "etc", "sbin", "usr/bin", "usr/sbin", "lab"):
        cpio.directory(name)
    cpio.device("dev/console", 5, 1)
    busybox = kernel.root.path / "usr/bin/busybox"
    cpio.file("bin/busybox", busybox.read_bytes())
    cpio.link("bin/sh", "busybox")
    cpio.file("init", INIT.read_bytes())
    for path in sorted(tree.rglob("*")):
        if path.is_file():
            cpio.file(f"lib/modules/{kernel.release}/{path.relative_to(tree)}",
                      path.read_bytes(), 0o644)
    return cpio.bytes()


def base(kernel):
    """The cached base archive of a kernel."""
    seed = hashlib.sha256(INIT.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
    path = LAB / "initramfs" / f"{kernel.name}-{seed}.cpio"
    with lock("initramfs"):
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            tree = path.with_suffix(".tree")
            remove_tree(tree)
            tree.mkdir()
            _gather(kernel, tree)
            partial = path.with_suffix(".partial")
            partial.write_bytes(_base_bytes(kernel, tree))
            remove_tree(tree)
            os.rename(partial, path)
    return path


def write(kernel, target, files=()):
    """An initramfs for one run: the base and `files`, (name in the guest, path or bytes)."""
    overlay = Cpio()
    for name, source in files:
        data = source if isinstance(source, bytes) else _read(source)
        overlay.file(name, data)
    with open(target, "wb") as out:
        out.write(base(kernel).read_bytes())
        out.write(overlay.bytes())


def _read(path):
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise LabError(f"{path}: {error.strerror}: build it first") from error
