# SPDX-License-Identifier: GPL-2.0
"""Functions in the hands of user space, by VFIO's type 1: its resets, its attaches, its death."""

import errno as codes

import pytest
from lab import aer, machines, pci

from scenario import FIRST, IOVA, gate_file, note, told, windows
from tree import DOWN, IN, ONE, OUT, found_again, held_bus, seen, settled
from vmm import pinned

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.once]
MINE, YOURS = 0x5151, 0x6262
MANY = 50

# What the process is told, of which function, the kind of reset, and whether the kernel
# restores what it has reset before the gate opens. VFIO resets at the last close, too, and
# restores by itself later.
WAYS = {
    "device": ("reset", FIRST, "flr", True),
    "close": ("close", FIRST, "flr", False),
    "hot": ("hot", ONE, "bus", True),
}


def race(vm, vfio, way):
    """The reset, while the process maps and unmaps all the time: (function, what was seen in
    the reset, its story)."""
    what, bdf, kind, _ = WAYS[way]
    one, vmm = vfio.function(bdf), vfio.process()
    vmm.take(bdf, MINE)
    assert one.at() == MINE, "the walk of the tables finds nothing"
    vmm.do("storm start")
    with told(vm, one) as stories:
        with one.window(vmm.command(what, bdf), kind):
            vm.mark(IN)
            state = seen(one)
            vmm.do("storm wait", MANY)
            vm.mark(OUT)
        vmm.do("storm wait", MANY)
    assert "errors=0" in vmm.do("storm stop")
    return one, state, stories[0]


@pytest.mark.kernels("trixie", "trixie-backports")
@pytest.mark.parametrize("way", WAYS)
def test_stock_reset(vm, kernel, vfio, way):
    """Without the module: ATC invalidations in each of them on 6.12, in a hot reset on 7.3, too.

    This is the proof that test_reset can fail: it runs the same scenario.
    """
    _, state, story = race(vm, vfio, way)
    sent = len(story.all.between(IN, OUT).dev_tlb(WAYS[way][1]))
    if kernel.series < (7, 0) or way == "hot":
        assert state == (True, True) and sent > MANY / 2, f"{state}, {sent} ATC invalidations"
    else:
        assert sent == 0, "7.x has learnt it: say so in the docs"


@pytest.mark.parametrize("way", WAYS)
def test_reset(vm, gate, vfio, way):
    """I1, I2: a reset by the process that maps and unmaps: no ATC invalidation, ATS off, the
    entry not present, until the function is restored.

    Deliberate breaks: the valve's filter does not rewrite descriptors; rg_wrap_secondary_bus()
    does not enter (hot); rg_divert_method() and rg_divert_flr() divert nothing (close).
    """
    gate()
    one, state, story = race(vm, vfio, way)
    assert state == (False, False)
    inside = story.all.between(IN, OUT)
    assert inside.dev_tlb(one.bdf) == []
    assert len(story.withheld()) > MANY / 2, "the storm was not in the window"
    start = story.all.bus_reset_start(DOWN)[0] if way == "hot" else story.flr
    assert start.index < inside.events[0].index
    off = [event for event, on in story.all.ats_writes(one.bdf, one.config.ats) if not on]
    assert off and off[0].index < start.index, "ATS was on when the reset began"
    if WAYS[way][3]:
        assert story.all.after(start).before(story.restored).dev_tlb(one.bdf) == []
    assert len(story.all.after(inside.events[-1]).dev_tlb(one.bdf)) > 0, "silent afterwards"
    settled(vm, [one])
    assert seen(one) == (True, True) and one.at() == MINE


def attaches(vm, one, first, second):
    """In a reset by somebody else the one leaves its container and joins it again, then gives
    the group up, and the other takes it: what each step returned."""
    bdf, steps = one.bdf, {}
    with one.window(f"echo 1 > {pci.sysfs(bdf)}/reset", "flr"):
        vm.mark(IN)
        steps["close"] = first.errno("close", bdf)
        steps["leave"] = first.errno("leave", bdf)
        steps["join"] = first.errno("join", bdf)
        if not steps["join"]:
            steps["map"] = first.errno("map", hex(IOVA + 0x1000), "0x1000", hex(MINE))
            steps["leave again"] = first.errno("leave", bdf)
        steps["second joins"] = second.errno("join", bdf)
        if not steps["second joins"]:
            steps["second maps"] = second.errno("map", hex(IOVA), "0x1000", hex(YOURS))
            # VFIO resets what it opens, and somebody else does already.
            steps["second opens"] = second.errno("open", bdf)
        state = seen(one)
        vm.mark(OUT)
    return steps, state


