# SPDX-License-Identifier: GPL-2.0
"""The emulated machines as data: IOMMU modes and sets of devices."""

from dataclasses import dataclass

from .arch import ARM64, X86_64


@dataclass(frozen=True)
class Mode:
    """An IOMMU and how it is used; `device` or a property of the `machine` makes it.

    The driver uses ATS where `belief`, a command of the exerciser, makes it believe in what
    QEMU's IOMMU lacks; a kernel older than `since` needs no such thing.
    """

    arches: tuple
    vendor: str
    title: str
    cmdline: str = ""
    device: str = ""
    machine: str = ""
    args: tuple = ()
    belief: str = ""
    since: tuple = (0, 0)


_X86, _ARM = (X86_64.name,), (ARM64.name,)
_VTD = "intel-iommu,intremap=on,device-iotlb=on"
# From 7.x on the kernel does without its interrupt remapping: it does not know the I/O APIC.
_AMD = "amd-iommu,dma-remap=on,device-iotlb=on,intremap=on"

MODES = {
    "legacy": Mode(_X86, "vtd", "Intel VT-d legacy", "intel_iommu=on iommu.strict=1", _VTD),
    "sm-ss": Mode(_X86, "vtd", "Intel VT-d sm-ss", "intel_iommu=on,sm_on iommu.strict=1",
                  _VTD + ",scalable-mode=on,pasid-bits=20"),
    "sm-fs": Mode(_X86, "vtd", "Intel VT-d sm-fs", "intel_iommu=on,sm_on iommu.strict=1",
                  _VTD + ",scalable-mode=on,fsts=on,pasid-bits=20,svm=on"),
    # From 6.12 on the driver of AMD-Vi wants EPHSup, in 7.x GIOSup as well.
    "amd": Mode(_X86, "amd", "AMD-Vi", "iommu.strict=1", _AMD, belief="amdats", since=(6, 12)),
    # Stage 1 is what the driver prefers, stage 2 what is left where the SMMU has no other.
    "smmu": Mode(_ARM, "smmu", "Arm SMMUv3", "iommu.strict=1", machine="iommu=smmuv3",
                 belief="smmuats"),
    # The machine's own IOMMU always has both. Here return addresses are signed as well.
    "smmu-s2": Mode(_ARM, "smmu", "Arm SMMUv3 stage 2", "iommu.strict=1",
                    args=("-cpu", "max,pauth-impdef=on,lpa2=off"),
                    device="arm-smmuv3,primary-bus=pcie.0,stage=2", belief="smmuats"),
    "noiommu": Mode(_X86 + _ARM, "", "no IOMMU"),
}


def modes(arch):
    """The names of an architecture's modes."""
    return tuple(name for name, mode in MODES.items() if arch.name in mode.arches)


def vendor(mode):
    """Whose tables and commands a mode's IOMMU has: vtd, amd, smmu, or nobody's."""
    return MODES[mode].vendor


def is_amd(mode):
    """Whether a mode's IOMMU is AMD-Vi."""
    return vendor(mode) == "amd"


def is_smmu(mode):
    """Whether a mode's IOMMU is an Arm SMMUv3."""
    return vendor(mode) == "smmu"


def title(mode):
    """The IOMMU and its mode, for people."""
    return MODES[mode].title


def queue_function(mode, series):
    """The function of the driver that invalidations pass, in a kernel of that series."""
    if is_smmu(mode):
        # From 7.3 on the compiler copies the old one into its callers.
        return "_" * 2 * (series >= (7, 3)) + "arm_smmu_cmdq_issue_cmdlist"
    return "__iommu_queue_command_sync" if is_amd(mode) else "qi_submit_sync"


_VIO = "ats=on,iommu_platform=on,disable-legacy=on"


@dataclass(frozen=True)
class Machine:
    """Devices behind root ports; `disks` are empty files that back drives, by name.

    With `selftests` the guest gets upstream's own of VFIO: see upstream.py. `vtd` are properties of
    VT-d, for the machine where there is one.
    """

    name: str
    args: tuple
    disks: tuple = ()
    selftests: bool = False
    vtd: tuple = ()


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
            (*_nets(7),
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
            ("disk0", "disk1"), vtd=("-global", "intel-iommu.fs1gp=off")),
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
            _nets(1) + _devices(1, f"virtio-net-pci,bus=rp0,netdev=n0,{_VIO}"),
            vtd=("-global", "intel-iommu.caching-mode=on")),
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
TRACE_EVENTS = {
    X86_64: (
        "vtd_inv_desc", "vtd_ce_not_present", "vtd_re_not_present", "vtd_dmar_fault",
        "vtd_reg_dmar_root", "vtd_pasid_cache_*", "vtd_context_cache_reset", "pci_cfg_write",
        "amdvi_*_inval", "amdvi_completion_wait", "amdvi_page_fault", "amdvi_invalid_dte",
        "amdvi_ppr_exec"),
    ARM64: (
        "smmuv3_cmdq_opcode", "smmuv3_cmdq_consume", "smmuv3_cmdq_cfgi_ste",
        "smmuv3_cmdq_cfgi_ste_range", "smmuv3_cmdq_cfgi_cd", "smmuv3_cmdq_consume_error",
        "smmuv3_cmdq_tlbi_*", "smmuv3_propagate_event", "smmuv3_translate_abort",
        "pci_cfg_write"),
}


def base_args(arch, mode, machine, smp, icount):
    """QEMU's arguments but for the kernel and the machine's devices."""
    accel = ["tcg,thread=single"] if icount else ["tcg,thread=multi"]
    # One instruction per nanosecond of guest time, and idle time is skipped, not slept.
    clock = ["-icount", "shift=0,sleep=off"] if icount else []
    iommu = MODES[mode]
    args = ["-M", ",".join(filter(None, (arch.machine, iommu.machine))), "-accel", *accel, *clock,
            "-smp", str(1 if icount else smp), "-m", "1500", "-nodefaults", "-display", "none",
            "-no-reboot", *arch.args, *iommu.args]
    # No firmware of theirs: it would ask the network for something to boot.
    for nic in ("virtio-net-pci", "i82559a", "igb"):
        args += ["-global", f"{nic}.romfile="]
    if "intel-iommu" in iommu.device:
        args += machine.vtd
    return args + ["-device", iommu.device] * bool(iommu.device)
