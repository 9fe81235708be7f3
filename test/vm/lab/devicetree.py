# SPDX-License-Identifier: GPL-2.0
"""The device tree of a guest: QEMU's own, with what its emulated host bridge lacks."""

from . import roots
from .host import in_root, run

NAME = "virt.dtb"
# Without it the kernel takes the host bridge for one that passes no ATS requests on.
_ATS = ["fdtput", f"/mnt/{NAME}", "/pcie@10000000", "ats-supported"]


def write(arch, base_args, directory):
    """Have a QEMU with these arguments dump its tree to `directory`, and change that."""
    in_qemu = {"root": roots.QEMU.path, "binds": [(directory, "/mnt")]}
    machine = base_args.index("-M") + 1
    dump = [f"{arg},dumpdtb=/mnt/{NAME}" if index == machine else arg
            for index, arg in enumerate(base_args)]
    run(in_root(argv=[arch.qemu, *dump], **in_qemu))
    run(in_root(argv=_ATS, **in_qemu))
