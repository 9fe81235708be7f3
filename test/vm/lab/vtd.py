# SPDX-License-Identifier: GPL-2.0
"""VT-d's tables in guest memory."""

from dataclasses import dataclass

from .guest_memory import PAGE as _PAGE
from .guest_memory import quads, split

IOMMU_BASE = 0xFED90000  # of q35's emulated VT-d
_RTADDR = 0x20


@dataclass(frozen=True)
class ContextEntry:
    """A context entry: two quadwords in legacy mode, four in scalable mode."""

    words: tuple
    scalable: bool

    @property
    def present(self):
        return bool(self.words[0] & 1)

    @property
    def fpd(self):
        """Fault processing disabled."""
        return bool(self.words[0] & 2)

    @property
    def blocked(self):
        """As resetgate leaves it in a window."""
        return not self.present and self.fpd

    @property
    def device_tlb(self):
        """The IOMMU answers translation requests of this function."""
        word = self.words[0]
        return bool(word & 4) if self.scalable else word >> 2 & 3 == 1

    @property
    def pointer(self):
        """Second-stage table (legacy) or PASID directory (scalable)."""
        return self.words[0] & _PAGE

    @property
    def did(self):
        return None if self.scalable else self.words[1] >> 8 & 0xFFFF


@dataclass(frozen=True)
class PasidEntry:
    """A scalable-mode PASID table entry."""

    words: tuple

    @property
    def present(self):
        return bool(self.words[0] & 1)

    @property
    def translation(self):
        """1 first-stage, 2 second-stage, 3 nested, 4 pass-through."""
        return self.words[0] >> 6 & 7

    @property
    def pointer(self):
        """The root of the page table that this entry's DMA walks."""
        return (self.words[2] if self.translation == 1 else self.words[0]) & _PAGE

    @property
    def did(self):
        return self.words[1] & 0xFFFF


def entry(vm, bdf):
    """The context entry of a requester ID; one of zeros where no table exists yet."""
    bus, devfn = split(bdf)
    rtaddr, = quads(vm, IOMMU_BASE + _RTADDR, 1)
    scalable = rtaddr >> 10 & 3 == 1
    root = quads(vm, (rtaddr & _PAGE) + bus * 16, 2)
    half = root[devfn >> 7] if scalable else root[0]
    if not half & 1:
        return ContextEntry((0,) * (4 if scalable else 2), scalable)
    size, index = (32, devfn & 0x7F) if scalable else (16, devfn)
    return ContextEntry(quads(vm, (half & _PAGE) + index * size, size // 8), scalable)


def pasid_entry(vm, bdf, pasid=0):
    """The PASID table entry of a function (PASID 0: requests without one), or None."""
    context = entry(vm, bdf)
    if not context.scalable or not context.pointer:
        return None
    directory, = quads(vm, context.pointer + (pasid >> 6) * 8, 1)
    if not directory & 1:
        return None
    return PasidEntry(quads(vm, (directory & _PAGE) + (pasid & 63) * 64, 8))


def table_root(vm, bdf):
    """What this function's own DMA walks: (page-table root, domain ID), or None if blocked."""
    context = entry(vm, bdf)
    if not context.present:
        return None
    if not context.scalable:
        return context.pointer, context.did
    pasid = pasid_entry(vm, bdf)
    return (pasid.pointer, pasid.did) if pasid and pasid.present else None


def _levels(context, pasid):
    """How many levels the tables of a function have, as its entries say."""
    if pasid is None:
        return (context.words[1] & 7) + 2
    if pasid.translation == 1:
        return 4 + (pasid.words[2] >> 2 & 3)
    return (pasid.words[0] >> 2 & 7) + 2


def page(vm, bdf, iova):
    """Physical address of the page that this function's own DMA to `iova` reaches, or None."""
    found = table_root(vm, bdf)
    if found is None:
        return None
    context = entry(vm, bdf)
    pasid = pasid_entry(vm, bdf) if context.scalable else None
    table = found[0]
    for level in range(_levels(context, pasid), 0, -1):
        shift = 12 + 9 * (level - 1)
        word, = quads(vm, table + (iova >> shift & 511) * 8, 1)
        # Present, or readable and writable.
        if not word & 3:
            return None
        table = word & _PAGE & (1 << 52) - 1
        if level > 1 and word & 0x80:
            return (table & -1 << shift) + (iova & (1 << shift) - 1 & _PAGE)
    return table
