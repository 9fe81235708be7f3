# SPDX-License-Identifier: GPL-2.0
"""Two functions behind a PCIe-to-PCI bridge: all their DMA carries one requester ID."""

import contextlib

import pytest
from lab import machines, memory, pci, trace

from scenario import BEGIN, END, IOVA, OLD, gate_file, rgx, tail, windows
from tree import held_bus

# In scalable mode the driver makes no entry for an alias, from 6.12 on.
pytestmark = [pytest.mark.machine("scenario"), pytest.mark.modes("legacy", "amd")]
ONE, TWO, ALIAS, BRIDGE = "07:01.0", "07:02.0", "07:00.0", "06:00.0"


@pytest.fixture
def group(vm):
    """Both in one domain, in the exerciser's hands."""
    if machines.vendor(vm.mode) == "smmu":
        pytest.skip("SMMUv3's driver takes the first alone: it has no stream ID of two devices")
    vm.sh("echo 0000:06:00.0 > /sys/bus/pci/devices/0000:06:00.0/driver/unbind", check=False)
    vm.sh(f"rgx bind {ONE} , bind {TWO} , claim {ONE} , domain new d {ONE} , map d {IOVA:#x} 0x1000 {OLD} , "
          f"attach {ONE} d")
    yield
    if vm.alive:
        vm.sh(f"rgx -k unhold {ONE} , unhold {TWO} , detach {ONE} , release {ONE} , "
              f"domain free d , unbind {ONE} , unbind {TWO}", check=False)


@contextlib.contextmanager
def window(vm, bdf):
    rgx(vm, "hold", bdf, "pm")
    # Not pci_reset_function(): that locks the bridge above both.
    job = vm.bg(f"rgx reset {bdf} __locked")
    try:
        rgx(vm, "waitreset", bdf)
        yield
    finally:
        rgx(vm, "unhold", bdf)
        job.wait()


def alias(vm):
    return memory.context_entry(vm, ALIAS)


def one_in_the_other(vm):
    """A window in the window of its sibling, with an attach in both."""
    before = alias(vm)
    assert before.present
    with window(vm, ONE):
        assert gate_file(vm, ONE, "state") == "closed"
        assert alias(vm).present, "its sibling lives"
        with window(vm, TWO):
            assert not alias(vm).present, "both are in reset"
            rgx(vm, "detach", ONE)
            rgx(vm, "attach", ONE, "d")
            assert not alias(vm).present
        assert alias(vm).present, "one of them is back"
    assert alias(vm).words == before.words
    assert gate_file(vm, ONE, "state") == gate_file(vm, TWO, "state") == "open"


def test_shared_requester_id(vm, gate, group):
    """I2, R7, R19: the alias stays open while a sibling lives, is blocked once the last sharer is
    in reset, and opens with the first.

    Deliberate breaks: rg_rids_block() takes a shared requester ID with its first sharer; or
    forgets the aliases.
    """
    gate("scope=all")
    one_in_the_other(vm)


@pytest.mark.modes("sm-ss")
@pytest.mark.kernels("bookworm")
def test_shared_requester_id_scalable(vm, gate, group):
    """The same where the driver makes an entry for the alias in scalable mode as well.

    Deliberate break: rg_rids_adopt() forgets the aliases.
    """
    gate("scope=all")
    one_in_the_other(vm)


def is_open(vm, bdf):
    return (gate_file(vm, bdf, "state"), gate_file(vm, bdf, "depth")) == ("open", "0")


@pytest.mark.sample("bookworm")
def test_in_the_order_of_their_beginning(vm, gate, group):
    """R2: two windows that overlap without one being in the other: the one that began first ends
    first, and the other one's own entry stays blocked.

    Deliberate break: rg_rids_settle() opens all that is blocked.
    """
    gate("scope=all")
    rgx(vm, "hold", ONE, "pm")
    first = vm.bg(f"rgx reset {ONE} __locked")
    rgx(vm, "waitreset", ONE)
    with window(vm, TWO):
        assert not any(memory.context_entry(vm, bdf).present for bdf in (ONE, TWO, ALIAS))
        rgx(vm, "unhold", ONE)
        first.wait()
        assert is_open(vm, ONE) and memory.context_entry(vm, ONE).present
        assert alias(vm).present, "one of them is back"
        assert not memory.context_entry(vm, TWO).present
        assert gate_file(vm, TWO, "state") == "closed"
    assert is_open(vm, TWO) and memory.context_entry(vm, TWO).present and alias(vm).present


