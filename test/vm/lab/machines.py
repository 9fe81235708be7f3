# SPDX-License-Identifier: GPL-2.0
"""The emulated machines as data: IOMMU modes and sets of devices."""

from dataclasses import dataclass

_VTD = "intel-iommu,intremap=on,device-iotlb=on"
# From 7.x on the kernel does without its interrupt remapping: it does not know the I/O APIC.
_AMD = "amd-iommu,dma-remap=on,device-iotlb=on,intremap=on"

# mode -> (the IOMMU or None, kernel command line)
MODES = {
    "legacy": (_VTD, "intel_iommu=on iommu.strict=1"),
    "sm-ss": (_VTD + ",scalable-mode=on,pasid-bits=20", "intel_iommu=on,sm_on iommu.strict=1"),
    "sm-fs": (_VTD + ",scalable-mode=on,fsts=on,pasid-bits=20,svm=on",
              "intel_iommu=on,sm_on iommu.strict=1"),
    "amd": (_AMD, "iommu.strict=1"),
    "noiommu": (None, ""),
}

def is_amd(mode):
    """Whether a mode's IOMMU is AMD-Vi."""
    return mode == "amd"


def title(mode):
    """The IOMMU and its mode, for people."""
    return "AMD-Vi" if is_amd(mode) else f"Intel VT-d {mode}"


def queue_function(mode):
    """The function of the driver that invalidations pass."""
    return "__iommu_queue_command_sync" if is_amd(mode) else "qi_submit_sync"


_VIO = "ats=on,iommu_platform=on,disable-legacy=on"


@dataclass(frozen=True)
class Machine:
    """Devices behind root ports; `disks` are empty files that back drives, by name.

    With `selftests` the guest gets upstream's own of VFIO: see upstream.py.
    """

    name: str
    args: tuple
    disks: tuple = ()
    selftests: bool = False


def _port(number):
    return f"pcie-root-port,id=rp{number},slot={number + 1},chassis={number + 1},addr=1c.{number}"


def _devices(ports, *devices):
    """-device arguments: root port 0 first (it carries multifunction), then the devices."""
    args = []
    for number in range(ports):
        multi = ",multifunction=on" if number == 0 and ports > 1 else ""
        args += ["-device", _port(number) + multi]
    for device in devices:
        args += ["-device", device]
    return tuple(args)


# Without shadow doorbells (dbcs): with them a queue of this nvme stops completing after some
# resets on 6.1, module or not (4 of 7 runs of 40 resets with, 0 of 9 without).
_NVME = "serial=lab0,drive=disk0,dbcs=off"


def _nets(count):
    """-netdev arguments n0, n1 and so on: ports of one hub that leads nowhere."""
    return tuple(arg for number in range(count)
                 for arg in ("-netdev", f"hubport,id=n{number},hubid=0"))


