# SPDX-License-Identifier: GPL-2.0
"""The trace reader, on lines as QEMU writes them."""

import pytest

from lab.trace import CfgRead, CfgWrite, CtxInv, DevTlbInv, IotlbInv, Mark, PasidInv, Trace, Wait

AT = "2026-01-01T00:00:00.000001Z "
LINES = (
    "pci_cfg_write mch 00:00.0 @0x2c <- 0x1",
    "vtd_inv_desc invalidate desc type iotlb high 0x0 low 0x600000022",
    "vtd_inv_desc invalidate desc type dev-iotlb high 0x1001 low 0x10000000003",
    "vtd_inv_desc invalidate desc type pasid-dev-iotlb high 0x1001 low 0x501000008",
    "pci_cfg_write virtio-net-pci 01:00.0 @0x48 <- 0x800f",
    "vtd_inv_desc invalidate desc type context high 0x0 low 0x10000060031",
    "vtd_inv_desc invalidate desc type pasid high 0x0 low 0x500060017",
    "vtd_inv_desc invalidate desc type wait high 0x1042d8c low 0x200000025",
    "pci_cfg_write virtio-net-pci 01:00.0 @0x14e <- 0x8000",
    "pci_cfg_write virtio-net-pci 01:00.0 @0x14e <- 0x0",
    "vtd_ce_not_present Context entry bus 1 devfn 0 not present",
    "pci_cfg_read virtio-net-pci 01:00.0 @0x14e -> 0x8000",
    "pci_cfg_write mch 00:00.0 @0x2c <- 0x2",
)
TEXT = "".join(f"{AT}{line}\n" for line in LINES)


def test_types_and_order():
    """Every line becomes the event it is, in order."""
    kinds = [type(event) for event in Trace.parse(TEXT)][:9]
    assert kinds == [Mark, IotlbInv, DevTlbInv, DevTlbInv, CfgWrite, CtxInv, PasidInv, Wait,
                     CfgWrite]


def test_decoding():
    """Source IDs and PASIDs are read from the right bits, of both device-TLB descriptors."""
    trace = Trace.parse(TEXT)
    assert [(event.bdf, event.pasid) for event in trace.of(DevTlbInv)] == [
        ("01:00.0", None), ("01:00.0", 5)]
    context, = trace.of(CtxInv)
    assert (context.granularity, context.did, context.bdf) == (3, 6, "01:00.0")
    wait, = trace.of(Wait)
    assert (wait.addr, wait.data) == (0x1042D8C, 2)


def test_helpers():
    """FLR, ATS, faults and slices."""
    window = Trace.parse(TEXT).between(1, 2)
    flr, = window.flr_start("01:00.0", 0x40)
    assert window.before(flr).dev_tlb("01:00.0") and not window.after(flr).dev_tlb("01:00.0")
    assert [on for _, on in window.ats_writes("01:00.0", 0x148)] == [True, False]
    assert len(window.not_present()) == 1
    read, = window.of(CfgRead)
    assert (read.bdf, read.offset) == ("01:00.0", 0x14E)
    assert not window.cfg("02:00.0")


def test_unfinished_line_and_missing_mark():
    """A line that is still being written is left alone; a missing mark is an error."""
    assert len(Trace.parse(TEXT[:-5])) == len(Trace.parse(TEXT)) - 1
    with pytest.raises(LookupError, match="no mark"):
        Trace.parse(TEXT).between(1, 3)
