# SPDX-License-Identifier: GPL-2.0
"""Recovery from errors, AER as QEMU injects it: closed at the first sign, open for the driver."""

import pytest
from lab import pci

from scenario import PATIENT, dmesg_since, gate_file, note, rgx, windows
from tree import (DOWN, IN, ONE, OUT, ROOT, TWO, UP, Recovery, anew, found_again, held_bus,
                  settled, told_all)

pytestmark = pytest.mark.machine("scenario")

FATAL_ONE = ("d0 MALF_TLP 1 2 3 4", DOWN, ONE)
FATAL_TREE = ("rp6 DLP", ROOT, UP)
NON_FATAL = "d0 COMP_ABORT 1 2 3 4"
NON_FATALS = pytest.mark.parametrize("inject, port", ((NON_FATAL, DOWN), ("rp6 COMP_TIME", ROOT)),
                                     ids=("endpoint", "root-port"))
OVER = ("resume", "gone")


def fatal(vm, ends, error, votes="need_reset recovered", swapped=()):
    """A fatal error in a storm: what was seen in the reset, the trace, the driver's events. Those
    that are `swapped` get their other domain in the reset.
    """
    inject, _, below = error
    rgx(vm, "vote", votes)
    with told_all(vm, ends) as stories:
        for one in ends:
            rgx(vm, "storm start", one.a)
        with held_bus(vm, below, lambda: Recovery(vm, inject, ONE, OVER)) as recovery:
            vm.mark(IN)
            states = {one.bdf: (one.context.present, one.ats_on) for one in ends}
            for one in ends:
                one.rounds(30)
            for one in swapped:
                assert one.errno("detach") == 0 and one.errno("attach", one.b) == 0
            vm.mark(OUT)
        for one in ends:
            rgx(vm, "storm stop", one.a)
    rgx(vm, "vote need_reset recovered")
    return states, stories, recovery.events()


ERRORS = pytest.mark.parametrize("error", (FATAL_ONE, FATAL_TREE), ids=("endpoint", "root-port"))


@ERRORS
@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_stock_recovery(vm, endpoint, error):
    """Without the module, on 7.x as well: ATC invalidations go out in the reset."""
    found_again(vm)
    ends = [endpoint(ONE), endpoint(TWO)]
    states, stories, _ = fatal(vm, ends, error)
    assert states[ONE][0], "nothing blocks it"
    assert len(stories[ONE].all.between(IN, OUT).dev_tlb(ONE)) > 20


@ERRORS
@pytest.mark.modes("legacy", "sm-fs", "smmu")
def test_fatal(vm, gate, endpoint, error):
    """I1 to I4, I6, R16: a frozen channel closes every function below the port; each opens before
    its driver's slot_reset, with ATS on and with the domain that it got meanwhile.

    Deliberate break: slot_reset not interposed.
    """
    gate()
    found_again(vm)
    one, two = ends = [endpoint(ONE), endpoint(TWO)]
    hit = [one] if error is FATAL_ONE else ends
    wanted = {this.bdf: this.root_of(this.b) for this in hit}
    states, stories, events = fatal(vm, ends, error, swapped=hit)
    settled(vm, ends)
    assert [what for what, _, _ in events] == ["error", "slot_reset", "resume"]
    assert events[1][1] & 0x8000, "closed when the driver was told"
    for this in hit:
        assert states[this.bdf] == (False, False), this.bdf
        story = stories[this.bdf]
        assert story.all.between(IN, OUT).dev_tlb(this.bdf) == []
        start = story.all.bus_reset_start(error[1])[0]
        blocked = [event for event in story.blocks() if event.index < start.index]
        assert blocked, "its entry was not blocked before the reset"
        # One that began before the block may follow it, until the fence.
        assert story.all.after(start).before(story.all.mark(OUT)).dev_tlb(this.bdf) == []
        assert this.context.present and this.ats_on and this.root[0] == wanted[this.bdf]
        assert gate_file(vm, this.bdf, "depth") == "0"
    if error is FATAL_ONE:
        assert states[TWO] == (True, True), "a neighbour below another port"


