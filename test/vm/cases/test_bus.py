# SPDX-License-Identifier: GPL-2.0
"""Resets of everything below a bridge: every function is closed, each opens after its restore."""

import pytest
from lab import images, machines, pci

from scenario import PATIENT, asked, dmesg_since, gate_file, note, rgx, status, tail
from tree import (ASIDE, DOWN, IN, ONE, OUT, ROOT, TWO, UP, anew, flr_above, held_bus, seen,
                  settled, told_all)

pytestmark = pytest.mark.machine("scenario")

# How to ask for it, the port whose Bridge Control is written, what is right below it, and
# whether the caller restores what it has reset.
WAYS = {
    "hot": (f"rgx reset {ONE} hot", DOWN, ONE, True),
    "subordinate": (f"echo 1 > {pci.sysfs(DOWN)}/reset_subordinate", DOWN, ONE, True),
    "hot-tree": (f"rgx reset {UP} hot", ROOT, UP, True),
    "subordinate-tree": (f"echo 1 > {pci.sysfs(ROOT)}/reset_subordinate", ROOT, UP, True),
    "raw": (f"rgx reset {DOWN} secondary", DOWN, ONE, False),
}


def race(vm, ends, way, stormy=None):
    """The reset in a storm; what was seen in it of each function, and the trace."""
    command, _, below, _ = WAYS[way]
    stormy = ends if stormy is None else stormy
    with told_all(vm, ends) as stories:
        for one in stormy:
            rgx(vm, "storm start", one.a)
        with held_bus(vm, below, lambda: vm.bg(command)):
            vm.mark(IN)
            states = {one.bdf: seen(one) for one in ends}
            for one in stormy:
                one.rounds(30)
            vm.mark(OUT)
        for one in stormy:
            rgx(vm, "storm stop", one.a)
    return states, stories


def by_slot(kernel, way):
    """Whether the port's hotplug slot is asked to reset: pci_reset_bus() does where there is one;
    reset_subordinate since it goes through pci_try_reset_bridge().
    """
    if way.startswith("hot"):
        return True
    types = images.btf(kernel).read_bytes()
    return way.startswith("subordinate") and b"\0pci_try_reset_bridge\0" in types


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_stock_bus(vm, kernel, endpoint):
    """Without the module, on 7.x as well: ATC invalidations go out in every bus reset."""
    ends = [endpoint(ONE), endpoint(TWO)]
    for way in WAYS:
        states, stories = race(vm, ends, way)
        assert states[ONE][0], "nothing blocks it"
        sent = stories[ONE].all.between(IN, OUT).dev_tlb(ONE)
        assert len(sent) > 20, f"{way}: {len(sent)} ATC invalidations"
    anew(vm, ends)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.once
def test_bus_reset(vm, kernel, gate, endpoint, way):
    """I1, I2, I6: every function below the port is closed before its reset begins, silent and
    without ATS until it is restored; the others are left alone.

    Deliberate breaks: rg_scope_below() looks at the first bus only; rg_wrap_secondary_bus()
    does not enter; the slot's reset is not in rg_bus_hooks.
    """
    gate()
    _, port, _, restored = WAYS[way]
    one, two, aside = ends = [endpoint(ONE), endpoint(TWO), endpoint(ASIDE)]
    hit = [one] if port == DOWN else [one, two]
    slot = by_slot(kernel, way)
    # Whose an invalidation is, QEMU's AMD-Vi does not say: the others are quiet there.
    stormy = hit if machines.is_amd(vm.mode) else ends
    states, stories = race(vm, ends, way, stormy)
    settled(vm, ends)
    for this in ends:
        inside = stories[this.bdf].all.between(IN, OUT).dev_tlb(this.bdf)
        if this not in hit:
            assert states[this.bdf] == (True, True), this.bdf
            assert len(inside) > 20 or this not in stormy, this.bdf
            continue
        assert states[this.bdf] == (False, False), this.bdf
        assert inside == []
        story = stories[this.bdf]
        start = story.all.bus_reset_start(port)[0]
        off = [event for event, on in story.all.ats_writes(this.bdf, this.config.ats) if not on]
        assert off and off[0].index < start.index, "ATS was on when the reset began"
        # The first that is restored goes on while another waits.
        if restored and (len(hit) == 1 or not machines.is_amd(vm.mode)):
            assert story.all.after(start).before(story.restored).dev_tlb(this.bdf) == []
        assert seen(this) == (True, True), this.bdf
        assert gate_file(vm, this.bdf, "reason") == ("slot_reset" if slot else "bus_reset")
    if not restored:
        anew(vm, hit)


