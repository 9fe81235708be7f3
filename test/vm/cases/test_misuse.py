# SPDX-License-Identifier: GPL-2.0
"""Steps of a reset that come without the others, twice, or change what was decided."""

import errno as codes

import pytest
from lab import pci

from scenario import (EDU, FIRST, asked, dmesg_since, gate_file, note, rgx, status, told, windows)
from tree import IN, OUT

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.once]


def shape(vm, one):
    """What must be as it was."""
    return (one.context.words, one.ats_on, vm.sh(f"cat {pci.sysfs(one.bdf)}/resetgate/*").out,
            {key: value for key, value in status(vm).items() if key != "functions"})


def told_driver(vm):
    """What the exerciser's driver was told since the last `events clear`."""
    return [word.split(":")[1] for word in rgx(vm, "events").split() if ":" in word]


@pytest.mark.sample("trixie")
def test_end_without_beginning(vm, gate, endpoint):
    """reset_done, slot_reset and resume of a function that is in no reset: its driver gets them,
    and nothing else happens; in somebody else's window they do not end it.

    Deliberate break: rg_gate_settle() does not look at the depth.
    """
    gate()
    one = endpoint()
    rgx(vm, "events clear")
    before = shape(vm, one)
    ends = ("done", "slot_reset", "resume")
    marker = note(vm, "case: ends without a beginning")
    with asked(vm):
        for end in ends:
            assert one.errno("tell", end) == 0, end
            assert shape(vm, one) == before, end
    lines = [line for line in dmesg_since(vm, marker) if "expected a beginning, found none" in line]
    assert len(lines) == len(ends) and all(FIRST in line for line in lines)
    assert told_driver(vm) == list(ends)
    with told(vm, one) as story, one.storm():
        # A raw reset: nobody holds the device's lock.
        with one.window(f"rgx reset {FIRST} flr", "flr"):
            vm.mark(IN)
            for end in ends:
                assert one.errno("tell", end) == 0, end
                assert not one.context.present and not one.ats_on, end
            one.rounds(50)
            vm.mark(OUT)
    assert story[0].all.between(IN, OUT).dev_tlb(FIRST) == []
    assert one.context.present and one.ats_on and gate_file(vm, FIRST, "depth") == "0"
    one.rgx("busmaster", "on")
    one.rgx("reset", "function")


@pytest.mark.sample("trixie")
def test_beginning_twice(vm, gate, endpoint):
    """A driver that is told twice to prepare and once that it is done: the next reset is like
    any other.

    Deliberate break: rg_gate_restored() leaves it prepared.
    """
    gate()
    one = endpoint()
    rgx(vm, "events clear")
    before = shape(vm, one)
    marker = note(vm, "case: beginning twice")
    with asked(vm):
        for step in ("prepare", "prepare", "done"):
            assert one.errno("tell", step) == 0
    lines = [line for line in dmesg_since(vm, marker) if "expected the end of the last" in line]
    assert len(lines) == 1 and FIRST in lines[0]
    assert shape(vm, one) == before
    assert told_driver(vm) == ["prepare", "prepare", "done"]
    count = windows(vm, FIRST)
    with one.window(f"rgx reset {FIRST} flr", "flr"):
        assert not one.context.present
    assert one.context.present and one.ats_on, "waits for an end that came long ago"
    assert windows(vm, FIRST) == count + 1
    one.rgx("busmaster", "on")


@pytest.mark.sample("trixie")
def test_beginning_without_end(vm, gate, endpoint):
    """A driver that is told to prepare and never that it is done: a reset by somebody who restores
    nothing is kept closed for whoever has prepared it, for park_timeout_s and no longer, and one
    line says so; nothing is left for the next one.

    Deliberate break: rg_gate_watch() does not schedule.
    """
    gate("park_timeout_s=4")
    one = endpoint()
    marker = note(vm, "case: a beginning without an end")
    assert one.errno("tell", "prepare") == 0
    one.rgx("reset", "flr")
    assert gate_file(vm, FIRST, "state") == "closed" and gate_file(vm, FIRST, "depth") == "0"
    assert not one.context.present
    vm.sh(f"i=0; until grep -qx open {pci.sysfs(FIRST)}/resetgate/state; do i=$((i+1)); "
          "[ $i -lt 100 ] || exit 1; sleep .1; done")
    lines = [line for line in dmesg_since(vm, marker) if "nobody did" in line]
    assert len(lines) == 1 and FIRST in lines[0] and "park_timeout_s" in lines[0]
    assert one.context.present and one.ats_on
    one.rgx("reset", "flr")
    assert one.context.present and one.ats_on and gate_file(vm, FIRST, "state") == "open"
    one.rgx("busmaster", "on")


