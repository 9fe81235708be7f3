# SPDX-License-Identifier: GPL-2.0
"""Upstream's own selftests of VFIO give the same with the module as without."""

import re

import pytest

from scenario import windows

pytestmark = [pytest.mark.machine("vfio"), pytest.mark.kernels("trixie-backports"),
              pytest.mark.once, pytest.mark.reload, pytest.mark.vtd]
IGB, VIO = "01:00.0", "02:00.0"

# Without IOMMUFD their variants are not for us: every name one can have.
NOT_OURS = " ".join(
    f"-V {mode}{kind}" for mode in ("iommufd", "iommufd_compat_type1", "iommufd_compat_type1v2")
    for kind in ("", "_anonymous", "_anonymous_hugetlb_2mb", "_anonymous_hugetlb_1gb",
                 "_same_uuid", "_diff_uuid", "_null_uuid"))
# (program, functions): vfio_iommufd_setup_test is IOMMUFD's alone.
PROGRAMS = (
    ("vfio_pci_device_test", (VIO,)),
    ("vfio_pci_device_test", (IGB,)),
    ("vfio_dma_mapping_test", (VIO,)),
    ("vfio_dma_mapping_mmio_test", (VIO,)),
    ("vfio_pci_device_init_perf_test", (VIO, IGB)),
    ("vfio_pci_sriov_uapi_test", (IGB,)),
)
# No virtio function has MSI; 1 GiB pages do not fit into the guest.
SKIPPED = {
    "vfio_pci_irq_test.msi.enable_trigger_disable",
    "vfio_dma_mapping_test.vfio_type1_iommu_anonymous_hugetlb_1gb.dma_map_unmap",
    "vfio_dma_mapping_test.vfio_type1v2_iommu_anonymous_hugetlb_1gb.dma_map_unmap",
}
RESULT = re.compile(r"^(ok|not ok) \d+ (\S+)(.*)$", re.M)


@pytest.fixture
def assigned(vm):
    """Both functions bound to vfio-pci, which may make VFs; pages of 2 MiB."""
    vm.sh("modprobe vfio-pci enable_sriov=1; modprobe vfio_iommu_type1; "
          f"rgx bind {IGB} vfio-pci , bind {VIO} vfio-pci; echo 4 > /proc/sys/vm/nr_hugepages; "
          "echo always > /sys/kernel/mm/transparent_hugepage/shmem_enabled")
    yield vm
    if vm.alive:
        vm.sh(f"rgx -k rebind {IGB} , rebind {VIO}; echo 0 > /proc/sys/vm/nr_hugepages")


def verdicts(vm, program, functions, flags=""):
    """{test: "ok", "not ok" or "skip"}"""
    out = vm.sh(f"{program} {NOT_OURS} {flags} " + " ".join("0000:" + bdf for bdf in functions),
                timeout=100, check=False).out
    found = {name: "skip" if "# SKIP" in rest else word
             for word, name, rest in RESULT.findall(out)}
    plan = re.search(r"^1\.\.(\d+)", out, re.M)
    assert plan and int(plan[1]) == len(found) > 0, out
    return found


def compare(vm, gate, program, functions, flags="", skipped=()):
    """The same test by test, none that fails, and the module took part."""
    stock = verdicts(vm, program, functions, flags)
    assert "not ok" not in stock.values(), stock
    assert {name for name, word in stock.items() if word == "skip"} <= set(skipped), stock
    gate("scope=all")
    before = sum(windows(vm, bdf) for bdf in functions)
    assert verdicts(vm, program, functions, flags) == stock
    assert sum(windows(vm, bdf) for bdf in functions) >= before + len(functions)
    vm.sh("rmmod resetgate")
    return stock


def test_functions(assigned, gate):
    """Opening, config space, interrupts, resets, DMA maps, VF tokens, by both type 1 variants.

    Deliberate break: rg_reset_path_reset() returns -EINVAL (VFIO then offers no reset).
    """
    seen = set()
    for program, functions in PROGRAMS:
        found = compare(assigned, gate, program, functions, skipped=SKIPPED)
        seen |= {name for name, word in found.items() if word == "skip"}
    assert seen == SKIPPED, "one that was skipped runs now: say so in the docs"


# With a driver of theirs for igb. They pin a GiB, and wait for its link again and again.
DRIVER = {
    "short": "-t init_remove -t memcpy_success -t send_msi",
    "unmapped": "-t memcpy_from_unmapped_iova -t memcpy_to_unmapped_iova",
    "mixed": "-t mix_and_match",
    "storm": "-t memcpy_storm",
}


@pytest.mark.long
@pytest.mark.parametrize("part", DRIVER)
def test_driver(assigned, gate, part):
    """DMA and interrupts of a real function, by a driver in user space.

    Deliberate break: rg_gate_leave() does not settle (its DMA stays blocked).
    """
    compare(assigned, gate, "vfio_pci_driver_test", (IGB,), DRIVER[part])
