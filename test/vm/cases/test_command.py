# SPDX-License-Identifier: GPL-2.0
"""The command in a guest: what it says is what is; its verdict of an image is what comes true."""

import json
import re
import subprocess

import pytest
from lab import build
from lab.host import TREE

from scenario import FIRST, gate_file, rgx, status, window

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.once]
BDF = f"0000:{FIRST}"
# No tracefs, as for others than root; and the moment at which it listens for the kernel's uevents.
WITHOUT_TRACEFS = ("unshare -m sh -c 'mount -t tmpfs none /sys/kernel/tracing; "
                   "mount -t tmpfs none /sys/kernel/debug; exec /lab/resetgate watch {}' 2>&1")
IT_LISTENS = ("for i in $(seq 100); do awk '$2 == 15 && $3 { found = 1 } END { exit !found }' "
              "/proc/net/netlink && break; sleep 0.1; done")
INSTANCE_IS_THERE = ("for i in $(seq 100); do [ -e /sys/kernel/tracing/instances/resetgate-* ] && "
                     "break; sleep 0.1; done; sleep 0.5")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """The command of the machine on which the guests run: it has all their images."""
    folder = tmp_path_factory.mktemp("command")
    subprocess.run(["make", "-s", "-C", TREE / "src/cli", f"OUT={folder}"], check=True)
    return folder / "resetgate"


@pytest.fixture
def command(vm, kernel):
    """Runs it in the guest; the exit code must be the one given."""
    vm.put("/lab/resetgate", build.command(kernel))

    def run(*words, rc=0):
        result = vm.sh("/lab/resetgate " + " ".join(words), check=False)
        assert result.rc == rc, result.out
        return json.loads(result.out) if "--json" in words else result.out

    return run


@pytest.mark.few
@pytest.mark.sample("bookworm", "trixie", "trixie-rt", "trixie-cloud", "trixie-backports")
def test_verdict_and_reality_agree(gate, command, here, kernel):
    """What check says of the image, without booting it, is what the module finds when it is loaded;
    a set is idle where it would be on, and the machine has no use for it.

    Deliberate break: leave the members out of rg_judge_all().
    """
    vm = gate()
    done = subprocess.run([here, "check", "--kernel", kernel.vmlinuz, "--iommu", "all", "--json"],
                          capture_output=True, text=True, check=False)
    image, = json.loads(done.stdout)["kernels"]
    assert image["release"] == kernel.release and image["symbols"] is True
    real = {name.removeprefix("set "): "off" if state == "off" else "on"
            for name, state in status(vm).items() if name.startswith("set ")}
    assert image["sets"] == real
    running, = command("check", "--json")["kernels"]
    assert running["sets"] == real and running["release"] == kernel.release
    assert running["verdict"] == image["verdict"] == "covered"


@pytest.mark.sample("trixie", "trixie-backports")
def test_status_says_what_sysfs_does(gate, command):
    """Before a reset, after it, of one function and of all."""
    vm = gate()
    rgx(vm, "reset", FIRST, "function")
    shown = command("status", "--json")
    one, = [function for function in shown["functions"] if function["bdf"] == BDF]
    assert command("status", BDF, "--json")["function"] == one
    for name in ("state", "mode", "reason", "depth", "windows", "last_window_us", "recorded",
                 "dropped", "last_error"):
        assert str(one[name]) == gate_file(vm, FIRST, name), name
    assert str(len(shown["functions"])) == status(vm)["functions"]
    text = command("status")
    assert BDF in text and all(len(line) <= 80 for line in text.splitlines())
    assert command("check", "--in-charge") == "in charge\n"


@pytest.mark.sample("trixie", "trixie-backports")
def test_mode_is_in_force(gate, command):
    """A function that is off is reset as without the module."""
    vm = gate()
    assert command("mode", FIRST, "off") == f"{BDF}: mode off\n"
    before = gate_file(vm, FIRST, "windows")
    rgx(vm, "reset", FIRST, "function")
    assert gate_file(vm, FIRST, "windows") == before
    command("mode", FIRST, "auto")
    rgx(vm, "reset", FIRST, "function")
    assert int(gate_file(vm, FIRST, "windows")) == int(before) + 1
    assert "not parked" in command("open", FIRST, "2>&1", rc=8)


