# SPDX-License-Identifier: GPL-2.0
"""Links that go down by themselves: Downstream Port Containment, surprise removal, and removal
while a window is open.

No port of QEMU's has DPC: the exerciser answers for the capability and takes the link down
(test/lab/port.c), the kernel's own DPC and hotplug drivers do the rest. Hardware contains first
and then tells: what is sent between the event and pcie_do_recovery() nobody can withhold. The
verdict begins where the gate could close.
"""

import pytest
from lab import machines, memory, pci, trace

from scenario import FIRST, dmesg_since, gate_file, note, rgx
from tree import IN, ONE, OUT, ROOT, TWO, Containment, settled, told_all

pytestmark = pytest.mark.machine("scenario")

PORT = "00:1c.0"  # above FIRST
TOLD, ON = 0x112, 0x113  # marks: a driver's slot_reset runs, and has run for a while
OVER = ("resume", "gone")
REFS = "/sys/module/resetgate/refcnt"


def gone(vm, bdf):
    """Wait until hotplug has taken a function away: device_del() takes the directory after the
    notifiers are through, the bus's link to it long before."""
    vm.sh(f"i=0; while find /sys/devices -name 0000:{bdf} | grep -q .; do "
          "i=$((i+1)); [ $i -lt 250 ] || exit 1; sleep .1; done", timeout=40)


def present(vm, bdf):
    return memory.context_entry(vm, bdf).present


def race(vm, port, ends):
    """A containment in a storm: the entries in it, those when the first driver was told, the
    trace, the recovery."""
    with told_all(vm, ends) as stories:
        for one in ends:
            rgx(vm, "storm start", one.a)
        recovery = Containment(vm, port, ends[0].bdf, OVER)
        vm.mark(IN)
        inside = {one.bdf: one.context.present for one in ends}
        for one in ends:
            one.rounds(30)
        vm.mark(OUT)
        rgx(vm, "linger on")
        recovery.release()
        recovery.wait(("slot_reset", "gone"))
        vm.mark(TOLD)
        told = ends[0].context.present, ends[0].ats_on
        ends[0].rounds(30)
        vm.mark(ON)
        rgx(vm, "linger off")
        recovery.wait()
        for one in ends:
            rgx(vm, "storm stop", one.a)
    return inside, told, stories, recovery


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_stock_containment(vm, contain, endpoint):
    """Without the module, on 7.x as well: ATC invalidations go to what the port contains."""
    contain(PORT)
    one = endpoint(FIRST)
    inside, _, stories, recovery = race(vm, PORT, [one])
    assert [what for what, _, _ in recovery.events()] == ["error", "slot_reset", "resume"]
    assert inside[FIRST], "nothing blocks it"
    assert len(stories[FIRST].all.between(IN, OUT).dev_tlb(FIRST)) > 20


@pytest.mark.parametrize("port", (PORT, ROOT), ids=("endpoint", "switch"))
@pytest.mark.once
def test_containment(vm, gate, contain, endpoint, port):
    """I1, I2, I6: everything below the port is closed when the DPC driver hears of it and stays
    silent; each opens before its driver's slot_reset, ATS last.

    Deliberate breaks: no rg_scope_enter() in rg_recovery_begin(); slot_reset not interposed.
    """
    gate()
    contain(port)
    ends = [endpoint(bdf) for bdf in ((FIRST,) if port == PORT else (ONE, TWO))]
    inside, told, stories, recovery = race(vm, port, ends)
    settled(vm, ends)
    first, story = ends[0], stories[ends[0].bdf]
    assert [what for what, _, _ in recovery.events()] == ["error", "slot_reset", "resume"]
    assert recovery.events()[1][1] & 0x8000, "ATS was off when the driver was told"
    assert told == (True, True), "closed when the driver was told"
    assert len(story.all.between(TOLD, ON).dev_tlb(first.bdf)) > 20, "not open for the driver"
    for this in ends:
        assert not inside[this.bdf], this.bdf
        silent(stories[this.bdf], this, port, len(ends))
        assert this.context.present and this.ats_on
        assert gate_file(vm, this.bdf, "windows") == "1"


