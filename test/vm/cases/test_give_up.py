# SPDX-License-Identifier: GPL-2.0
"""The reset is the cure and is never held up for good: closes that give up, silent functions."""

import errno as codes
import re

import pytest
from lab import pci

from scenario import (FIRST, PARAMETERS, dmesg_since, errno, gate_file, note, rgx, status, told,
                      uptime)
from tree import anew, held_bus, settled

pytestmark = pytest.mark.machine("scenario")
PORT = "00:1c.0"  # above FIRST
TRACING = "/sys/kernel/tracing"
HELD = 6  # seconds that a disturbance lasts
ENTRIES_HELD = 12  # and the mutex for all entries
LIMIT = 3.5  # seconds for a reset whose gate could not close: 1 s of trying, slow emulation


def timed_reset(vm, disturb):
    """A reset right after `disturb`, on CPU 0; when it began and ended by the guest's clock."""
    script = (f"{disturb} && s=$(cut -d' ' -f1 /proc/uptime) && rgx reset {FIRST} function && "
              "echo $s $(cut -d' ' -f1 /proc/uptime)")
    out = vm.sh(f"taskset 1 sh -c \"{script.replace('$', chr(92) + '$')}\"", timeout=60).out
    return tuple(map(float, out.split()[-2:]))


def gave_up_at(vm):
    """When the last close gave up, by the time of its line; the kernel's log has its own clock."""
    script = ("u=$(cut -d' ' -f1 /proc/uptime); echo now > /dev/kmsg; "
              "dmesg | grep -e ungated -e '] now$' | tail -2; echo $u")
    line, now, uptime_now = vm.sh(script).out.splitlines()
    at, now = (float(re.match(r"\[ *([\d.]+)\]", one)[1]) for one in (line, now))
    return at - now + float(uptime_now)


def gives_up(vm, kernel, gate, endpoint, disturb, limit=LIMIT, armed=False):
    """The reset runs as on a stock kernel, in time, with one line and a count."""
    gate()
    one = endpoint()
    if armed:
        one.rgx("reset", "function")
    marker = note(vm, f"case: {disturb}")
    timeouts = int(status(vm)["close_timeouts"])
    with told(vm, one) as story, one.storm():
        vm.write(f"{PARAMETERS}/close_timeout_ms", "1000")
        start, end = timed_reset(vm, disturb)
        vm.write(f"{PARAMETERS}/close_timeout_ms", "10000")
        # Until nothing is held, and the other CPU runs again.
        vm.sh("rgx idle && taskset 2 true", timeout=60)
    reset = story[0]
    assert reset.flr, "the reset was not done"
    assert gave_up_at(vm) - start < LIMIT, "the module held it up"
    assert end - start < limit, f"the reset took {end - start} s"
    assert int(status(vm)["close_timeouts"]) == timeouts + 1
    lines = [line for line in dmesg_since(vm, marker) if "ungated" in line]
    assert len(lines) == 1 and FIRST in lines[0], lines
    assert gate_file(vm, FIRST, "last_error") == f"-{codes.ETIMEDOUT}"
    if kernel.series < (7, 0) and not armed:  # the storm may be on the stuck CPU
        assert reset.in_window().dev_tlb(FIRST), "as on a stock kernel"
    assert one.context.present and one.ats_on
    # The next one is gated again.
    with one.window():
        assert not one.context.present and not one.ats_on
    assert int(status(vm)["close_timeouts"]) == timeouts + 1
    return one


@pytest.mark.once
def test_busy_group(vm, kernel, gate, endpoint):
    """Somebody holds the IOMMU group's mutex for long.

    On 7.x the kernel's own prepare waits for that mutex in the reset: what the module adds is
    bounded, and the whole by how long the mutex is held.
    Deliberate break: mutex_lock() in rg_closing_lock_group().
    """
    gives_up(vm, kernel, gate, endpoint, f"rgx holdmutex {FIRST} {HELD}000",
             LIMIT if kernel.series < (7, 0) else HELD + LIMIT)


