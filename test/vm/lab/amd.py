# SPDX-License-Identifier: GPL-2.0
"""AMD-Vi's tables in guest memory. Bits are those of document 48882, 2.2.2.1 and 2.2.3."""

from dataclasses import dataclass

from .guest_memory import quads, split

IOMMU_BASE = 0xFED80000  # of q35's emulated AMD-Vi
_ADDRESS = (1 << 52) - 1 & ~0xFFF
_V, _TV, _GV, _IR, _IW, _I = 1, 2, 1 << 55, 1 << 61, 1 << 62, 1 << 32


def _bits(word, high, low):
    return word >> low & (1 << high - low + 1) - 1


@dataclass(frozen=True)
class DeviceTableEntry:
    """Four quadwords."""

    words: tuple

    # There is no such thing as a context entry that is not present and says so.
    fpd = False
    scalable = False

    @property
    def valid(self):
        """Without V all DMA passes untranslated."""
        return bool(self.words[0] & _V)

    @property
    def guest(self):
        """A GCR3 table is in front of, or in place of, the host's page table."""
        return bool(self.words[0] & _GV)

    @property
    def mode(self):
        """Levels of the host's page table; 0: what passes, passes untranslated."""
        return _bits(self.words[0], 11, 9)

    @property
    def present(self):
        """Some DMA passes."""
        return not self.valid or bool(self.words[0] & (_IR | _IW))

    @property
    def blocked(self):
        """As resetgate leaves it in a window: neither DMA nor translated requests pass."""
        return (self.words[0] in (_V, _V | _TV)
                and not self.words[1] & (_I | (1 << 32) - 1) and not _bits(self.words[1], 63, 43))

    @property
    def device_tlb(self):
        """The IOMMU answers translation requests of this function."""
        return bool(self.words[1] & _I)

    @property
    def did(self):
        return self.words[1] & 0xFFFF

    @property
    def interrupts(self):
        """All that is not about memory."""
        return self.words[2] & ~(3 << 54), self.words[3]

    @property
    def pointer(self):
        """The host's page table."""
        return self.words[0] & _ADDRESS

    @property
    def gcr3(self):
        """The GCR3 table."""
        return (_bits(self.words[0], 60, 58) << 12 | _bits(self.words[1], 31, 16) << 15
                | _bits(self.words[1], 63, 43) << 31)


def entry(vm, bdf):
    """The device table entry of a requester ID."""
    bus, devfn = split(bdf)
    base, = quads(vm, IOMMU_BASE, 1)
    return DeviceTableEntry(quads(vm, (base & _ADDRESS) + (bus << 8 | devfn) * 32, 4))


def table_root(vm, bdf):
    """(page-table root, domain ID), or None if blocked."""
    found = entry(vm, bdf)
    if not found.present:
        return None
    if not found.guest:
        return found.pointer, found.did
    root, = quads(vm, found.gcr3, 1)
    return (root & _ADDRESS, found.did) if root & 1 else None


def page(vm, bdf, iova):
    """Physical address of the page that this function's own DMA to `iova` reaches, or None."""
    found, root = entry(vm, bdf), table_root(vm, bdf)
    if root is None:
        return None
    table, levels = root[0], 4 if found.guest else found.mode
    if not levels:
        return iova & _ADDRESS
    for level in range(levels, 0, -1):
        shift = 12 + 9 * (level - 1)
        word, = quads(vm, table + (iova >> shift & 511) * 8, 1)
        if not word & 1:
            return None
        table = word & _ADDRESS
        # A page's Next Level is 0 (or 7, with the size in the address); x86's PS says the same.
        if level > 1 and (word & 0x80 if found.guest else _bits(word, 11, 9) == 0):
            return (table & -1 << shift) + (iova & (1 << shift) - 1 & _ADDRESS)
        if not found.guest and _bits(word, 11, 9) == 7:
            return _sized(table, iova)
    return table


def _sized(address, iova):
    """A page whose size is in the lowest zero bit of its address."""
    size = 0x1000
    while address & size:
        size <<= 1
    mask = size * 2 - 1
    return (address & ~mask) | (iova & mask & ~0xFFF)
