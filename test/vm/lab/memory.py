# SPDX-License-Identifier: GPL-2.0
"""The IOMMU's tables as they stand in guest memory, read through QEMU's monitor.

The guest is not asked: what is here is what the IOMMU would fetch. Each vendor's tables are in a
file of their own; cases ask here.
"""

from . import amd, machines, smmuv3, vtd
from .guest_memory import quads, split

__all__ = ["context_entry", "page", "pasid_entry", "quads", "split", "table_root"]


def _tables(vm):
    if machines.is_smmu(vm.mode):
        return smmuv3
    return amd if machines.is_amd(vm.mode) else vtd


def context_entry(vm, bdf):
    """The entry of a requester ID: a context entry of VT-d, a device table entry of AMD-Vi, a stream
    table entry of SMMUv3.

    It has `words`, `present` (some DMA passes), `blocked` (as resetgate leaves it in a window),
    `device_tlb` (translation requests are answered).
    """
    return _tables(vm).entry(vm, bdf)


def table_root(vm, bdf):
    """What this function's own DMA walks: (page-table root, domain ID), or None if blocked."""
    return _tables(vm).table_root(vm, bdf)


def page(vm, bdf, iova):
    """Physical address of the page that this function's own DMA to `iova` reaches, or None."""
    return _tables(vm).page(vm, bdf, iova)


def pasid_entry(vm, bdf, pasid=0):
    """VT-d's PASID table entry, SMMUv3's context descriptor of a function (PASID 0: requests without
    one), or None.
    """
    return _tables(vm).pasid_entry(vm, bdf, pasid)