@pytest.mark.kernels("trixie", "trixie-backports")
def test_stock_attaches(vm, kernel, vfio):
    """Without the module: on 6.12 they go to hardware, and turn ATS on, in the reset; on 7.3
    they are refused."""
    one, first, second = vfio.function(FIRST), vfio.process("first"), vfio.process("second")
    first.take(FIRST, MINE)
    with told(vm, one) as stories:
        steps, state = attaches(vm, one, first, second)
    on = [event for event, on in stories[0].all.between(IN, OUT).ats_writes(FIRST, one.config.ats)
          if on]
    if kernel.series < (7, 0):
        assert steps["join"] == steps["second joins"] == 0
        assert state == (True, True) and on
    else:
        assert steps["join"] == steps["second joins"] == -codes.EBUSY


@pytest.mark.sample("bookworm")
def test_attaches(vm, gate, vfio):
    """I3, I4: UNSET_CONTAINER, SET_CONTAINER and another process's container, all in one
    reset: they succeed, hardware sees none of it before the function is restored, and then
    has the last of them.

    Deliberate breaks: rg_vtd_divert_context() returns the live entry; rg_rids_unblock() brings the
    entry of the beginning back.
    """
    gate()
    one, first, second = vfio.function(FIRST), vfio.process("first"), vfio.process("second")
    first.take(FIRST, MINE)
    with told(vm, one) as stories:
        steps, state = attaches(vm, one, first, second)
    assert steps.pop("second opens") == -codes.EAGAIN
    assert not any(steps.values()), steps
    inside = stories[0].all.between(IN, OUT)
    assert state == (False, False)
    assert inside.dev_tlb(FIRST) == [] and inside.ats_writes(FIRST, one.config.ats) == []
    assert seen(one) == (True, True) and one.at() == YOURS
    assert one.at(IOVA + 0x1000) is None, "a page of the first one's"
    second.do("open", FIRST)
    assert second.errno("reset", FIRST) == 0 and one.at() == YOURS


def taken_over(vm, vfio, one, root):
    """The function is as before, and another process gets it."""
    settled(vm, [one])
    assert one.root == root and one.at() is None
    assert gate_file(vm, one.bdf, "depth") == "0"
    second = vfio.process("second")
    second.take(one.bdf, YOURS)
    assert one.at() == YOURS
    assert second.errno("reset", one.bdf) == 0
    assert seen(one) == (True, True) and one.at() == YOURS


@pytest.mark.sample("bookworm")
@pytest.mark.parametrize("way", WAYS)
def test_killed_in_its_own_reset(vm, gate, vfio, way):
    """kill -9 of the process that resets: it ends with its reset, after VFIO has reset the
    function once more; nothing is left of it.

    Deliberate breaks: rg_divert_method() and rg_divert_flr() divert nothing (the reset at the
    close is no window); rg_gate_leave() does not settle.
    """
    gate()
    what, bdf, kind, _ = WAYS[way]
    one, vmm = vfio.function(bdf), vfio.process()
    root, pins = one.root, pinned(vm)
    vmm.take(bdf, MINE)
    vmm.do("storm start")
    before = windows(vm, bdf)
    assert pinned(vm) > pins
    with one.window(vmm.command(what, bdf), kind, rc=1):
        vmm.do("storm wait", MANY)
        vmm.kill()
        vm.sh("sleep .3")
        assert not vmm.gone and seen(one) == (False, False)
    vmm.wait_gone()
    assert pinned(vm) == pins
    # The close of a device that was not closed resets it.
    assert windows(vm, bdf) == before + (1 if way == "close" else 2)
    taken_over(vm, vfio, one, root)


