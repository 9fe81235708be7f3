# SPDX-License-Identifier: GPL-2.0
"""Beside others that hook the kernel: all go on working, or one side is refused and says why."""

import errno as codes

import pytest
from lab import pci

from scenario import (FIRST, errno, queue_function, rgx, status, table_function, told,
                      windows)
from tree import IN, OUT

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.once]
TRACING = "/sys/kernel/tracing"
MANY = 20


def hooked(vm):
    """The functions that ftrace calls somebody for."""
    return set(vm.sh(f"cut -d' ' -f1 {TRACING}/enabled_functions").out.split())


# -- a module with a reset of its own --------------------------------------------------


@pytest.fixture
def vendor(vm):
    """vendor() loads a module that gives the first function a reset of its own."""
    yield lambda: vm.sh(f"insmod /lab/rgvendor.ko function=0000:{FIRST}")
    if vm.alive:
        vm.sh("[ ! -d /sys/module/rgvendor ] || rmmod rgvendor; "
              f"echo flr pm bus > {pci.sysfs(FIRST)}/reset_method")


def own_reset(vm, one):
    """That reset in a storm: (entry present, ATS on) in it, ATC invalidations sent in it."""
    def resets():
        return int(vm.sh("cat /sys/module/rgvendor/parameters/resets").out)

    one.use("device_specific")
    before = resets()
    with told(vm, one) as story, one.storm():
        with one.window(kind="flr"):
            seen = one.context.present, one.ats_on
            vm.mark(IN)
            one.rounds(50)
            vm.mark(OUT)
    assert resets() == before + 1, "another reset than the neighbour's ran"
    assert story[0].flr
    return seen, len(story[0].all.between(IN, OUT).dev_tlb(FIRST))


@pytest.mark.sample("trixie-rt")
@pytest.mark.parametrize("first", ("vendor", "resetgate"))
@pytest.mark.reload
def test_specific_reset(vm, gate, endpoint, vendor, first):
    """A module that redirects pci_dev_specific_reset() with IPMODIFY, as vendor-reset does:
    its resets are gated, whichever is loaded first; each goes on without the other. Without
    resetgate nothing gates them, on 7.x neither: upstream's gate is around its own quirks.

    Deliberate breaks: gate pcie_flr() and no other method (rg_divert_method() passes); redirect
    pci_dev_specific_reset() in place of its caller (then one of the two does not load).
    """
    one = endpoint()
    hooks = hooked(vm)
    for load in (vendor, gate) if first == "vendor" else (gate, vendor):
        load()
    before = windows(vm, FIRST)
    assert own_reset(vm, one) == ((False, False), 0)
    assert one.context.present and one.ats_on
    assert windows(vm, FIRST) == before + 1
    if first == "vendor":
        vm.sh("rmmod rgvendor")
        one.use("flr", "pm", "bus")
        with one.window():
            assert not one.context.present and not one.ats_on
        vm.sh("rmmod resetgate")
    else:
        vm.sh("rmmod resetgate")
        seen, sent = own_reset(vm, one)
        assert seen == (True, True) and sent > MANY, "the case above cannot fail"
        vm.sh("rmmod rgvendor")
    assert hooked(vm) == hooks


# -- other patchers --------------------------------------------------------------------


@pytest.mark.sample("trixie-rt")
def test_later_patcher(vm, gate, endpoint):
    """Somebody who comes later and wants to redirect one of our functions is refused by ftrace;
    who wants another one is not; we go on.

    Deliberate break: register without IPMODIFY (both redirect then, and the last one wins).
    """
    gate()
    one = endpoint()
    for function in ("pcie_flr", "__pci_reset_function_locked", "pci_enable_ats",
                     table_function(vm), "pcie_do_recovery", "pci_reset_bus"):
        assert errno(vm, "ipmodify", function, "on") == -codes.EBUSY, function
    assert errno(vm, "ipmodify", "pci_dev_specific_reset", "on") == 0
    with one.window():
        assert not one.context.present and not one.ats_on
    rgx(vm, "ipmodify", "pci_dev_specific_reset", "off")
    assert one.context.present and one.ats_on