@pytest.mark.once
def test_closed_for_the_driver(vm, gate, endpoint):
    """I1: a function is closed before its driver hears of the error, long before the reset, and
    without touching it: its link may be down, and nobody has asked it to stop yet.

    Deliberate breaks: no rg_scope_enter() in rg_recovery_begin(); rg_closing_block() touches it.
    """
    gate()
    found_again(vm)
    one = endpoint(ONE)
    rgx(vm, "vote need_reset recovered , linger error")
    with told_all(vm, [one]) as stories, one.storm():
        recovery = Recovery(vm, FATAL_ONE[0], ONE, OVER)
        try:
            recovery.wait(("error",))
            vm.mark(IN)
            blocked = not one.context.present
            one.rounds(30)
            vm.mark(OUT)
        finally:
            rgx(vm, "linger off")
        recovery.wait()
    settled(vm, [one])
    story = stories[ONE].all
    assert blocked and story.between(IN, OUT).dev_tlb(ONE) == []
    assert story.bus_reset_start(DOWN)[0].index > story.mark(OUT).index
    assert story.before(story.mark(OUT)).ats_writes(ONE, one.config.ats) == []
    assert one.context.present and one.ats_on


@pytest.mark.once
def test_can_recover(vm, gate, endpoint):
    """A driver that answers CAN_RECOVER gets no slot_reset: it opens before resume.

    Deliberate break: resume not interposed.
    """
    gate()
    one = endpoint(ONE)
    states, _, events = fatal(vm, [one], FATAL_ONE, "can_recover recovered")
    assert states[ONE] == (False, False)
    assert [what for what, _, _ in events if what != "mmio"] == ["error", "resume"]
    assert events[-1][1] & 0x8000, "closed when the driver was told"
    anew(vm, [one])


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_recovery_fails(vm, gate, endpoint):
    """R10: a recovery that fails ends parked, with one line, and the driver's leaving opens it;
    also where the driver has reset the function once more by itself before it gave up.

    Deliberate breaks: rg_recovery_end() does not call rg_scope_fail(); rg_gate_leave() does not
    count the task's own resets as its bracket's.
    """
    gate()
    for own in ("off", "flr"):
        found_again(vm)
        one = endpoint(ONE)
        marker = note(vm, f"case: the recovery fails, {own}")
        rgx(vm, f"vote need_reset disconnect , linger {own}")
        with held_bus(vm, ONE, lambda: Recovery(vm, FATAL_ONE[0], ONE, ("slot_reset", "gone"))):
            pass
        vm.sh(f"i=0; until grep -qx parked {pci.sysfs(ONE)}/resetgate/state; do i=$((i+1)); "
              "[ $i -lt 250 ] || exit 1; sleep .1; done")
        rgx(vm, "vote need_reset recovered , linger off")
        assert not one.context.present
        assert gate_file(vm, ONE, "reason") == "recovery_failed"
        lines = [line for line in dmesg_since(vm, marker) if "parked" in line]
        assert len(lines) == 1 and ONE in lines[0]
        rgx(vm, "unbind", ONE)
        assert gate_file(vm, ONE, "state") == "open" and one.context.present
        assert one.ats_on
        anew(vm, [one])