def silent(story, this, port, storms):
    """No ATC invalidation from the gate's closing to its opening, where ATS comes last."""
    start, = story.all.bus_reset_start(port)
    up = story.all.after(story.all.mark(OUT)).cfg(port, trace.BRIDGE_CONTROL)[0]
    on = [event for event, value in story.all.after(start).ats_writes(this.bdf, this.config.ats)
          if value]
    assert on and on[0].index > up.index, "ATS was turned on in the window"
    closed = [event for event in story.blocks() if event.index > start.index]
    assert closed and closed[0].index < story.all.mark(IN).index
    assert story.all.after(story.all.mark(IN)).before(up).dev_tlb(this.bdf) == []
    # From the first that was withheld on: what another storm had begun may follow it.
    withheld = [event for event in story.withheld() if closed[0].index < event.index < on[0].index]
    assert withheld, "the storm sent nothing that had to be withheld"
    # On AMD-Vi it may be the other's, whose gate closes a moment later.
    if storms == 1 or not story.amd:
        assert len(story.all.between(withheld[0], up).dev_tlb(this.bdf)) < storms
    if storms == 1:
        # Once the table is open they pass, a moment before ATS is on.
        assert story.all.between(withheld[0], withheld[-1]).dev_tlb(this.bdf) == []


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_containment_fails(vm, gate, contain, endpoint):
    """I5: a link that does not come back ends parked, whatever the driver has voted; it does not
    open while it is silent, and plugged in again it is a new function that is open.

    From 6.18 on the kernel calls such a recovery a success if the driver could recover.
    Deliberate breaks: rg_recovery_end() does not call rg_scope_fail(); rg_recovery_failed()
    looks at the result only.
    """
    gate()
    contain(PORT)
    one = endpoint(FIRST)
    marker = note(vm, "case: the link stays down")
    rgx(vm, "vote can_recover recovered")
    with told_all(vm, [one]) as stories:
        Containment(vm, PORT, FIRST, OVER, "dead")
        vm.sh(f"i=0; until grep -qx parked {pci.sysfs(FIRST)}/resetgate/state; do i=$((i+1)); "
              "[ $i -lt 250 ] || exit 1; sleep .1; done")
        vm.mark(IN)
        assert not one.context.present
        assert gate_file(vm, FIRST, "reason") == "recovery_failed"
        assert vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state", check=False).rc
        assert gate_file(vm, FIRST, "reason") == "recovery_failed"
        lines = [line for line in dmesg_since(vm, marker) if "parked" in line]
        assert len(lines) == 1 and FIRST in lines[0], lines
        with one.storm():
            one.rounds(30)
        assert not one.context.present
        vm.mark(OUT)
    assert stories[FIRST].all.between(IN, OUT).dev_tlb(FIRST) == []
    rgx(vm, "link", PORT, "up")
    back_again(vm, endpoint, one)