def test_attach_in_bus_reset(vm, gate, endpoint):
    """I3, I4: attaches to several functions in one reset are recorded, each its own.

    Deliberate break: rg_scope_leave() leaves the first state only.
    """
    gate()
    ends = [endpoint(ONE), endpoint(TWO)]
    wanted = [this.root_of(this.b) for this in ends]
    with held_bus(vm, UP, lambda: vm.bg(f"rgx reset {UP} hot")):
        for this in ends:
            assert this.errno("detach") == 0 and this.errno("attach", this.b) == 0
            assert not this.context.present
    assert [this.root[0] for this in ends] == wanted


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_unbound_below(vm, gate, endpoint):
    """A function without a driver opens when the caller that restored it returns.

    Deliberate breaks: rg_scope_unbracket() does nothing; a caller is not in rg_bus_hooks.
    """
    gate()
    one, two = endpoint(ONE, driver=False), endpoint(TWO)
    for way in ("hot-tree", "subordinate-tree"):
        with told_all(vm, (one, two)) as stories:
            with held_bus(vm, UP, lambda way=way: vm.bg(WAYS[way][0])):
                assert seen(one) == seen(two) == (False, False)
        settled(vm, (one, two))
        assert seen(one) == seen(two) == (True, True), way
        story = stories[ONE]
        master = [event for event, on in story.all.master_writes(ONE) if on]
        assert master and master[-1].index < story.ats_on.index, f"{way}: open, not restored"


@pytest.mark.once
def test_bridge_itself(vm, gate, endpoint):
    """A reset of a bridge by a method of its own: what is below it is closed until the bridge is
    restored. (An FLR: the method is there for QEMU's ports only, but takes the same way as pm.)

    Deliberate break: rg_reset_path_divert() passes what has no state.
    """
    gate()
    one, two = ends = [endpoint(ONE), endpoint(TWO)]
    states = {}
    vm.sh(f"echo flr > {pci.sysfs(DOWN)}/reset_method")
    stories = flr_above(vm, DOWN, [one] if machines.is_amd(vm.mode) else ends,
                        lambda: states.update({this.bdf: seen(this) for this in ends}))
    settled(vm, ends)
    vm.sh(f"echo default > {pci.sysfs(DOWN)}/reset_method")
    start, = stories[ONE].all.flr_start(DOWN, pci.config(vm, DOWN).express)
    story = stories[ONE]
    assert states[ONE] == (False, False)
    assert story.all.between(IN, OUT).dev_tlb(ONE) == []
    (off, *was_off), (on, *was_on) = story.all.ats_writes(ONE, one.config.ats)
    assert (was_off, was_on) == ([False], [True])
    restored = story.all.master_writes(DOWN)[-1][0]
    assert off.index < start.index < restored.index < on.index
    assert seen(one) == (True, True)
    assert states[TWO] == (True, True), "below another port"
    assert machines.is_amd(vm.mode) or \
        len(stories[TWO].all.between(IN, OUT).dev_tlb(TWO)) > 20
    anew(vm, [one])


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_stock_bridge_itself(vm, endpoint):
    """Without the module, on 7.x as well: they go out when a bridge above is reset."""
    one = endpoint(ONE)
    vm.write(f"{pci.sysfs(DOWN)}/reset_method", "flr")
    stories = flr_above(vm, DOWN, [one], lambda: None)
    vm.write(f"{pci.sysfs(DOWN)}/reset_method", "default")
    assert len(stories[ONE].all.between(IN, OUT).dev_tlb(ONE)) > 20
    anew(vm, [one])


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_slow_below_bridge(vm, gate, endpoint):
    """What is below such a bridge may need longer than the bridge's reset, which waits for nobody:
    it stays closed until it answers, and is not parked.

    Deliberate break: the bracket of rg_reset_path_bracket() is not patient.
    """
    gate()
    one = endpoint(ONE)
    vm.write(f"{pci.sysfs(DOWN)}/reset_method", "flr")
    one.rgx("mute", "20000")
    try:
        vm.sh(f"echo 1 > {pci.sysfs(DOWN)}/reset")
        assert gate_file(vm, ONE, "state") == "closed" and not one.context.present
    finally:
        one.rgx("mute", "off")
        vm.write(f"{pci.sysfs(DOWN)}/reset_method", "default")
    settled(vm, [one])
    assert seen(one) == (True, True)
    anew(vm, [one])


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_own_bus_reset(vm, gate, endpoint):
    """I1, I6: a driver that resets its device over the bus by itself, tells, restores and does not
    wait: when it is told the end, the entry is back and ATS on.

    Deliberate break: rg_gate_restored() leaves a function that is awaited to the worker.
    """
    gate()
    one = endpoint(ONE)
    rgx(vm, "events clear")
    with told_all(vm, [one]) as stories, one.storm():
        one.rgx("reset", "swing")
    words = [word.split(":") for word in rgx(vm, "events").split()]
    assert [word[1] for word in words] == ["prepare", "done"]
    assert int(words[1][3].removeprefix("ats="), 16) & 0x8000, "closed when the driver was told"
    story = stories[ONE]
    start = story.all.bus_reset_start(DOWN)[0]
    assert [event for event in story.all.dev_tlb(ONE)
            if start.index < event.index < story.restored.index] == []
    assert one.context.present and one.ats_on and gate_file(vm, ONE, "state") == "open"
    anew(vm, [one])


