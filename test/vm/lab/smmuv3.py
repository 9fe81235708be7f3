# SPDX-License-Identifier: GPL-2.0
"""SMMUv3's tables in guest memory. Bits are those of Arm IHI 0070, 5.2 to 5.4; page tables those of
the Arm architecture's VMSAv8-64 with a granule of 4 KiB, the only one the lab's kernels use.
"""

import functools
import re
from dataclasses import dataclass

from .guest_memory import dword, quads, split

_STRTAB_BASE, _STRTAB_BASE_CFG = 0x80, 0x88
_BYPASS, _STAGE1, _STAGE2 = 4, 5, 6  # of Config; without bit 2 all DMA is refused
_S1DSS_BYPASS = 1
_PAGE_BITS, _INDEX_BITS = 12, 9


def _bits(word, high, low):
    return word >> low & (1 << high - low + 1) - 1


def _address(word, high, low):
    """An address that lies in these bits."""
    return _bits(word, high, low) << low


@dataclass(frozen=True)
class StreamEntry:
    """A stream table entry: eight quadwords."""

    words: tuple

    # No entry refuses without a word: fault reports cannot be turned off.
    fpd = False
    # What an attach changes may be behind the entry, as in VT-d's scalable mode.
    @property
    def scalable(self):
        return self.config == _STAGE1

    @property
    def valid(self):
        return bool(self.words[0] & 1)

    @property
    def config(self):
        return _bits(self.words[0], 3, 1)

    @property
    def present(self):
        """Some DMA passes."""
        return self.valid and bool(self.config & 4)

    @property
    def blocked(self):
        """As resetgate leaves it in a window: valid, all is refused, and nothing else is set."""
        return self.words == (1, 0, 0, 0, 0, 0, 0, 0)

    @property
    def bypass(self):
        """What passes, passes untranslated."""
        dss = self.config == _STAGE1 and self.pasid_bits and _bits(self.words[1], 1, 0)
        return self.config == _BYPASS or dss == _S1DSS_BYPASS

    @property
    def device_tlb(self):
        """The IOMMU answers translation requests of this function (EATS)."""
        return self.present and _bits(self.words[1], 29, 28) == 1

    @property
    def pasid_bits(self):
        """S1CDMax."""
        return _bits(self.words[0], 63, 59)

    @property
    def pointer(self):
        """The table of context descriptors, or the root of stage 2."""
        if self.config == _STAGE2:
            return _address(self.words[3], 51, 4)
        return _address(self.words[0], 51, 6)

    @property
    def vmid(self):
        return _bits(self.words[2], 15, 0)

    @property
    def levels(self):
        """How many levels stage 2 walks: S2SL0 says where it starts."""
        return 2 + _bits(self.words[2], 39, 38)


@dataclass(frozen=True)
class ContextDescriptor:
    """Eight quadwords: the tables of stage 1, for requests of one PASID or without one."""

    words: tuple

    @property
    def present(self):
        return bool(self.words[0] & 1 << 31)

    @property
    def did(self):
        """The ASID."""
        return _bits(self.words[0], 63, 48)

    @property
    def pointer(self):
        """The root of the page table: TTB0."""
        return _address(self.words[1], 51, 4)

    @property
    def levels(self):
        """As many as the address has bits for: T0SZ says how many it lacks."""
        bits = 64 - _bits(self.words[0], 5, 0)
        return -(-(bits - _PAGE_BITS) // _INDEX_BITS)


@functools.lru_cache(maxsize=4)
def registers(vm):
    """Where the emulated SMMUv3's registers are: the machine's own is not where a device's are."""
    found = re.search(r"^ +([0-9a-f]{16})-\S+ \(prio \d+, i/o\): \S*smmuv3\s*$",
                      vm.hmp("info mtree -f"), re.M)
    if not found:
        raise LookupError("QEMU has no SMMUv3")
    return int(found[1], 16)


def stream_id(bdf):
    """virt's host bridge gives a function the stream ID that is its requester ID."""
    bus, devfn = split(bdf)
    return bus << 8 | devfn


def entry(vm, bdf):
    """The stream table entry of a requester ID; one of zeros where no table exists yet."""
    sid = stream_id(bdf)
    base = _address(quads(vm, registers(vm) + _STRTAB_BASE, 1)[0], 51, 6)
    config = dword(vm, registers(vm) + _STRTAB_BASE_CFG)
    if _bits(config, 17, 16) == 0:
        return StreamEntry(quads(vm, base + sid * 64, 8))
    shift = _bits(config, 10, 6)
    level1, = quads(vm, base + (sid >> shift) * 8, 1)
    span, index = _bits(level1, 4, 0), sid & (1 << shift) - 1
    if not span or index >= 1 << span - 1:
        return StreamEntry((0,) * 8)
    return StreamEntry(quads(vm, _address(level1, 51, 6) + index * 64, 8))


def _descriptor(vm, found, pasid):
    """The context descriptor of a PASID behind an entry of stage 1, or None."""
    table, index = found.pointer, pasid
    if pasid >= 1 << found.pasid_bits:
        return None
    if _bits(found.words[0], 5, 4):
        # S1Fmt: leaves of 4 or 64 KiB.
        shift = 6 if _bits(found.words[0], 5, 4) == 1 else 10
        level1, = quads(vm, table + (pasid >> shift) * 8, 1)
        if not level1 & 1:
            return None
        table, index = _address(level1, 51, 12), pasid & (1 << shift) - 1
    return ContextDescriptor(quads(vm, table + index * 64, 8))


def pasid_entry(vm, bdf, pasid=0):
    """The context descriptor of a function (PASID 0: requests without one), or None. It can be
    seen while the entry leads to it.
    """
    found = entry(vm, bdf)
    return _descriptor(vm, found, pasid) if found.valid and found.config == _STAGE1 else None


def descriptor_at(vm, found, pasid=0):
    """The same behind an entry as it was: what a window will lead to again."""
    return _descriptor(vm, found, pasid)


def _tables(vm, found):
    """(root, ASID or VMID, levels) of what an entry's own DMA walks, or None."""
    if not found.present:
        return None
    if found.bypass:
        return 0, None, 0
    if found.config == _STAGE2:
        return found.pointer, found.vmid, found.levels
    descriptor = _descriptor(vm, found, 0)
    if descriptor is None or not descriptor.present:
        return None
    return descriptor.pointer, descriptor.did, descriptor.levels


def table_root(vm, bdf):
    """(page-table root, ASID or VMID), (0, None) if untranslated, None if blocked."""
    tables = _tables(vm, entry(vm, bdf))
    return None if tables is None else tables[:2]


def page(vm, bdf, iova):
    """Physical address of the page that this function's own DMA to `iova` reaches, or None."""
    tables = _tables(vm, entry(vm, bdf))
    if tables is None:
        return None
    table, _, levels = tables
    if not levels:
        return iova & ~0xFFF
    for level in range(levels, 0, -1):
        shift = _PAGE_BITS + _INDEX_BITS * (level - 1)
        # The first table may be several: its index has the bits that are left.
        index = iova >> shift if level == levels else iova >> shift & 511
        word, = quads(vm, table + index * 8, 1)
        kind = word & 3
        if not kind & 1 or (level == 1 and kind != 3):
            return None
        table = _address(word, 47, 12)
        if kind == 1:
            return (table & -1 << shift) + (iova & (1 << shift) - 1 & ~0xFFF)
    return table
