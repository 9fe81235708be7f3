# SPDX-License-Identifier: GPL-2.0
"""The debootstrap roots: `build` compiles against Debian's headers, `build-arm64` does so for arm64,
`qemu` runs QEMU. packages.py and disk.py have two more.

They are apart because the QEMU of trixie-backports and the compilers of three suites do not
share packages well. All start as copies of one `base`, so the archive is asked only once.
"""

import hashlib
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from . import arch, mirrors
from .host import LAB, in_root, lock, log_path, publish, remove_tree, run, step

BASE_SUITE = "trixie"
LISTS_FRESH_SECONDS = 24 * 3600
_FORMAT = 1


@dataclass(frozen=True)
class Root:
    """A root by what apt may see and what is always installed in it.

    `foreign` is another architecture whose packages apt sees, too; of those `unpacked` ones are
    there as files only.
    """

    name: str
    suites: tuple
    packages: tuple
    prefer: str = ""
    foreign: str = ""
    unpacked: tuple = ()

    @property
    def path(self):
        return LAB / self.name


BUILD = Root(
    "build",
    ("trixie", "trixie-updates", "trixie-security", "trixie-backports",
     "bookworm", "bookworm-updates", "bookworm-security"),
    ("dkms", "gcc", "make", "libc6-dev", "busybox-static", "kmod", "xz-utils", "zstd"))
BUILD_ARM64 = Root(
    "build-arm64",
    ("trixie", "trixie-updates", "trixie-security", "trixie-backports"),
    # dkms calls `strip`, and not that of an architecture.
    ("dkms", "gcc", "make", "libc6-dev", "kmod", "xz-utils", "zstd", "binutils-multiarch",
     "gcc-14-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    foreign="arm64", unpacked=("busybox-static",))
_BUILDS = {arch.X86_64: BUILD, arch.ARM64: BUILD_ARM64}
QEMU = Root(
    "qemu",
    ("trixie", "trixie-updates", "trixie-security", "trixie-backports"),
    ("qemu-system-x86",),
    prefer="trixie-backports")
# Only `make check` needs these; the demo need not wait for them.
CHECKERS = ("sparse", "binutils", "libelf-dev")


def build(target):
    """The build root of an architecture."""
    return _BUILDS[target]


def _configure(root, path):
    """Give a fresh root this machine's way to the archive, and a dpkg that need not be safe."""
    etc = path / "etc"
    (etc / "apt/sources.list").write_text(mirrors.sources(root.suites))
    (etc / "apt/apt.conf.d/80host").write_text(mirrors.apt_settings())
    (etc / "apt/apt.conf.d/81lab").write_text(
        'APT::Install-Recommends "false";\nAcquire::Languages "none";\n'
        'APT::Sandbox::User "root";\nDpkg::Use-Pty "0";\nAcquire::Retries "3";\n'
        + (f'APT::Default-Release "{root.prefer}";\n' if root.prefer else ""))
    (etc / "dpkg/dpkg.cfg.d/lab").write_text(
        "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n"
        "path-exclude=/usr/share/locale/*\n")
    shutil.copyfile("/etc/resolv.conf", etc / "resolv.conf")
    shutil.copyfile("/etc/hosts", etc / "hosts")
    shutil.copyfile(mirrors.keyring(), path / str(mirrors.keyring()).lstrip("/"))
    (path / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
    (path / "usr/sbin/policy-rc.d").chmod(0o755)


def _base():
    final = LAB / "base"
    with lock("base"):
        if final.exists():
            return final
        partial = LAB / "base.partial"
        remove_tree(partial)
        log = log_path("base")
        with step(f"debootstrap {BASE_SUITE}", log):
            run(["debootstrap", "--variant=minbase", "--include=ca-certificates",
                 f"--keyring={mirrors.keyring()}", BASE_SUITE, partial, mirrors.find()[0]],
                log, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **mirrors.proxy_environment()})
        publish(partial, final)
    return final


def _want(root):
    text = f"{_FORMAT} {mirrors.sources(root.suites)} {mirrors.apt_settings()} {root.prefer}"
    text += root.foreign
    return hashlib.sha256(text.encode()).hexdigest()


def _create(root):
    """Copy base, point apt at the root's suites, fetch the lists."""
    stamp = root.path / ".lab/format"
    if stamp.exists() and stamp.read_text() == _want(root):
        return
    base = _base()
    partial = LAB / f"{root.name}.partial"
    remove_tree(partial)
    run(["cp", "-a", "--reflink=auto", base.resolve(), partial])
    _configure(root, partial)
    (partial / ".lab").mkdir()
    if root.foreign:
        run(in_root(partial, ["dpkg", "--add-architecture", root.foreign]))
    _update(root, partial)
    (partial / ".lab/format").write_text(_want(root))
    publish(partial, root.path)


def _update(root, path):
    log = log_path(root.name)
    with step(f"{root.name}: package lists", log):
        run(in_root(path, ["apt-get", "-q", "update"]), log)
    (path / ".lab/lists").touch()


def refresh(root):
    """Package lists not older than a day; without a network the old ones serve."""
    stamp = root.path / ".lab/lists"
    if not stamp.exists() or time.time() - stamp.stat().st_mtime > LISTS_FRESH_SECONDS:
        _update(root, root.path)


def _stamp(root, packages):
    """The file that says that these are there."""
    name = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:16]
    return root.path / ".lab" / f"has-{name}"


def install(root, packages, title, prefer=()):
    """Install packages once; an interrupted dpkg is completed first.

    `prefer` = ("-t", suite) lets what they depend on come from that suite too.
    """
    stamp = _stamp(root, packages)
    if stamp.exists():
        return
    log = log_path(root.name)
    dirty = root.path / ".lab/dirty"
    if dirty.exists():
        run(in_root(root.path, ["dpkg", "--configure", "-a"]), log)
    dirty.touch()
    with step(f"{root.name}: {title}", log):
        run(in_root(root.path, ["apt-get", "-q", "-y", "install", *prefer, *packages],
                    env={"INITRD": "No"}), log)
        run(in_root(root.path, ["apt-get", "clean"]), log)
    dirty.unlink()
    stamp.write_text(" ".join(packages))


_UNPACK = """set -e
rm -rf /tmp/unpack && mkdir /tmp/unpack && cd /tmp/unpack
apt-get -q download "$@"
for package in *.deb; do dpkg-deb -x "$package" /; done
rm -rf /tmp/unpack"""


def unpack(root, packages, title):
    """The files of packages of the root's foreign architecture, once; nothing of theirs runs.

    apt would want the compiler and the libraries of that architecture along with them.
    """
    wanted = [re.sub("^[^=]+", rf"\g<0>:{root.foreign}", package) for package in packages]
    stamp = _stamp(root, wanted)
    if stamp.exists():
        return
    log = log_path(root.name)
    with step(f"{root.name}: {title}", log):
        run(in_root(root.path, ["sh", "-c", _UNPACK, "unpack", *wanted]), log)
    stamp.write_text(" ".join(wanted))


def ensure(root, extra=()):
    """Bring a root up to date and return its path."""
    with lock(root.name, f"{root.name}: waiting for another run that sets it up"):
        _create(root)
        install(root, root.packages, "install " + " ".join(root.packages))
        if extra:
            install(root, extra, "install " + " ".join(extra))
        if root.unpacked:
            unpack(root, root.unpacked, "unpack " + " ".join(root.unpacked))
    return Path(root.path)