@pytest.mark.modes("smmu")
@pytest.mark.sample("trixie", "trixie-backports")
def test_busy_entries(vm, gate, endpoint):
    """Somebody sleeps with the mutex that SMMUv3's driver has for the entries of all SMMUs, as where
    another SMMU's queue times out: the gate closes and opens meanwhile. The group's is enough.

    Deliberate break: rg_smmu_block() takes it.
    """
    gate()
    one = endpoint()
    before, marker = status(vm)["close_timeouts"], note(vm, "case: entries are busy")
    until = uptime(vm) + ENTRIES_HELD
    vm.sh(f"rgx holdmutex entries {ENTRIES_HELD}000")
    with told(vm, one) as story, one.storm(), one.window():
        assert one.context.blocked and not one.ats_on
        one.rounds(30)
    assert gate_file(vm, FIRST, "state") == "open" and one.context.present and one.ats_on
    assert uptime(vm) < until, "it was not held any more: nothing was shown"
    assert story[0].in_window().dev_tlb(FIRST) == []
    assert status(vm)["close_timeouts"] == before
    assert not [line for line in dmesg_since(vm, marker)
                if re.search("closed late|opens late|ATS late", line)]
    vm.sh("rgx idle", timeout=60)


@pytest.fixture
def deaf(vm):
    yield
    if vm.alive:
        vm.sh("rgx latequeue off")


@pytest.mark.modes("smmu")
@pytest.mark.sample("trixie", "trixie-backports")
def test_queue_that_takes_nothing(vm, deaf, kernel, gate, endpoint):
    """The driver of SMMUv3 waits for a command for a second and tells nobody that it gave up. Where
    the queue does not go on before the entry is blocked, the reset runs ungated; where it stops then,
    the gate closes late; where it does not before ATS, ATS waits.

    Deliberate break: rg_smmu_takes() returns true.
    """
    one = gives_up(vm, kernel, gate, endpoint, f"rgx deafqueue {FIRST} {HELD}000")
    late = int(status(vm)["closed_late"])
    marker = note(vm, "case: deaf behind the block")
    one.rgx("deafqueue", 1500, "block")
    with one.storm():
        with one.window():
            assert gate_file(vm, FIRST, "state") == "closed" and not one.context.present
            assert int(status(vm)["closed_late"]) == late + 1
            vm.sh("rgx idle", timeout=60)
            one.rounds(50)
        # It goes on by now: nobody need wait.
        assert one.context.present and one.ats_on
    assert not [line for line in dmesg_since(vm, marker) if "ATS late" in line]
    settled(vm, [one])
    marker = note(vm, "case: deaf at the end")
    with one.storm():
        with one.window():
            one.rounds(50)
            one.rgx("deafqueue", 4000)
        assert one.context.present and not one.ats_on
        assert [line for line in dmesg_since(vm, marker) if "gets its ATS late" in line]
        vm.sh("rgx idle; for i in $(seq 150); do rgx ats %s | grep -q ctrl=8 && break; sleep .1; done"
              % FIRST, timeout=60)
        assert one.ats_on
    assert int(status(vm)["closed_late"]) == late + 1


@pytest.mark.once
@pytest.mark.reload  # or the valve may still be armed
def test_busy_ftrace(vm, kernel, gate, endpoint):
    """A tracer is being unregistered and holds ftrace's lock.

    Deliberate break: arm the invalidation valve in the task that resets.
    """
    if errno(vm, "holdftrace", 1) == -codes.EOPNOTSUPP:
        pytest.skip("this kernel preempts nobody: unregistering a tracer waits for nobody")
    rgx(vm, "idle")
    gives_up(vm, kernel, gate, endpoint, f"rgx holdftrace {HELD}000")