@pytest.mark.sample("trixie", "trixie-backports")
def test_open_and_policy(gate, command):
    """Of a function in a reset, of one that is parked and silent, of one that answers again; and
    a function's own policy.

    Deliberate break: rg_act_failed() takes -EIO and -EBUSY for one another.
    """
    vm = gate()
    with window(vm, FIRST):
        assert "is in a reset: run it again when that is over" in command("open", FIRST, "2>&1", rc=8)
    rgx(vm, "mute", FIRST, "reset")
    rgx(vm, "reset", FIRST, "function", timeout=90)
    try:
        said = command("open", FIRST, "2>&1", rc=8)
        assert "does not answer config reads, so it stays as it is" in said
        assert gate_file(vm, FIRST, "state") == "parked"
    finally:
        rgx(vm, "mute", FIRST, "off")
    assert command("open", FIRST) == f"{BDF}: state open\n"
    assert gate_file(vm, FIRST, "state") == "open"
    assert command("policy", FIRST, "busy") == f"{BDF}: policy busy\n"
    assert gate_file(vm, FIRST, "policy") == "busy"
    assert command("policy", FIRST, "default") == f"{BDF}: policy default\n"
    assert gate_file(vm, FIRST, "policy") == "default"


@pytest.mark.sample("trixie", "trixie-backports")
def test_watch_sees_a_reset(gate, command):
    """A line when it closes, one when it opens; and its instance of tracefs goes with it."""
    vm = gate()
    assert "usage" in command("watch", "--help")
    watching = vm.bg("/lab/resetgate watch --count 2 --seconds 30")
    vm.sh(INSTANCE_IS_THERE)
    rgx(vm, "reset", FIRST, "function")
    closed, opened = watching.wait().out.splitlines()
    assert re.fullmatch(rf"[\d:.]+ {BDF} closed by function_reset", closed)
    match = re.fullmatch(rf"[\d:.]+ {BDF} opened after ([\d.]+) ms: (\d+) recorded, (\d+) dropped",
                         opened)
    assert match and round(float(match[1]) * 1000) == int(gate_file(vm, FIRST, "last_window_us"))
    each = vm.bg("/lab/resetgate watch --each --count 4 --seconds 30")
    vm.sh(INSTANCE_IS_THERE)
    rgx(vm, "reset", FIRST, "function")
    events = [line.split()[2] for line in each.wait().out.splitlines()]
    assert events[0] == "reset-began" and "reset-ended" in events[1:] and "closed" in events[1:]
    assert vm.sh("ls /sys/kernel/tracing/instances").out.strip() == ""


@pytest.mark.reload
@pytest.mark.sample("trixie", "trixie-backports")
def test_watch_by_uevents(gate, command):
    """Without tracefs: a line when it closes, one when it opens, nothing of what was withheld; and
    the module's end is its end.

    Deliberate breaks: rg_live_read_uevent() takes closed for opened; rg_live_run() does not ask
    whether the module is there.
    """
    vm = gate()
    assert "--count" in command("watch", "--help")
    watching = vm.bg(WITHOUT_TRACEFS.format("--count 2 --seconds 30"))
    vm.sh(IT_LISTENS)
    rgx(vm, "reset", FIRST, "function")
    why, closed, opened = watching.wait().out.splitlines()
    assert "are not shown" in why
    assert re.fullmatch(rf"[\d:.]+ {BDF} closed", closed)
    assert re.fullmatch(rf"[\d:.]+ {BDF} opened", opened)
    watching = vm.bg(WITHOUT_TRACEFS.format("--seconds 30"))
    vm.sh(IT_LISTENS)
    vm.sh("rmmod resetgate")
    ended = watching.wait(check=False)
    assert ended.rc == 4 and "the module has been unloaded" in ended.out


@pytest.mark.reload
@pytest.mark.sample("trixie")
def test_without_the_module(vm, command):
    """Each says so, and how to go on."""
    for words in (("status",), ("watch",), ("open", FIRST), ("check", "--in-charge")):
        assert "modprobe resetgate" in command(*words, "2>&1", rc=4)
    assert "== module\nnot loaded" in command("report")
