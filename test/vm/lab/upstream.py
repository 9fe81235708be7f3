# SPDX-License-Identifier: GPL-2.0
"""The kernel's own selftests of VFIO, from Debian's package of that kernel's source.

Nothing of them is in the tree: they are built in the build root, statically, and cached.
"""

import hashlib
from pathlib import Path

from . import roots
from .host import LAB, LabError, in_root, lock, log_path, publish, remove_tree, run, step

TESTS = "tools/testing/selftests/vfio"
# What their Makefile and headers reach for.
_NEEDED = (f"{TESTS}/*", "tools/testing/selftests/lib.mk", "tools/testing/selftests/*.h",
           "tools/include/*", "tools/arch/x86/include/*", "scripts/subarch.include",
           "include/linux/pci_ids.h", "drivers/dma/idxd/*.h", "drivers/dma/ioat/*.h",
           "drivers/net/ethernet/intel/igb/*.h")
# Debian's kernels have no IOMMUFD: tests that take the default mode get type 1.
_DEFAULT = ("lib/iommu.c", "const char *default_iommu_mode = MODE_IOMMUFD;",
            "const char *default_iommu_mode = MODE_VFIO_TYPE1V2_IOMMU;")


def _install(kernel):
    """The source package, the headers of the same version, what the tests link with."""
    series = ".".join(map(str, kernel.series))
    packages = (f"linux-source-{series}={kernel.version}",
                f"linux-libc-dev={kernel.version}", "uuid-dev")
    roots.install(roots.BUILD, packages, f"install linux-source-{series}")
    return f"linux-source-{series}"


def _unpack(source, stage, log):
    with step(f"unpack the selftests of {source}", log):
        run(in_root(roots.BUILD.path,
                    ["tar", "-C", "/mnt", "--strip-components=1", "--wildcards", "-xf",
                     f"/usr/src/{source}.tar.xz", *(f"{source}/{name}" for name in _NEEDED)],
                    binds=[(stage, "/mnt")]), log)
    name, old, new = _DEFAULT
    path = stage / TESTS / name
    text = path.read_text()
    if text.count(old) != 1:
        raise LabError(f"{source}: {name} has {text.count(old)} times {old!r}, one is needed: "
                       "upstream has changed, change test/vm/lab/upstream.py")
    path.write_text(text.replace(old, new))


def _build(kernel, stage, final):
    log = log_path(f"selftests-{kernel.key}")
    _unpack(_install(kernel), stage, log)
    with step(f"{kernel.key}: build {TESTS}", log):
        run(in_root(roots.BUILD.path,
                    ["make", "-C", f"/mnt/{TESTS}", "ARCH=x86_64", "LDFLAGS=-static"],
                    binds=[(stage, "/mnt")]), log)
    partial = final.with_name(final.name + ".partial")
    remove_tree(partial)
    partial.mkdir(parents=True)
    for path in sorted((stage / TESTS).glob("*_test")):
        run(["strip", "-o", partial / path.name, path], log)
    publish(partial, final)


def guest_files(kernel):
    """The programs, as initramfs.write() wants them."""
    seed = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    final = LAB / "selftests" / f"{kernel.name}-{seed}"
    stage = LAB / "stage" / f"selftests-{kernel.key}"
    with lock("build", "waiting for another run that uses the build root"):
        if not final.exists():
            remove_tree(stage)
            stage.mkdir(parents=True)
            try:
                _build(kernel, stage, final)
            finally:
                remove_tree(stage)
    return [(f"lab/{path.name}", path) for path in sorted(final.iterdir())]