@pytest.mark.sample("trixie", "trixie-backports")
@NON_FATALS
@pytest.mark.once
def test_non_fatal(vm, kernel, gate, endpoint, inject, port):
    """A channel that is not frozen: up to 6.17 slot_reset comes without any reset, and nothing
    closes; from 6.18 on there is one, and it is gated.

    Deliberate break: rg_recovery_begin() enters whatever the channel's state.
    """
    gate()
    found_again(vm)
    # Both below the root port, for a driver without handlers lets its recovery fail.
    one, _ = endpoint(ONE), endpoint(TWO)
    before = windows(vm, ONE)
    rgx(vm, "vote need_reset recovered")
    with told_all(vm, [one]) as stories, one.storm():
        recovery = Recovery(vm, inject, ONE, OVER)
        recovery.wait()
    assert [what for what, _, _ in recovery.events()] == ["error", "slot_reset", "resume"]
    resets = len(stories[ONE].all.bus_reset_start(port))
    assert resets == (kernel.series >= (6, 18))
    assert bool(stories[ONE].blocks()) == bool(resets), "blocked without a reset, or the reverse"
    assert windows(vm, ONE) - before == resets
    assert one.context.present and one.ats_on


def non_fatal(vm, one):
    """An error that is not fatal, whose bus reset is held: its entry in it, and what was sent."""
    rgx(vm, "vote need_reset recovered")
    with told_all(vm, [one]) as stories, one.storm():
        with held_bus(vm, ONE, lambda: Recovery(vm, NON_FATAL, ONE, OVER)) as recovery:
            vm.mark(IN)
            present = one.context.present
            one.rounds(30)
            vm.mark(OUT)
    assert [what for what, _, _ in recovery.events()] == ["error", "slot_reset", "resume"]
    return present, len(stories[ONE].all.between(IN, OUT).dev_tlb(ONE))


@pytest.mark.once
@pytest.mark.kernels("trixie-backports")
def test_stock_non_fatal(vm, endpoint):
    """Without the module ATC invalidations go out in the reset that 6.18 and later do."""
    found_again(vm)
    present, sent = non_fatal(vm, endpoint(ONE))
    assert present and sent > 20


@pytest.mark.once
@pytest.mark.kernels("trixie-backports")
def test_non_fatal_is_silent(vm, gate, endpoint):
    """With it none does.

    Deliberate break: rg_wrap_secondary_bus() does not enter.
    """
    gate()
    found_again(vm)
    one = endpoint(ONE)
    assert non_fatal(vm, one) == (False, 0)
    assert one.context.present and one.ats_on


@pytest.mark.once
@pytest.mark.reload
@pytest.mark.kernels("trixie-backports")
def test_without_a_list(vm, variant, gate, endpoint):
    """The bus reset in such a recovery finds no memory for a list of its own: it closes what is
    on the recovery's.

    Deliberate break: rg_recovery_below() gives nothing.
    """
    path = variant("no-list", ("src/bus_path.c",
                               "{ .scope = rg_scope_below(bridge->subordinate) };\n\n\t/* Without",
                               "{ .scope = NULL };\n\n\t/* Without"),
                   ("src/bus_path.c", "rg_scope_slot(hotplug->pci_slot)", "NULL"))
    vm.sh(f"insmod {path} {PATIENT}")
    found_again(vm)
    one = endpoint(ONE)
    assert non_fatal(vm, one) == (False, 0)
    assert one.context.present and one.ats_on


@pytest.mark.long
@pytest.mark.once
@pytest.mark.kernels("trixie-backports")
def test_non_fatal_reset_fails(vm, gate, endpoint):
    """A channel that is not frozen, and a reset after which the function stays silent for the
    kernel's minute: the drivers could all recover, and yet it is parked.

    Deliberate break: rg_recovery_failed() looks at a frozen channel only.
    """
    gate()
    found_again(vm)
    one = endpoint(ONE)
    rgx(vm, "vote need_reset recovered")
    one.rgx("mute", "dead")
    Recovery(vm, NON_FATAL, ONE, OVER)
    vm.sh(f"i=0; until grep -qx parked {pci.sysfs(ONE)}/resetgate/state; do i=$((i+1)); "
          "[ $i -lt 90 ] || exit 1; sleep 1; done", timeout=180)
    assert gate_file(vm, ONE, "reason") == "recovery_failed" and not one.context.present
    one.rgx("mute", "off")
    anew(vm, [one])