@pytest.mark.sample("bookworm")
def test_siblings_in_parallel(vm, gate, group):
    """R2: both are reset again and again, at the same time: each has a window for each of its
    resets, some of them overlap, and in the end all is as it was.

    Deliberate break: one depth counter for all functions.
    """
    gate("scope=all")
    before = {bdf: windows(vm, bdf) for bdf in (ONE, TWO)}
    entry, runs, each = alias(vm), 8, 10
    offset = vm.trace_path.stat().st_size
    vm.mark(BEGIN)
    jobs = [vm.bg(f"i=0; while [ $i -lt {runs} ]; do i=$((i+1)); "
                  f"rgx {' , '.join([f'reset {bdf} __locked'] * each)} || exit 1; done")
            for bdf in (ONE, TWO)]
    for job in jobs:
        job.wait(timeout=50)
    vm.mark(END)
    blocks = [event for event in tail(vm, offset).between(BEGIN, END).of(trace.CtxInv)
              if event.granularity == 3 and event.bdf == ALIAS]
    assert blocks, "no two windows overlapped: nothing was tested"
    for bdf in (ONE, TWO):
        assert windows(vm, bdf) == before[bdf] + runs * each
        assert is_open(vm, bdf) and memory.context_entry(vm, bdf).present
    assert alias(vm).present and alias(vm).pointer == entry.pointer


@pytest.mark.sample("bookworm")
def test_bus_reset_meets_function_reset(vm, gate, group):
    """A reset of the bus of both, and one of a function alone that begins in it and outlasts it:
    the sibling and the alias open when the bus is back, the function when its own has ended.

    Deliberate break: a flag in place of the depth counter.
    """
    gate("scope=all")
    before = alias(vm)
    with held_bus(vm, TWO, lambda: vm.bg(f"rgx reset {BRIDGE} secondary")):
        assert not any(memory.context_entry(vm, bdf).present for bdf in (ONE, TWO, ALIAS))
        rgx(vm, "hold", ONE, "pm")
        job = vm.bg(f"rgx reset {ONE} __locked")
        rgx(vm, "waitreset", ONE)
        assert gate_file(vm, ONE, "depth") == "2"
        assert not alias(vm).present
    vm.sh(f"i=0; until grep -qx open {pci.sysfs(TWO)}/resetgate/state; do i=$((i+1)); "
          "[ $i -lt 250 ] || exit 1; sleep .1; done")
    assert memory.context_entry(vm, TWO).present and alias(vm).present
    assert gate_file(vm, ONE, "state") == "closed" and gate_file(vm, ONE, "depth") == "1"
    assert not memory.context_entry(vm, ONE).present
    rgx(vm, "unhold", ONE)
    job.wait()
    assert is_open(vm, ONE) and memory.context_entry(vm, ONE).present
    assert alias(vm).pointer == before.pointer
    # Nobody has restored them.
    rgx(vm, "detach", ONE)
    rgx(vm, "release", ONE)
    for bdf in (ONE, TWO):
        vm.sh(f"echo 1 > {pci.sysfs(bdf)}/remove")
    vm.sh(f"echo 1 > {pci.sysfs(BRIDGE)}/rescan")


@pytest.mark.modes("amd")
def test_growth_beside_a_sibling(vm, gate, group):
    """The page table of both gets a level more while one is in reset: the entry that they share is
    the living one's, with the new level, and not a copy of the blocked one.

    Deliberate break: rg_amd_divert_clone() looks at the alias alone.
    """
    gate("scope=all")
    before = alias(vm)
    with window(vm, ONE):
        rgx(vm, "map", "d", hex(1 << 39), "0x1000", OLD)
        shared = alias(vm)
        assert not memory.context_entry(vm, ONE).present
        assert shared.present and shared.mode > before.mode
        assert memory.context_entry(vm, TWO).pointer == shared.pointer
    assert alias(vm).words == shared.words
    assert memory.context_entry(vm, ONE).pointer == shared.pointer
    rgx(vm, "unmap", "d", hex(1 << 39), "0x1000")
