# SPDX-License-Identifier: GPL-2.0
"""Loading, unloading, binding, removing: no trace left, no unload in a window."""

import pytest
from lab import pci

from scenario import FIRST, NVME, PATIENT, SECOND, gate_file, rgx

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.reload]
HOOKS = "cut -d' ' -f1 /sys/kernel/tracing/enabled_functions | sort"


def outside(vm):
    """What of the kernel a module could have left a trace in."""
    return {
        "functions": vm.sh(HOOKS).out,
        "sysfs": vm.sh("ls -d /sys/bus/pci/devices/*/resetgate /sys/kernel/resetgate "
                       "/sys/module/resetgate 2>/dev/null || true").out,
        "handlers": vm.sh(f"for f in {FIRST} {SECOND} {NVME}; do rgx errh $f; done").out,
    }


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_no_trace_left(vm, gate, endpoint):
    """I8: after unload nothing is in ftrace, sysfs, or any driver's err_handler; and while it
    is loaded, drivers that come and go have ours in front of theirs.

    Deliberate breaks: leave the handlers of one driver in rg_err_handlers_retire(); skip
    rg_patch_remove() of one set.
    """
    vm.sh(f"modprobe nvme; rgx rebind {NVME}")
    one = endpoint()
    before = outside(vm)
    assert before["sysfs"] == ""
    gate("scope=all")
    during = outside(vm)
    assert all(during[what] != before[what] for what in before)
    assert "rgl_err_handler" in before["handlers"]
    assert "rgl_err_handler" not in during["handlers"]
    rgx(vm, "unbind", NVME)
    vm.sh("rmmod nvme; modprobe nvme")
    rgx(vm, "rebind", NVME)
    assert outside(vm)["handlers"] != before["handlers"]
    one.rgx("reset", "function")
    vm.sh("rmmod resetgate")
    assert outside(vm) == before
    rgx(vm, "unbind", NVME)


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_busy_in_window(vm, gate, endpoint):
    """I8: rmmod says busy while a gate is closed, and the window goes on unharmed.

    Deliberate break: no try_module_get() in rg_closing_hold().
    """
    gate()
    one = endpoint()
    with one.window():
        result = vm.sh("rmmod resetgate", check=False)
        said = result.out.lower()
        assert result.rc and ("temporarily unavailable" in said or "busy" in said), said
        assert not one.context.present
    assert one.context.present
    vm.sh("rmmod resetgate")
    assert not vm.sh("ls -d /sys/module/resetgate", check=False).out.startswith("/sys")


@pytest.mark.parametrize("part", (1, *(pytest.param(part, marks=pytest.mark.sample())
                                       for part in range(2, 6))))
@pytest.mark.once
def test_load_and_unload_under_load(vm, gate, endpoint, part):
    """I8: 50 rounds under map, unmap and resets, in parts of ten: over all kernels, with --every on
    each; no splat.

    Deliberate break: rg_valve_shut_down() leaves the valve's ops registered.
    """
    gate()
    one = endpoint()
    rounds = 10
    vm.sh("rmmod resetgate")
    loop = (f"while [ ! -e /run/stop ]; do rgx reset {FIRST} function >/dev/null || exit 1; "
            "sleep .05; done")
    with one.storm():
        job = vm.bg(loop)
        script = (f"i=0; while [ $i -lt {rounds} ]; do i=$((i+1)); "
                  "insmod /lab/resetgate.ko || exit 1; n=0; "
                  "until rmmod resetgate 2>/dev/null; do n=$((n+1)); [ $n -gt 200 ] && exit 2; "
                  "sleep .02; done; done")
        try:
            vm.sh(script, timeout=60 + 10 * rounds)
        finally:
            vm.sh("touch /run/stop")
            done = job.wait(timeout=60, check=False)
            vm.sh("rm /run/stop")
    assert done.rc == 0, done.out
    assert one.context.present and one.ats_on


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_loaded_in_a_reset(vm, gate, endpoint):
    """A module that is loaded in the middle of a reset leaves that one alone.

    Deliberate break: rg_gate_settle() opens what was never closed.
    """
    one = endpoint()
    with one.window():
        gate()
    assert one.context.present and one.ats_on and gate_file(vm, FIRST, "depth") == "0"
    with one.window():
        assert not one.context.present


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_removed_in_window(vm, gate, endpoint):
    """I9: a function whose removal is asked for while its gate is closed: it goes when its reset
    lets go of its lock, nothing is left of it, and it comes back covered.

    Deliberate breaks: no notifier; what comes back is not adopted.
    """
    gate()
    one = endpoint(SECOND)
    with one.window():
        removal = vm.bg(f"echo 1 > {pci.sysfs(SECOND)}/remove")
        vm.sh("sleep .2")
        # The exerciser lets go of the group so that the device can go.
        one.rgx("detach")
        one.rgx("release")
    removal.wait()
    assert vm.sh(f"test -e {pci.sysfs(SECOND)}", check=False).rc
    vm.sh("rmmod rglab")
    vm.sh("rmmod resetgate")
    vm.sh(f"insmod /lab/rglab.ko; insmod /lab/resetgate.ko {PATIENT}; "
          "echo 1 > /sys/bus/pci/rescan")
    assert gate_file(vm, SECOND, "state") == "open"
    again = endpoint(SECOND)
    with again.window():
        assert not again.context.present and not again.ats_on
    assert again.context.present and again.ats_on


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_disarm(vm, gate, endpoint):
    """disarm=1: loaded, shown, and nothing is touched.

    Deliberate break: ignore the parameter.
    """
    one = endpoint()
    hooks, handler = vm.sh(HOOKS).out, one.rgx("errh")
    gate("disarm=1")
    assert (vm.sh(HOOKS).out, one.rgx("errh")) == (hooks, handler)
    assert "armed: no" in vm.sh("cat /sys/kernel/resetgate/status").out
    with one.window():
        assert one.context.present or vm.kernel.series >= (7, 0)


@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_removed_while_unloading(vm, gate):
    """I8: a function that goes while the module does; neither stumbles over the other.

    Deliberate break: rg_status_del() in rg_registry_exit(), when nobody is told of removals.
    """
    for delay in (".1", ".4", ".8"):
        gate()
        job = vm.bg("rmmod resetgate")
        vm.sh(f"sleep {delay}; echo 1 > {pci.sysfs(SECOND)}/remove")
        job.wait()
        vm.sh("echo 1 > /sys/bus/pci/rescan")
    assert vm.sh(f"test -e {pci.sysfs(SECOND)}", check=False).rc == 0