@pytest.mark.kernels("trixie-backports")
def test_native_twice(vm, gate, endpoint):
    """The kernel's own gate, asked for twice and let go of twice: nothing is blocked, an attach
    between is not refused, and afterwards it is the kernel's again.

    Deliberate break: rg_divert_native_prepare() does not count (the kernel then warns of a done
    without a prepare).
    """
    gate()
    one = endpoint()
    before, count = one.root, windows(vm, FIRST)
    with told(vm, one) as story, one.storm():
        for _ in range(2):
            assert one.errno("tell", "native_prepare") == 0
        assert one.root == before and one.ats_on
        vm.mark(IN)
        one.rounds(50)
        vm.mark(OUT)
        assert one.errno("tell", "native_done") == 0
        assert one.errno("detach") == 0 and one.errno("attach", one.a) == 0
        assert one.errno("tell", "native_done") == 0
    assert len(story[0].all.between(IN, OUT).dev_tlb(FIRST)) > 20
    out = story[0].all.mark(OUT)
    assert [event for event in story[0].blocks() if event.index < out.index] == []
    assert one.root and one.ats_on and windows(vm, FIRST) == count


@pytest.mark.kernels("trixie-backports")
@pytest.mark.reload
def test_native_end_missing(vm, gate, endpoint):
    """One that was asked for and not yet let go of: unloading waits for its end, or the kernel
    would get an end without a beginning.

    Deliberate break: rg_native_remove() does not wait.
    """
    gate()
    one = endpoint()
    assert one.errno("tell", "native_prepare") == 0
    job = vm.bg("rmmod resetgate")
    vm.sh("sleep 2")
    assert not job.done()
    assert one.errno("tell", "native_done") == 0
    job.wait()
    # The kernel's own is in charge again, and in balance.
    assert one.errno("tell", "native_prepare") == 0
    assert one.errno("detach") == 0
    assert one.errno("attach", one.a) == -codes.EBUSY
    assert one.errno("tell", "native_done") == 0
    assert one.errno("attach", one.a) == 0
    assert one.context.present and one.ats_on


@pytest.mark.kernels("trixie-backports")
@pytest.mark.fresh
def test_native_end_without_beginning(vm, gate, endpoint):
    """An end that no beginning of ours belongs to is the kernel's: it warns, as without the
    module, and nothing changes.

    Deliberate break: rg_divert_native_done() redirects every done.
    """
    vm.sh("echo 0 > /proc/sys/kernel/panic_on_warn")
    vm.allowed_splats += [r"WARNING: .*pci_dev_reset_iommu_done", r"Call Trace:"]
    gate()
    one = endpoint()
    before = shape(vm, one)
    marker = note(vm, "case: a done without a prepare")
    assert one.errno("tell", "native_done") == 0
    assert "pci_dev_reset_iommu_done" in "\n".join(dmesg_since(vm, marker))
    assert shape(vm, one) == before
    with one.window():
        assert not one.context.present and not one.ats_on
    assert one.context.present and one.ats_on


@pytest.mark.sample("trixie")
def test_changed_in_window(vm, gate, endpoint):
    """R14: whether a function takes part is decided when its gate closes: what is turned off in
    the window counts from the next one on, and the window ends as it began.

    Deliberate break: rg_gate_settle() asks rg_gate_takes_part() again.
    """
    gate()
    one, edu = endpoint(), endpoint(EDU)
    scope = "/sys/module/resetgate/parameters/scope"
    mode = f"{pci.sysfs(FIRST)}/resetgate/mode"
    changes = {
        "mode": (f"echo off > {mode}", f"echo auto > {mode}"),
        "untrusted": (f"rgx untrusted {FIRST} on", f"rgx untrusted {FIRST} off"),
    }
    try:
        for name, (change, back) in changes.items():
            with told(vm, one) as story, one.storm(), one.window():
                vm.sh(change)
                vm.mark(IN)
                one.rounds(50)
                vm.mark(OUT)
                assert not one.context.present and not one.ats_on, name
            assert story[0].all.between(IN, OUT).dev_tlb(FIRST) == [], name
            assert one.context.present and gate_file(vm, FIRST, "state") == "open", name
            vm.sh(back)
            assert one.ats_on, name
        vm.sh(f"echo all > {scope}")
        with edu.window(kind="bus"):
            vm.sh(f"echo ats > {scope}")
            assert not edu.context.present
        assert edu.context.present and gate_file(vm, EDU, "state") == "open"
    finally:
        vm.sh("; ".join(back for _, back in changes.values()) + f"; echo ats > {scope}")
    edu.rgx("busmaster", "on")


@pytest.mark.sample("trixie")
def test_words_to_state(vm, gate, endpoint):
    """`open` written to the state of a function that is open, or in reset: refused, with a line or
    an errno that says why, and nothing changes.

    Deliberate break: rg_gate_reopen() opens whatever the phase.
    """
    gate()
    one = endpoint()
    before = shape(vm, one)
    write = f"echo open > {pci.sysfs(FIRST)}/resetgate/state"
    marker = note(vm, "case: open what is open")
    result = vm.sh(write, check=False)
    assert result.rc and "invalid argument" in result.out.lower()
    lines = [line for line in dmesg_since(vm, marker) if "resetgate/state" in line]
    assert len(lines) == 1 and FIRST in lines[0] and "open already" in lines[0]
    assert shape(vm, one) == before
    with one.window():
        result = vm.sh(write, check=False)
        assert result.rc and "busy" in result.out.lower()
        assert not one.context.present and gate_file(vm, FIRST, "state") == "closed"
    assert one.context.present and one.ats_on