def killed(vm, one, vmm):
    """Somebody else resets the function of a process that is killed in it."""
    vmm.take(one.bdf, MINE)
    vmm.do("storm start")
    with told(vm, one) as stories:
        with one.window(f"echo 1 > {pci.sysfs(one.bdf)}/reset", "flr"):
            vm.mark(IN)
            vmm.do("storm wait", MANY)
            vmm.kill()
            vmm.wait_gone()
            state = seen(one)
            vm.mark(OUT)
    inside = stories[0].all.between(IN, OUT)
    on = [event for event, on in inside.ats_writes(one.bdf, one.config.ats) if on]
    return state, len(inside.dev_tlb(one.bdf)), on


@pytest.mark.kernels("trixie")
def test_stock_killed(vm, vfio):
    """Without the module, on 6.12: the dying process turns ATS on in the reset."""
    one, vmm = vfio.function(FIRST), vfio.process()
    state, sent, on = killed(vm, one, vmm)
    assert state == (True, True) and sent > MANY / 2
    # SMMUv3's driver leaves ATS on from one domain that translates to the next.
    assert on or machines.is_smmu(vm.mode)


@pytest.mark.sample("bookworm")
def test_killed_in_a_reset(vm, gate, vfio):
    """I3, I4, R6: kill -9 of the process in a reset by somebody else: its domain goes, its pages
    are given back, all of it in the window; hardware sees the default domain afterwards.

    Deliberate breaks: rg_vtd_divert_context() returns the live entry; rg_endpoint_close() does not
    withhold the controls.
    """
    gate()
    one, vmm = vfio.function(FIRST), vfio.process()
    root, pins = one.root, pinned(vm)
    assert killed(vm, one, vmm) == ((False, False), 0, [])
    assert pinned(vm) == pins
    taken_over(vm, vfio, one, root)


@pytest.mark.sample("trixie")
def test_error(vm, gate, vfio):
    """A fatal error of a function that VFIO has, whose driver has no slot_reset and no resume: it
    opens when the recovery returns, and the process goes on.

    Deliberate break: rg_gate_unbracket() does not settle.
    """
    gate()
    found_again(vm)
    one, vmm = vfio.function(ONE), vfio.process()
    vmm.take(ONE, MINE)
    vmm.do("storm start")
    marker = note(vm, "case: an error of a function that VFIO has")
    with told(vm, one) as stories:
        with held_bus(vm, ONE, lambda: aer.inject(vm, "d0 MALF_TLP 1 2 3 4")):
            vm.mark(IN)
            state = seen(one)
            vmm.do("storm wait", MANY)
            vm.mark(OUT)
        assert vm.sh(aer.over(marker)).out.split()[-1] == "successful"
        settled(vm, [one])
        vmm.do("storm wait", MANY)
    assert "errors=0" in vmm.do("storm stop")
    assert state == (False, False)
    story = stories[0]
    start = story.all.bus_reset_start(DOWN)[0]
    assert story.all.after(start).before(story.all.mark(OUT)).dev_tlb(ONE) == []
    assert story.ats_on.index > story.all.mark(OUT).index
    assert story.all.after(story.ats_on).dev_tlb(ONE), "silent afterwards"
    assert seen(one) == (True, True) and one.at() == MINE
    assert vmm.errno("reset", ONE) == 0 and one.at() == MINE


@pytest.mark.sample("trixie")
def test_wrong_use(vm, vfio):
    """rgxvfio says what is wrong, and with which exit status; a wrong call changes nothing."""
    vmm = vfio.process()
    vfio.function(FIRST)
    for words in ("join", "join 99:00.0", "map 1", "map x 0x1000", "storm", "storm wait x",
                  "dance", "reset 01:00.0 now"):
        result = vm.sh(vmm.command(words), check=False)
        assert result.rc == 2 and result.out.startswith("rgxvfio: "), f"{words}: {result}"
    assert vm.sh("rgxvfio", check=False).rc == 2
    assert vmm.errno("reset", FIRST) == -codes.ENOENT
    assert vmm.errno("map", hex(IOVA), "0x1000") < 0
    vmm.do("join", FIRST)
    assert vmm.errno("join", FIRST) == -codes.EALREADY
    vmm.do("quit")
    vmm.wait_gone()
    assert vm.sh(vmm.command("join", FIRST), check=False).rc == 1