@pytest.mark.once
def test_stuck_cpu(vm, kernel, gate, endpoint):
    """A CPU does not come out of an interrupts-off section: a queue that does not drain.

    The valve is armed by a reset shortly before: patching code needs every CPU, and the task
    that does it spins on the only other one of this machine.
    Deliberate break: synchronize_rcu() in place of rg_fence_wait().
    """
    gives_up(vm, kernel, gate, endpoint, f"rgx irqstall 1 {HELD}000", armed=True)


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_parked(vm, gate, endpoint):
    """I5, I9, R10, R13: a function that is silent after its reset stays blocked, says so, and opens
    by hand or by a good reset; none of it touches its ATS while it is silent.

    Deliberate breaks: rg_gate_leave() takes every function as answering; writing `open` does
    not call rg_gate_reopen(), or parks a function that is silent anew; parking is not traced.
    """
    gate()
    one = endpoint()
    vm.sh(f"echo > {TRACING}/trace; echo 1 > {TRACING}/events/resetgate/park/enable")
    for good in ("hand", "reset"):
        marker = note(vm, f"case: parked, then {good}")
        one.rgx("mute", "reset")
        one.rgx("reset", "function", timeout=90)
        assert not one.context.present
        assert gate_file(vm, FIRST, "state") == "parked"
        assert vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state", check=False).rc
        assert not one.context.present and gate_file(vm, FIRST, "state") == "parked"
        lines = [line for line in dmesg_since(vm, marker) if "parked" in line]
        assert len(lines) == 1 and FIRST in lines[0]
        assert vm.sh("rmmod resetgate", check=False).rc, "a parked function holds the module"
        one.rgx("mute", "off")
        assert not one.ats_on and not one.context.present
        with told(vm, one) as story, one.storm():
            one.rounds(30)
        assert story[0].all.dev_tlb(FIRST) == [], "a parked function is sent invalidations"
        if good == "hand":
            vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state")
        else:
            one.rgx("reset", "function")
        assert gate_file(vm, FIRST, "state") == "open"
        assert one.context.present and one.ats_on
        one.rgx("busmaster", "on")
    traced = [line for line in vm.sh(f"cat {TRACING}/trace").out.splitlines() if " park: " in line]
    assert len(traced) == 2 and all(f"{FIRST} reason=silent" in line for line in traced), traced
    vm.sh(f"echo 0 > {TRACING}/events/resetgate/park/enable")


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_silent_for_a_while(vm, gate, endpoint):
    """A bus reset that nobody restores, of a function that needs seconds to answer: it stays
    closed and silent until it does, and is not parked.

    Deliberate breaks: rg_scope_leave() in rg_bus_leave() with RG_AWAIT_NOT (it is parked);
    rg_gate_await() opens without asking for an answer.
    """
    gate()
    one = endpoint()
    with told(vm, one) as story, one.storm():
        one.rgx("mute", "20000")
        # The kernel itself waits for what is below before it returns.
        job = vm.bg(f"rgx reset {PORT} secondary")
        while not vm.trace().bus_reset_start(PORT):
            assert not job.done()
        vm.mark(0x110)
        one.rounds(50)
        vm.sh("sleep 2")
        assert gate_file(vm, FIRST, "state") == "closed" and not one.context.present
        vm.mark(0x111)
        one.rgx("mute", "off")
        job.wait()
        settled(vm, [one])
    assert story[0].all.between(0x110, 0x111).dev_tlb(FIRST) == []
    start = story[0].all.bus_reset_start(PORT)[0]
    assert story[0].ats_on.at - start.at > 2, "it was open before it answered"
    assert one.context.present and one.ats_on
    anew(vm, [one])