def silent(vm, one):
    """A reset in a storm: nothing is sent in its window, and something was withheld."""
    with told(vm, one) as story, one.storm():
        with one.window():
            assert not one.context.present and not one.ats_on
            one.rounds(50)
    assert story[0].in_window().dev_tlb(FIRST) == []
    assert len(story[0].withheld()) > MANY
    assert one.context.present and one.ats_on


@pytest.mark.sample("trixie-rt")
def test_patched_queue(vm, gate, endpoint):
    """A patcher that holds the IOMMU's queue: the invalidation valve changes what the caller
    hands over, not where the call goes, and works beside it.

    Deliberate break: the valve registers with IPMODIFY.
    """
    gate()
    one = endpoint()
    before = status(vm)["close_timeouts"]
    queue = queue_function(vm)
    rgx(vm, "ipmodify", queue, "on")
    try:
        silent(vm, one)
    finally:
        rgx(vm, "ipmodify", queue, "off")
    assert status(vm)["close_timeouts"] == before


# -- who only looks on -----------------------------------------------------------------

# Every reset passes these; the storm passes the last one.
SEEN = ("pci_reset_function", "__pci_reset_function_locked", "pcie_flr", "pci_restore_ats_state")
# These may be passed.
TRACED = ("pcibios_reset_secondary_bus", "pci_enable_ats", "pci_disable_ats")
# What a line of the trace looks like that shows a call.
LINES = {"function": (": {} <-", " p_{}: "), "function_graph": (" {}()",)}
START = "echo {} > set_ftrace_filter && echo {} > current_tracer"
# With returns: those are caught by another return address on the stack, as the graph's are.
PROBES = ("for f in {}; do echo p:rgp/p_$f $f >> kprobe_events && "
          "echo r:rgp/r_$f $f >> kprobe_events || exit 1; done; echo 1 > events/rgp/enable")
STOP = ("echo nop > current_tracer; echo > set_ftrace_filter; "
        "[ ! -d events/rgp ] || echo 0 > events/rgp/enable; echo > kprobe_events; echo > trace")


class Tracers:
    """Those of one kind, on and off."""

    def __init__(self, vm, kind):
        self._vm, self._kind = vm, kind
        self._seen = (*SEEN, queue_function(vm))

    def start(self):
        names = " ".join((*self._seen, *TRACED, table_function(self._vm)))
        self._vm.sh(f"cd {TRACING} && {START.format(names, self._kind)} && echo > trace")
        if self._kind == "function":
            self._vm.sh(f"cd {TRACING}; {PROBES.format(names)}")

    def stop(self):
        self._vm.sh(f"cd {TRACING}; {STOP}")

    def missed(self):
        """Lines that should be in the trace and are not; it begins anew."""
        words = [line.format(name) for name in self._seen for line in LINES[self._kind]]
        words += ["r_pcie_flr:"] if self._kind == "function" else []
        out = self._vm.sh(f"cd {TRACING}; cat trace > /run/trace; echo > trace; for w in "
                          + " ".join(f"'{word}'" for word in words) +
                          "; do grep -qF \"$w\" /run/trace || echo \"$w\"; done; rm /run/trace")
        return out.out.splitlines()


@pytest.fixture
def tracers(vm):
    """tracers(kind) gives some; none is left at the end."""
    yield lambda kind: Tracers(vm, kind)
    if vm.alive:
        Tracers(vm, "").stop()


@pytest.mark.sample("trixie-rt")
@pytest.mark.parametrize("kind", LINES)
@pytest.mark.reload
def test_beside_tracers(vm, gate, endpoint, tracers, kind):
    """A function tracer with kprobes and kretprobes, or a graph tracer, on our functions, from
    before loading and from after it, and until after unloading: windows close and open, all
    calls are seen, nothing is left.

    Deliberate breaks: rg_patch_handler() redirects only where it is the function's only ops;
    rg_patch_remove() leaves a set's ops registered.
    """
    one, trace = endpoint(), tracers(kind)
    hooks = hooked(vm)
    trace.start()
    gate()
    silent(vm, one)
    assert trace.missed() == []
    trace.stop()
    silent(vm, one)
    trace.start()
    silent(vm, one)
    assert trace.missed() == []
    vm.sh("rmmod resetgate")
    trace.missed()
    with one.storm():
        one.rgx("reset", "function")
    assert trace.missed() == []
    trace.stop()
    assert hooked(vm) == hooks
