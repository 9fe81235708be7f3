# SPDX-License-Identifier: GPL-2.0
"""The architectures of the guests as data: everything that tells one from another is here.

The host is an x86_64 in both cases. What is arm64's own is cross-built with Debian's compiler of
that name, in a build root of its own, so that neither lab needs the other.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arch:
    """`name` is what people type, `deb` Debian's name, `uname` what uname -m says.

    `qemu` is the emulator, `qemu_packages` what it takes beside QEMU's own root; `machine` and
    `args` are for every guest, `cmdline` for every kernel. `compiler` makes programs for it.
    """

    name: str
    deb: str
    uname: str
    qemu: str
    qemu_packages: tuple
    machine: str
    args: tuple
    console: str
    cmdline: str
    compiler: str
    # The kernels' images are packed ELF files, which QEMU can start unpacked.
    packed: bool
    # QEMU describes the machine to the kernel by a device tree.
    device_tree: bool

    @property
    def foreign(self):
        """Its packages are not the host's."""
        return self.deb != "amd64"


# Without fast strings the kernel clears and copies pages by eight bytes and not by one, which
# is what an emulated `rep stosb` does. The reset of a function behind a root port fails with
# ACPI's hotplug: a cold-plugged function never shows Data Link Layer Link Active otherwise.
# no_timer_check: the kernel wants ten timer interrupts within 40 ms of emulated time, or panics;
# on a host whose CPUs are taken away for a moment they come too late.
X86_64 = Arch(
    "x86_64", "amd64", "x86_64",
    qemu="qemu-system-x86_64", qemu_packages=(),
    machine="q35",
    args=("-cpu", "max,-erms,-fsrm",
          "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"),
    console="ttyS0", cmdline="no_timer_check",
    compiler="gcc", packed=True, device_tree=False)

# Signed return addresses cost an emulated CPU a cipher in every function, a fifth of its time: one
# mode has them (machines.py), by QEMU's own algorithm. In 7.x a port with nothing below it is put to sleep where there is a device tree,
# and tells by PME only that something is plugged in: the exerciser's does not.
ARM64 = Arch(
    "arm64", "arm64", "aarch64",
    qemu="qemu-system-aarch64", qemu_packages=("qemu-system-arm", "device-tree-compiler"),
    machine="virt,gic-version=3",
    args=("-cpu", "max,pauth=off,lpa2=off"),
    console="ttyAMA0", cmdline="pcie_port_pm=off",
    compiler="aarch64-linux-gnu-gcc-14", packed=False, device_tree=True)

ARCHES = {arch.name: arch for arch in (X86_64, ARM64)}
