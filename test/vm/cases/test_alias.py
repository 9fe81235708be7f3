# SPDX-License-Identifier: GPL-2.0
"""Two functions behind a PCIe-to-PCI bridge: all their DMA carries one requester ID."""

import pytest
from lab import memory

from scenario import IOVA, OLD, errno, fields, gate_file, rgx

pytestmark = [pytest.mark.machine("alias"), pytest.mark.modes("legacy", "sm-ss")]
ONE, TWO, ALIAS = "02:01.0", "02:02.0", "02:00.0"


def prepare(vm):
    """Both in one domain, with one page each; the group is in the exerciser's hands."""
    vm.sh("rgx unbind 01:00.0", check=False)  # shpchp, else the group cannot be claimed
    rgx(vm, "claim", ONE)
    rgx(vm, "domain new", "d", ONE)
    rgx(vm, "map", "d", hex(IOVA), "0x1000", hex(OLD))
    rgx(vm, "attach", ONE, "d")
    for bdf in (ONE, TWO):
        rgx(vm, "busmaster", bdf, "on")


def clean(vm):
    vm.sh(f"rgx unhold {ONE}; rgx detach {ONE}; rgx release {ONE}; rgx domain free d",
          check=False)


def lands(vm, bdf):
    rgx(vm, "poke", "d", hex(IOVA), hex(OLD))
    assert errno(vm, "edu", bdf, "dma", hex(IOVA)) == 0
    return fields(rgx(vm, "peek", "d", hex(IOVA)))["data"] == 0


def test_shared_requester_id(vm, gate):
    """I2: the alias stays open while a sibling lives, is blocked once the last sharer is in
    reset, and opens with the first.

    Deliberate break: rg_gate_block() takes a shared requester ID with its first sharer.
    """
    gate("scope=all")
    prepare(vm)
    try:
        assert lands(vm, TWO)
        assert memory.context_entry(vm, ALIAS).present
        # A raw method on each: the bus reset below the bridge hits both.
        rgx(vm, "hold", ONE, "bus")
        job = vm.bg(f"rgx reset {ONE} function")
        rgx(vm, "waitreset", ONE)
        state = gate_file(vm, ONE, "state")
        present = memory.context_entry(vm, ALIAS).present
        rgx(vm, "unhold", ONE)
        job.wait(check=False)
        assert state == "closed" and present
        for bdf in (ONE, TWO):
            rgx(vm, "busmaster", bdf, "on")
        assert memory.context_entry(vm, ALIAS).present
        assert lands(vm, TWO) and lands(vm, ONE)
    finally:
        clean(vm)