def back_again(vm, endpoint, old):
    """A new function has come in the place of one: open, held by nobody, gated like any other."""
    path = f"{pci.sysfs(old.bdf)}/resetgate"
    vm.sh(f"i=0; until grep -qx open {path}/state && grep -qx 0 {path}/windows; do "
          "i=$((i+1)); [ $i -lt 250 ] || exit 1; sleep .1; done", timeout=40)
    vm.sh("echo 1 > /sys/bus/pci/rescan", timeout=60)  # returns when hotplug is done, too
    assert vm.sh(f"cat {REFS}").out.strip() == "0", "a window of the removed function goes on"
    assert present(vm, old.bdf)
    old.close()
    anew = endpoint(old.bdf)
    assert anew.context.present and anew.ats_on
    with anew.window():
        assert not anew.context.present and not anew.ats_on
    assert anew.context.present and anew.ats_on


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_removed_in_recovery(vm, gate, contain, endpoint):
    """A function is removed through sysfs while its port is contained: its group and its driver's
    data go away under the recovery, its entry stays blocked, its sibling recovers.

    Deliberate breaks: rg_gate_bury() does not let go; rg_recovery_end() does not unbracket.
    """
    gate()
    contain(ROOT)
    one, two = ends = [endpoint(ONE), endpoint(TWO)]
    with told_all(vm, ends) as stories:
        for this in ends:
            rgx(vm, "storm start", this.a)
        recovery = Containment(vm, ROOT, TWO, OVER)
        vm.mark(IN)
        vm.sh(f"echo 1 > {pci.sysfs(ONE)}/remove")
        assert not present(vm, ONE) and not two.context.present
        for this in ends:
            this.rounds(30)
        vm.mark(OUT)
        recovery.release()
        recovery.wait()
        settled(vm, [two])
        assert not present(vm, ONE), "nobody has set it up again"
    events = stories[TWO].all
    assert events.between(IN, OUT).dev_tlb(TWO) == []
    gone = events.between(IN, OUT) if machines.is_amd(vm.mode) else events.after(events.mark(IN))
    assert gone.dev_tlb(ONE) == []
    assert two.context.present and two.ats_on
    vm.sh("echo 1 > /sys/bus/pci/rescan", timeout=60)
    back_again(vm, endpoint, one)


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_pulled_in_recovery(vm, gate, contain, endpoint):
    """What a port contains is pulled: the recovery fails while hotplug removes the function,
    and its domain is detached with the link down (R16).

    Deliberate break: rg_gate_bury() does not let go.
    """
    gate()
    contain(PORT)
    one = endpoint(FIRST)
    with told_all(vm, [one]) as stories, one.storm():
        recovery = Containment(vm, PORT, FIRST, OVER)
        vm.mark(IN)
        rgx(vm, "link", PORT, "down")
        recovery.release()
        gone(vm, FIRST)
        assert not present(vm, FIRST)
        one.rounds(30)
    assert stories[FIRST].all.after(stories[FIRST].all.mark(IN)).dev_tlb(FIRST) == []
    rgx(vm, "link", PORT, "up")
    back_again(vm, endpoint, one)


# How the function is reset, which reset is held, what port; none of the callers holds a lock
# that a removal waits for.
WINDOWS = {"flr": (f"rgx reset {FIRST} flr", "flr"),
           "bus": (f"rgx reset {PORT} secondary", "bus")}


@pytest.mark.sample("trixie-backports")
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.once
def test_removed_in_window(vm, gate, endpoint, window):
    """A function is removed through sysfs in a reset: it stays blocked and silent, and what a
    rescan finds is open.

    Deliberate break: rg_gate_bury() does not let go.
    """
    gate()
    one = endpoint(FIRST)
    with told_all(vm, [one]) as stories, one.storm():
        with one.window(*WINDOWS[window]):
            vm.mark(IN)
            assert not one.context.present
            vm.sh(f"echo 1 > {pci.sysfs(FIRST)}/remove")
            assert not present(vm, FIRST)
            one.rounds(30)
        one.rounds(30)
        assert not present(vm, FIRST)
    assert stories[FIRST].all.after(stories[FIRST].all.mark(IN)).dev_tlb(FIRST) == []
    vm.sh("echo 1 > /sys/bus/pci/rescan", timeout=60)
    back_again(vm, endpoint, one)


@pytest.mark.sample("trixie-backports")
@pytest.mark.parametrize("how", ("flr", "function"))
@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-rt", "trixie-backports")
def test_pulled_in_window(vm, gate, contain, endpoint, how):
    """A function is pulled in its FLR. Hotplug takes it away in the window, or, where the caller
    holds the device's lock (function), after the reset has given up: parked, then gone.

    R15: storms go on, no CPU is stuck. 6.1 waits a minute for a function that is gone: not there.
    Deliberate break: rg_gate_bury() does not let go.
    """
    gate()
    contain(PORT)
    one = endpoint(FIRST)
    one.use("flr")  # the next method would be tried on what is gone
    marker = note(vm, f"case: pulled in {how}")
    with told_all(vm, [one]) as stories, one.storm():
        with one.window(f"rgx reset {FIRST} {how}", "flr", rc=1):
            vm.mark(IN)
            assert not one.context.present
            rgx(vm, "link", PORT, "down")
            if how == "flr":
                gone(vm, FIRST)
            one.rounds(30)
        gone(vm, FIRST)
        one.rounds(30)
        assert not present(vm, FIRST)
    assert stories[FIRST].all.after(stories[FIRST].all.mark(IN)).dev_tlb(FIRST) == []
    lines = [line for line in dmesg_since(vm, marker) if "parked" in line and FIRST in line]
    assert len(lines) == (how == "function"), lines
    rgx(vm, "link", PORT, "up")
    back_again(vm, endpoint, one)
