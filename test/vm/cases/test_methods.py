# SPDX-License-Identifier: GPL-2.0
"""Every way to reset a function closes and opens its gate; a probe does neither."""

import shlex

import pytest
from lab import machines, pci, trace

from scenario import EDU, FIRST, fired, gate_file, rgx, told, windows

pytestmark = pytest.mark.machine("scenario")

# How to ask for it, the method to be used, what the shim is to wait for.
WAYS = {
    "flr": ("rgx reset {0} function", "flr", "flr"),
    "pm": ("rgx reset {0} function", "pm", "pm"),
    "bus": ("rgx reset {0} function", "bus", "bus"),
    "locked": ("rgx reset {0} locked", "flr", "flr"),
    "try": ("rgx reset {0} try", "flr", "flr"),
    "sysfs": ("echo 1 > {1}/reset", "flr", "flr"),
}


def restore(one):
    """Where nobody has saved and restored, the case does it."""
    one.rgx("busmaster", "on")


def held(vm, one, command, method, kind):
    """One window in a storm; returns what was seen in it and its trace."""
    if method:
        one.use(method)
    with told(vm, one) as story, one.storm():
        with one.window(command, kind):
            seen = (one.context.present, one.ats_on)
            vm.mark(0x110)
            one.rounds(50)
            vm.mark(0x111)
    return seen, story[0], len(story[0].all.between(0x110, 0x111).dev_tlb(FIRST))


@pytest.mark.once
def test_every_method(vm, gate, endpoint):
    """R4: flr, pm, bus through each function that drivers call: one window each, silent to its end.

    Deliberate break: __pci_reset_function_locked() only brackets (pm is then not gated; an FLR and
    a bus reset close by themselves).
    """
    gate()
    one = endpoint()
    before = windows(vm, FIRST)
    for name, (command, method, kind) in WAYS.items():
        command = command.format(FIRST, pci.sysfs(FIRST))
        seen, reset, sent = held(vm, one, command, method, kind)
        assert seen == (False, False), name
        assert sent == 0, name
        assert one.context.present and one.ats_on, name
        assert len(reset.withheld()) > 20, name
    one.use("flr", "pm", "bus")
    assert windows(vm, FIRST) == before + len(WAYS)


@pytest.mark.once
def test_raw_calls(vm, gate, endpoint):
    """pcie_flr() and __pci_reset_function_locked() by a caller that restores on its own.

    Deliberate break: leave pcie_flr out of rg_reset_hooks.
    """
    gate()
    one = endpoint()
    for way in ("flr", "__locked"):
        one.use("flr")
        seen, _, sent = held(vm, one, f"rgx reset {FIRST} {way}", None, "flr")
        assert (seen, sent) == ((False, False), 0), way
        assert one.context.present and one.ats_on, way
        restore(one)
    one.use("flr", "pm", "bus")


@pytest.mark.once
def test_unbound(vm, gate, endpoint):
    """A function without a driver: opens when the bracket returns, restored by then. Nobody tells
    of it but the three functions that are brackets.

    Deliberate breaks: rg_gate_unbracket() does not open; any of the three is not in
    rg_reset_hooks (it then opens before it is restored).
    """
    gate()
    one = endpoint(driver=False)
    for way in (f"echo 1 > {pci.sysfs(FIRST)}/reset", f"rgx reset {FIRST} locked",
                f"rgx reset {FIRST} try"):
        seen, reset, sent = held(vm, one, way, "flr", "flr")
        assert (seen, sent) == ((False, False), 0), way
        master = [event for event, on in reset.all.after(reset.flr).master_writes(FIRST) if on]
        assert master and master[-1].index < reset.ats_on.index, way
        assert one.context.present, way
    one.use("flr", "pm", "bus")


@pytest.mark.sample("bookworm")
@pytest.mark.once
def test_nested(vm, gate, endpoint):
    """R4, R4b: a quirk over an FLR: the window ends when the quirk returns, 250 ms after the FLR.

    Deliberate break: no depth: open at every leave (then invalidations go out in the 250 ms).
    """
    gate()
    one = endpoint()
    before = windows(vm, FIRST)
    with told(vm, one) as story, one.storm():
        assert one.rgx("nested") == "0"
    reset = story[0]
    assert reset.in_window().dev_tlb(FIRST) == []
    assert reset.ats_on.at - reset.flr.at > .3, "the window ended with the FLR"
    assert gate_file(vm, FIRST, "depth") == "0" and windows(vm, FIRST) == before + 1
    restore(one)