@pytest.mark.once
@pytest.mark.reload
@pytest.mark.kernels("trixie")
def test_without_memory(vm, variant, gate, endpoint):
    """No memory for the list of what a bus reset concerns: it runs as without the module, with a
    line and a count; a caller that restores wants a list of its own, and says so, too.

    Deliberate break: rg_closing_without_memory() does not count.
    """
    path = variant("no-memory", ("src/scope.c", "\tif (scope)\n\t\tscope->brackets",
                                 "\tkfree(scope);\n\tscope = NULL;\n"
                                 "\tif (scope)\n\t\tscope->brackets"))
    vm.sh(f"insmod {path} {PATIENT}")
    one = endpoint(ONE)
    for way, lists in (("raw", 1), ("hot", 3)):
        marker, before = note(vm, f"case: no memory, {way}"), status(vm)
        states, stories = race(vm, [one], way)
        assert states[ONE] == (True, True), "as on a stock kernel"
        assert len(stories[ONE].all.between(IN, OUT).dev_tlb(ONE)) > 20
        lines = [line for line in dmesg_since(vm, marker) if "may run ungated" in line]
        assert len(lines) == lists and all("1 functions" in line for line in lines), lines
        assert DOWN in lines[0] and "expected memory" in lines[0]
        assert int(status(vm)["close_timeouts"]) == int(before["close_timeouts"]) + lists
        assert gate_file(vm, ONE, "windows") == "0"
        one.rgx("busmaster", "on")
    with one.window():
        assert seen(one) == (False, False), "a function's own reset needs no list"
    anew(vm, [one])


@pytest.mark.sample("trixie")
@pytest.mark.once
def test_nothing_below(vm, gate):
    """A reset of a bus that no covered function is on, and of a function that is not covered:
    as on a stock kernel, and nobody is closed for it.

    Deliberate break: rg_scope_below() takes a bus without functions for the root bus.
    """
    def all_windows():
        lines = vm.sh("grep . /sys/bus/pci/devices/*/resetgate/windows").out.splitlines()
        return {line for line in lines if ONE not in line and TWO not in line}

    gate("scope=all")
    before, marker = all_windows(), note(vm, "case: nothing below")
    for bdf in (ONE, TWO):
        vm.sh(f"echo 1 > {pci.sysfs(bdf)}/remove")
    offset = vm.trace_path.stat().st_size
    vm.mark(IN)
    try:
        with asked(vm):
            vm.sh(f"rgx reset {DOWN} secondary")
        vm.sh(f"echo 1 > {pci.sysfs(DOWN)}/reset_subordinate", check=False)
        vm.sh(f"rgx reset {UP} hot")
        vm.mark(OUT)
    finally:
        vm.sh("echo 1 > /sys/bus/pci/rescan")
    done = tail(vm, offset).between(IN, OUT)
    assert done.bus_reset_start(DOWN) and done.bus_reset_start(ROOT), "it was not reset"
    assert all_windows() == before
    lines = [line for line in dmesg_since(vm, marker) if "there is nothing to close" in line]
    assert len(lines) == 1 and DOWN in lines[0]
    assert not [line for line in dmesg_since(vm, marker)
                if "resetgate" in line and line not in lines]