MACHINES = {machine.name: machine for machine in (
    Machine("bare", ()),
    Machine("virtio-ats",
            _nets(2) + _devices(2, f"virtio-net-pci,bus=rp0,netdev=n0,aer=on,{_VIO}",
                                f"virtio-net-pci,bus=rp1,netdev=n1,aer=on,{_VIO}")),
    # All the scenarios in one boot, for a boot costs more than devices do: two ATS endpoints,
    # one function that does DMA on command, two disks, two conventional functions behind a
    # bridge that their power management resets one by one, a switch with two ATS endpoints,
    # a PF with two VFs (they come before their PF, as QEMU wants it).
    # Without 1 GiB pages in first-stage tables there is a domain that the IOMMU must refuse.
    Machine("scenario",
            ("-global", "intel-iommu.fs1gp=off", *_nets(7),
             "-drive", "file=/mnt/disk0,if=none,id=disk0,format=raw,cache=unsafe",
             "-drive", "file=/mnt/disk1,if=none,id=disk1,format=raw,cache=unsafe")
            + _devices(8, f"virtio-net-pci,bus=rp0,netdev=n0,aer=on,{_VIO}",
                       f"virtio-net-pci,bus=rp1,netdev=n1,aer=on,{_VIO}",
                       "edu,bus=rp2",
                       f"nvme,bus=rp3,{_NVME}",
                       f"virtio-blk-pci,bus=rp4,drive=disk1,{_VIO}",
                       "pcie-pci-bridge,bus=rp5,id=pb", "i82559a,bus=pb,addr=1",
                       "i82559a,bus=pb,addr=2",
                       "x3130-upstream,bus=rp6,id=up",
                       "xio3130-downstream,bus=up,id=dn0,chassis=20,slot=20",
                       "xio3130-downstream,bus=up,id=dn1,chassis=21,slot=21",
                       f"virtio-net-pci,bus=dn0,netdev=n2,aer=on,id=d0,{_VIO}",
                       f"virtio-net-pci,bus=dn1,netdev=n3,aer=on,id=d1,{_VIO}",
                       f"virtio-net-pci,bus=rp7,addr=0x0.0x1,sriov-pf=pf,netdev=n4,{_VIO}",
                       f"virtio-net-pci,bus=rp7,addr=0x0.0x2,sriov-pf=pf,netdev=n5,{_VIO}",
                       f"virtio-net-pci,bus=rp7,addr=0x0.0x0,id=pf,netdev=n6,{_VIO}"),
            ("disk0", "disk1")),
    # A function behind the IOMMU, and one on a root bus that the IOMMU is not in front of.
    Machine("bypass",
            _nets(2) + _devices(1, f"virtio-net-pci,bus=rp0,netdev=n0,{_VIO}",
                                "pxb-pcie,id=px,bus=pcie.0,bus_nr=64,bypass_iommu=on",
                                "pcie-root-port,id=rpx,bus=px,addr=0,slot=40,chassis=40",
                                "virtio-net-pci,bus=rpx,netdev=n1,disable-legacy=on")),
    # A driver that recovers from errors. Beside the VFs above, QEMU dies of its own VFs.
    Machine("igb",
            _nets(2) + _devices(2, "igb,bus=rp0,netdev=n0",
                                f"virtio-net-pci,bus=rp1,netdev=n1,{_VIO}")),
    # An IOMMU that caches entries that are not present: the guest has to tell it when one is.
    Machine("caching",
            ("-global", "intel-iommu.caching-mode=on", *_nets(1))
            + _devices(1, f"virtio-net-pci,bus=rp0,netdev=n0,{_VIO}")),
    # For upstream's selftests: a function that they have a driver for, one with ATS.
    Machine("vfio",
            _nets(2) + _devices(2, "igb,bus=rp0,netdev=n0",
                                f"virtio-net-pci,bus=rp1,netdev=n1,{_VIO}"),
            selftests=True),
)}

# The lab's way into the guest, past the IOMMU and where no case resets anything.
AGENT = ("-device", "virtio-serial-pci,bus=pcie.0,addr=1a.0,max_ports=2",
         "-device", "virtserialport,nr=1,chardev=agent,name=agent")

# What QEMU writes down: everything the IOMMU is asked, and what reaches configuration space.
TRACE_EVENTS = (
    "vtd_inv_desc", "vtd_ce_not_present", "vtd_re_not_present", "vtd_dmar_fault",
    "vtd_reg_dmar_root", "vtd_pasid_cache_*", "vtd_context_cache_reset", "pci_cfg_write",
    "amdvi_*_inval", "amdvi_completion_wait", "amdvi_page_fault", "amdvi_invalid_dte",
    "amdvi_ppr_exec",
)

# The reset of a function behind a root port fails without this: a cold-plugged function
# never shows Data Link Layer Link Active otherwise.
_GLOBAL = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"

# Without fast strings the kernel clears and copies pages by eight bytes and not by one, which
# is what an emulated `rep stosb` does.
_CPU = "max,-erms,-fsrm"


def base_args(mode, smp, icount):
    """QEMU's arguments common to all machines."""
    accel = ["tcg,thread=single"] if icount else ["tcg,thread=multi"]
    # One instruction per nanosecond of guest time, and idle time is skipped, not slept.
    clock = ["-icount", "shift=0,sleep=off"] if icount else []
    args = ["-M", "q35", "-accel", *accel, *clock, "-smp", str(1 if icount else smp),
            "-cpu", _CPU, "-m", "1500", "-nodefaults", "-display", "none", "-no-reboot",
            "-global", _GLOBAL]
    # No firmware of theirs: it would ask the network for something to boot.
    for nic in ("virtio-net-pci", "i82559a", "igb"):
        args += ["-global", f"{nic}.romfile="]
    iommu = MODES[mode][0]
    return args + ["-device", iommu] * bool(iommu)