@pytest.mark.sample("bookworm")
@pytest.mark.once
@pytest.mark.kernels("bookworm", "trixie", "trixie-rt")
def test_overlapping(vm, gate, endpoint):
    """A raw FLR by somebody else while a reset is running: open at the end of the last one.

    7.x refuses an FLR of a function that does not answer, so it cannot be staged there.
    Deliberate break: a flag in place of the depth counter.
    """
    gate()
    one = endpoint()
    with told(vm, one) as story, one.storm(), one.window():
        inner = vm.bg(f"rgx reset {FIRST} flr")
        one.rgx("waitreset")
        vm.mark(0x110)
        assert not one.context.present
        one.rounds(50)
        vm.mark(0x111)
    inner.wait()
    assert story[0].all.between(0x110, 0x111).dev_tlb(FIRST) == []
    assert one.context.present and gate_file(vm, FIRST, "depth") == "0"
    restore(one)


@pytest.mark.sample("trixie", "trixie-backports")
@pytest.mark.once
def test_probe_closes_nothing(vm, gate, endpoint):
    """R11: writing reset_method probes methods; the function goes on working, also on 7.x, where
    upstream itself blocks the function for a probe.

    Deliberate breaks: close in the method functions without a look at `probe`; on 7.x, do not
    redirect pci_dev_reset_iommu_prepare() outside of a reset.
    """
    gate("scope=all")
    one, edu = endpoint(), endpoint(EDU)
    before = windows(vm, FIRST)
    probes = "; ".join([f"echo {method} > {pci.sysfs(bdf)}/reset_method"
                        for method, bdf in (("flr", FIRST), ("pm", FIRST), ("bus", FIRST),
                                            ("bus", EDU))] * 5)
    with told(vm, one) as story, one.storm():
        job = vm.bg(f"while [ ! -e /run/stop ]; do {probes}; done")
        try:
            landed = [edu.dma_lands(edu.a) for _ in range(3)]
        finally:
            vm.sh("touch /run/stop")
            job.wait()
            vm.sh("rm /run/stop")
    assert landed == [True] * 3
    reset = story[0]
    assert reset.blocks() == [] and reset.all.not_present() == []
    assert reset.all.ats_writes(FIRST, one.config.ats) == []
    assert len(reset.all.dev_tlb(FIRST)) > 50
    assert windows(vm, FIRST) == before
    one.use("flr", "pm", "bus")


@pytest.mark.modes("legacy", "smmu")
@pytest.mark.kernels("trixie-backports")
def test_stock_probe_closes(vm, endpoint):
    """What 7.x does at a probe on its own: the case above can fail."""
    one = endpoint()
    with told(vm, one) as story:
        vm.sh(f"for i in 1 2 3; do echo bus > {pci.sysfs(FIRST)}/reset_method; done")
    assert story[0].blocks()
    one.use("flr", "pm", "bus")


@pytest.mark.sample("trixie")
@pytest.mark.once
def test_mode_and_scope(vm, gate, endpoint):
    """mode=off leaves a function alone; scope=ats leaves functions without ATS alone, and
    mode=on takes one of them.

    Deliberate break: rg_gate_takes_part() returns true.
    """
    gate()
    one, edu = endpoint(), endpoint(EDU)
    before = windows(vm, FIRST)
    vm.sh(f"echo off > {pci.sysfs(FIRST)}/resetgate/mode")
    with one.window():
        off = one.context.present or one.ats_on
    with edu.window(kind="bus"):
        outside = edu.context.present
    assert outside and windows(vm, FIRST) == before
    assert off or vm.kernel.series >= (7, 0)  # upstream's own gate is at work there
    vm.sh(f"echo auto > {pci.sysfs(FIRST)}/resetgate/mode; "
          f"echo on > {pci.sysfs(EDU)}/resetgate/mode")
    with one.window():
        assert not one.context.present and not one.ats_on
    with edu.window(kind="bus"):
        assert not edu.context.present
    vm.sh(f"echo auto > {pci.sysfs(EDU)}/resetgate/mode")
    rgx(vm, "busmaster", EDU, "on")