@pytest.mark.long
@pytest.mark.once
@pytest.mark.kernels("trixie")
def test_silent_for_good(vm, gate, endpoint):
    """One that nobody restores, and that does not answer within a minute, is parked, with one line.

    Deliberate break: rg_gate_await_work() asks for ever.
    """
    gate()
    one = endpoint()
    vm.write(f"{pci.sysfs(PORT)}/reset_method", "flr")
    marker = note(vm, "case: silent for good")
    one.rgx("mute", "on")
    try:
        vm.sh(f"echo 1 > {pci.sysfs(PORT)}/reset")
        start = uptime(vm)
        vm.sh("sleep 55", timeout=150)
        if uptime(vm) - start < 59:
            assert gate_file(vm, FIRST, "state") == "closed"
        vm.sh("sleep 8", timeout=60)
        assert gate_file(vm, FIRST, "state") == "parked" and not one.context.present
        assert gate_file(vm, FIRST, "reason") == "silent"
        assert len([line for line in dmesg_since(vm, marker) if "parked" in line]) == 1
    finally:
        one.rgx("mute", "off")
        vm.write(f"{pci.sysfs(PORT)}/reset_method", "default")
    vm.write(f"{pci.sysfs(FIRST)}/resetgate/state", "open")
    assert one.context.present and one.ats_on
    anew(vm, [one])


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_reset_in_awaited_window(vm, gate, endpoint):
    """A reset that begins while the function is awaited after another has its own time: the
    watchdog of the first does not end the window in the middle of it.

    Deliberate break: rg_gate_shut() leaves the watch of a closed gate as it is.
    """
    gate("park_timeout_s=3")
    one = endpoint()
    one.rgx("mute", "20000")
    start = uptime(vm)
    first = vm.bg(f"rgx reset {PORT} secondary")
    vm.sh("sleep 2")
    with held_bus(vm, FIRST, lambda: vm.bg(f"rgx reset {PORT} secondary")):
        vm.sh(f"sleep {max(start + 3.6 - uptime(vm), 0):.2f}")
        assert gate_file(vm, FIRST, "state") == "closed" and not one.context.present
        one.rgx("mute", "off")
    first.wait()
    settled(vm, [one])
    assert one.context.present and one.ats_on
    anew(vm, [one])


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_busy_group_at_the_end(vm, gate, endpoint):
    """Somebody holds the group's mutex when a window is to open: the function stays closed, the
    next reset is not held up by that, and it opens when the mutex is free, with a line for each of the two.

    Deliberate break: rg_opening_lock_group() waits for the mutex.
    """
    gate()
    one = endpoint()
    marker = note(vm, "case: busy at the end")
    one.rgx("hold", "flr")
    reset = vm.bg(f"rgx reset {FIRST} function")
    one.rgx("waitreset")
    vm.sh(f"rgx holdmutex {FIRST} 5000")
    one.rgx("unhold")
    vm.sh("sleep .5")
    assert gate_file(vm, FIRST, "state") == "closed" and not one.context.present
    assert not reset.done(), "the driver was told that the reset is over"
    start = uptime(vm)
    vm.sh(f"rgx reset {PORT} secondary")
    assert uptime(vm) - start < LIMIT
    assert not one.context.present
    vm.sh("rgx idle", timeout=60)
    reset.wait()
    settled(vm, [one])
    lines = [line for line in dmesg_since(vm, marker) if "opens late" in line]
    assert len(lines) == 2 and FIRST in lines[0], lines
    assert one.context.present and one.ats_on
    anew(vm, [one])


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_silent_opened(vm, gate, endpoint):
    """on_failed_reset=open: the table opens, ATS stays off, whatever is attached, until the
    administrator or the next reset opens the rest.

    Deliberate breaks: ignore the parameter; open the endpoint valve of a silent function.
    """
    gate("on_failed_reset=open")
    one = endpoint()
    one.rgx("mute", "reset")
    one.rgx("reset", "function", timeout=90)
    assert one.context.present and gate_file(vm, FIRST, "state") == "open"
    one.rgx("mute", "off")
    assert not one.ats_on
    one.rgx("detach")
    one.rgx("attach", one.b)
    assert not one.ats_on, "its ATC would never hear of an unmap"
    one.rgx("reset", "function")
    assert one.ats_on
    one.rgx("mute", "reset")
    one.rgx("reset", "function", timeout=90)
    one.rgx("mute", "off")
    with told(vm, one) as story:
        vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state")
        with one.storm(one.b):
            one.rounds(5, one.b)
    assert one.ats_on and story[0].all.dev_tlb(FIRST)


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_attach_while_parked(vm, gate, endpoint):
    """I3, I5: attaches go on while a function is parked, and count when it opens.

    Deliberate break: parking opens the table entry.
    """
    gate()
    one = endpoint()
    one.rgx("detach")
    one.rgx("attach", one.b)
    wanted = one.root
    one.rgx("detach")
    one.rgx("attach", one.a)
    one.rgx("mute", "reset")
    one.rgx("reset", "function", timeout=90)
    assert one.errno("detach") == 0 and one.errno("attach", one.b) == 0
    rgx(vm, "domain free", one.a)
    assert not one.context.present
    one.rgx("mute", "off")
    vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state")
    assert one.root[0] == wanted[0]


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_window_without_end(vm, gate, endpoint):
    """park_timeout_s: a reset that goes on for too long is parked, told and counted; when it
    ends after all, it opens like any other.

    Deliberate breaks: rg_gate_watch() does not schedule; rg_gate_leave() leaves it parked.
    """
    gate("park_timeout_s=2")
    one = endpoint()
    marker = note(vm, "case: without end")
    with one.window():
        vm.sh("sleep 3")
        assert gate_file(vm, FIRST, "state") == "parked"
        assert gate_file(vm, FIRST, "reason") == "timeout"
        assert not one.context.present and not one.ats_on
        assert vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state", check=False).rc, \
            "a reset is running"
    lines = [line for line in dmesg_since(vm, marker) if "parked" in line]
    assert len(lines) == 1 and FIRST in lines[0] and "park_timeout_s" in lines[0]
    assert gate_file(vm, FIRST, "state") == "open"
    assert one.context.present and one.ats_on
