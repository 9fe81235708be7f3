# SPDX-License-Identifier: GPL-2.0
"""What other remedies do on the same machine: the rows of doc/comparison.md."""

import errno as codes

import pytest
from lab import pci

from scenario import EDU, FIRST, told

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.modes("legacy")]
ROUNDS = 50
BUS = (f"rgx reset {FIRST} hot", "bus")


def swapped(one):
    """A detach and an attach of the other domain; what the latter returned."""
    one.rgx("detach")
    return one.errno("attach", one.b)


@pytest.mark.boot(cmdline="pci=noats")
@pytest.mark.kernels("trixie", "trixie-backports")
def test_noats(vm, kernel, endpoint):
    """pci=noats: no ATC invalidation at any time, for ATS is never on. In a reset the entry stays
    present, DMA goes through, and an attach is in hardware at once; 7.x's own gate does not close.
    """
    one, edu = endpoint(), endpoint(EDU)
    wanted = one.root_of(one.b)
    assert one.config.ats and not pci.config(vm, FIRST).ats_on
    with told(vm, one) as story, one.storm():
        one.rounds(ROUNDS)
        with one.window():
            assert one.context.present and not one.ats_on
            one.rounds(ROUNDS)
            assert swapped(one) == 0
            assert one.root[0] == wanted, "in hardware at once"
    assert story[0].flr and not story[0].all.dev_tlb(FIRST)
    assert not [on for _, on in story[0].all.ats_writes(FIRST, one.config.ats) if on]
    with edu.window(kind="bus"):
        edu.rgx("busmaster", "on")
        assert edu.dma_lands(edu.a)


@pytest.mark.boot(cmdline="pci=noats")
@pytest.mark.kernels("trixie")
def test_noats_and_the_module(vm, gate, endpoint):
    """With pci=noats scope=ats covers nothing, scope=all blocks the function all the same."""
    gate()
    one = endpoint()
    wanted = one.root_of(one.b)
    with one.window():
        assert one.context.present
    gate("scope=all")
    with one.window():
        assert one.context.blocked
        assert swapped(one) == 0 and not one.context.present
    assert one.root[0] == wanted


@pytest.mark.kernels("trixie-backports")
def test_native(vm, endpoint):
    """7.x by itself: an FLR blocks the function and refuses to attach it; a bus reset does neither,
    and sends it ATC invalidations.
    """
    one = endpoint()
    wanted = one.root_of(one.b)
    with one.window():
        assert not one.context.present and not one.ats_on
        assert swapped(one) == -codes.EBUSY
    assert one.errno("attach", one.a) == 0
    with told(vm, one) as story, one.storm(), one.window(*BUS):
        assert one.context.present
        vm.mark(0x110)
        one.rounds(ROUNDS)
        vm.mark(0x111)
        assert swapped(one) == 0
        assert one.root[0] == wanted, "in hardware at once"
    assert len(story[0].all.between(0x110, 0x111).dev_tlb(FIRST)) > ROUNDS / 2