BACK_ENDS = {"vtd": "vtd", "amd": "amd", "smmu": "smmuv3"}


@pytest.mark.sample("trixie")
@pytest.mark.once
def test_says_what_happened(vm, gate, endpoint):
    """What the module says of a window is what the trace says: tracepoints, sysfs, uevents.

    Deliberate breaks: count `dropped` twice; rg_patch_handler() counts nothing.
    """
    gate()
    one = endpoint()
    tracing = "/sys/kernel/tracing"
    before, calls = int(gate_file(vm, FIRST, "dropped")), fired(vm)
    recorded = int(gate_file(vm, FIRST, "recorded"))
    vm.sh(f"echo > {tracing}/trace; echo 1 > {tracing}/events/resetgate/enable")
    with told(vm, one) as story:
        with one.window():
            with one.storm():
                state = gate_file(vm, FIRST, "state")
                one.rounds(50)
            # Not in the storm: while SMMUv3's driver attaches, an unmap can send a CMD_SYNC of its
            # own, for the function is in the domain's list and its ATS is not on.
            one.rgx("detach")
            one.rgx("attach", one.a)
    lines = vm.sh(f"echo 0 > {tracing}/events/resetgate/enable; cat {tracing}/trace").out
    withheld = story[0].withheld()
    assert state == "closed" and gate_file(vm, FIRST, "state") == "open"
    dropped = int(gate_file(vm, FIRST, "dropped")) - before
    # On AMD-Vi those of the opening look the same. On SMMUv3 what another CPU queues at the same time
    # can come between one CMD_SYNC and the next, and two are the module's own.
    more, less = {"vtd": (0, 0), "amd": (8, 0), "smmu": (2, 8)}[machines.vendor(vm.mode)]
    assert 0 < dropped - less <= len(withheld) <= dropped + more
    assert lines.count(" drop: ") == dropped
    # In scalable mode an attach changes what lies behind the context entry.
    written = int(gate_file(vm, FIRST, "recorded")) - recorded
    assert written == lines.count(" record: ") and (written or vm.mode in ("sm-ss", "sm-fs"))
    after = fired(vm)
    assert {name: after[name] - calls[name] for name in ("pcie_flr", "pci_reset_bus")} == {
        "pcie_flr": 1, "pci_reset_bus": 0}
    backends = vm.read("/sys/kernel/resetgate/backends").decode().splitlines()
    assert f"{BACK_ENDS[machines.vendor(vm.mode)]} on" in backends
    assert lines.count(" close: ") == lines.count(" open: ") == 1
    # A close ends with ATS off, an open with ATS on; both clocks are the host's.
    off = [event for event, on in story[0].all.ats_writes(FIRST, one.config.ats) if not on][0]
    span = story[0].ats_on.at - off.at
    assert abs(int(gate_file(vm, FIRST, "last_window_us")) / 1e6 - span) < .3
    assert not [event for event in story[0].all.of(trace.DevTlbInv)
                if story[0].flr.index < event.index < story[0].ats_on.index]


@pytest.mark.sample("trixie")
@pytest.mark.once
def test_uevents(vm, gate, endpoint):
    """User space hears of every window, of parking, and of opening by hand, in that order.

    Deliberate break: rg_events_post() does not schedule the worker.
    """
    gate()
    one = endpoint()

    def heard(number, command):
        out = vm.sh(f"rgx uevents {number} {shlex.quote(f'( {command} ) > /dev/null')}", timeout=90)
        return out.out.split()

    name, reset = f"0000:{FIRST}", f"rgx reset {FIRST} function"
    assert heard(2, reset) == [name, "closed", name, "opened"]
    one.rgx("mute", "reset")
    assert heard(2, reset) == [name, "closed", name, "parked"]
    one.rgx("mute", "off")
    assert heard(1, f"echo open > {pci.sysfs(FIRST)}/resetgate/state") == [name, "opened"]
