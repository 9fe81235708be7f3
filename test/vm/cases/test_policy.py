# SPDX-License-Identifier: GPL-2.0
"""policy=: what an attach in a window gets. It is recorded, refused, or waits for the end."""

import errno as codes
import time

import pytest
from lab import pci

from scenario import (FIRST, IOVA, PARAMETERS, PATIENT, dmesg_since, errno, fired, gate_file, note,
                      rgx, status)
from test_alias import ONE, TWO, group, window  # pylint: disable=unused-import # a fixture
from test_recovery import OVER
from tree import ONE as BELOW, Recovery, anew, found_again, held_bus, settled

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.once]
FLR, BUS = (f"rgx reset {FIRST} function", "flr"), (f"rgx reset {FIRST} hot", "bus")
# Nobody holds the device lock.
RAW, RAW_BUS = (f"rgx reset {FIRST} flr", "flr"), ("rgx reset 00:1c.0 secondary", "bus")
BUSY = -codes.EBUSY
PAUSE = .4  # long enough for a call that does not sleep
MINE = 0x5151


def choose(vm, policy, bdf=None):
    """The module's policy, or a function's own."""
    vm.write(f"{pci.sysfs(bdf)}/resetgate/policy" if bdf else f"{PARAMETERS}/policy", policy)


def answer(job):
    """What a command in the background printed as its number, soon."""
    result = job.wait(timeout=20, check=False)
    assert result.rc in (0, 1), f"it goes on: {result}"
    return int(result.out.split()[0])


def sleeps(job):
    time.sleep(PAUSE)
    return not job.done()


def by_every_call(one, kernel):
    """What each call that attaches gives while the function is attached to A, then to nothing."""
    given = [one.errno("replace", one.b)] if kernel.series >= (6, 12) else []
    assert one.errno("detach") == 0, "a detach was refused"
    hows = ["group", "device"] + ["handle"] * (kernel.series >= (6, 16))
    given += [one.errno("attach", one.b, how) for how in hows]
    # Debian's arm64 kernels have no SVA.
    has_sva = not one.vm.sh("grep -q ' iommu_sva_bind_device$' /proc/kallsyms", check=False).rc
    return given + [one.errno("sva")] * has_sva


def test_busy(vm, kernel, gate, endpoint):
    """busy: attach and replace give -EBUSY in a window and nowhere else, a detach does not; the
    function's own policy goes before the module's, and both can be changed in the window. On 7.x
    the kernel's own gate does its part.

    Deliberate breaks: rg_attach_begin() takes busy for record; rg_attach_policy() does not look
    at the function's own; rg_native_is_ours() does not look at the policy.
    """
    gate("policy=busy")
    one = endpoint()
    wanted = one.root_of(one.b)
    assert one.errno("sva") not in (0, BUSY)
    for way in (FLR, BUS):
        # The kernel's gate refuses to the end of a reset that it has begun to follow.
        upstream = kernel.series >= (7, 0) and way is FLR
        before = fired(vm).get("pci_dev_reset_iommu_prepare")
        with one.window(*way):
            assert set(by_every_call(one, kernel)) == {BUSY}
            assert not one.context.present and not one.ats_on
            choose(vm, "record", FIRST)
            assert one.errno("attach", one.b) == (BUSY if upstream else 0)
            choose(vm, "default", FIRST)
            assert one.errno("detach") == (-codes.ENOENT if upstream else 0)
            assert one.errno("attach", one.b) == BUSY
        assert fired(vm).get("pci_dev_reset_iommu_prepare") == before
        assert one.errno("attach", one.b, "device") == 0
        assert one.root[0] == wanted and one.ats_on
        one.rgx("detach")
        one.rgx("attach", one.a)
    choose(vm, "record")
    with one.window(*FLR):
        choose(vm, "busy", FIRST)
        assert set(by_every_call(one, kernel)) == {BUSY}
        choose(vm, "default", FIRST)
        assert one.errno("attach", one.b) == 0
    assert one.root[0] == wanted and one.ats_on


def test_wait(vm, gate, endpoint):
    """wait: an attach in a window comes back when the gate has opened, and is in hardware then.

    Deliberate breaks: rg_attach_begin() takes wait for record; rg_attach_turn() wakes nobody.
    """
    gate("policy=wait")
    one = endpoint()
    wanted = one.root_of(one.b)
    for way in (FLR, BUS):
        with one.window(*way):
            assert one.errno("detach") == 0, "a detach was refused"
            job = vm.bg(f"rgx attach {FIRST} {one.b}")
            assert sleeps(job)
        assert answer(job) == 0
        assert gate_file(vm, FIRST, "state") == "open"
        assert one.root[0] == wanted and one.ats_on
        one.rgx("detach")
        one.rgx("attach", one.a)


@pytest.mark.sample("bookworm", "trixie-rt", "trixie-backports")
def test_end_of_a_wait(vm, gate, endpoint):
    """A wait also ends when its time is over, another policy is chosen, its task is killed, or the
    function is parked. A caller that holds the device lock does not sleep at all.

    Deliberate breaks: rg_attach_may_wait() allows it; rg_policy_set() wakes nobody;
    rg_attach_wait() cannot be killed; rg_attach_verdict_of() does not look whether it is parked.
    """
    gate("policy=wait wait_timeout_ms=300")
    one = endpoint()
    attach = f"rgx attach {FIRST} {one.a}"
    with one.window(*RAW):
        one.rgx("detach")
        assert one.errno("attach", one.a) == -codes.ETIMEDOUT
        assert one.errno("attach", one.a, "locked") == BUSY
    vm.write(f"{PARAMETERS}/wait_timeout_ms", "60000")
    with one.window(*BUS):
        job = vm.bg(attach)
        assert sleeps(job)
        assert vm.sh("rmmod resetgate", check=False).rc
        choose(vm, "busy")
        assert answer(job) == BUSY
        choose(vm, "wait")
        job = vm.bg(attach)
        assert sleeps(job)
        choose(vm, "record", FIRST)
        assert answer(job) == 0
        one.rgx("detach")
        choose(vm, "default", FIRST)
        job = vm.bg(f"echo $$ > /run/waiter; exec {attach}")
        assert sleeps(job)
        vm.sh("kill -9 $(cat /run/waiter)")
        assert job.wait(timeout=20, check=False).rc not in (0, 1)
        assert gate_file(vm, FIRST, "state") == "closed" and one.errno("detach") == -codes.ENOENT
    one.rgx("mute", "reset")
    with one.window(*RAW):
        job = vm.bg(attach)
        assert sleeps(job)
    assert gate_file(vm, FIRST, "state") == "parked"
    assert answer(job) == BUSY and one.errno("attach", one.a) == BUSY
    one.rgx("mute", "off")
    vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state")
    assert one.errno("attach", one.a) == 0 and one.ats_on
    anew(vm, [one])  # nobody has restored it


@pytest.mark.sample("bookworm", "trixie-backports")
def test_recovery(vm, gate, endpoint):
    """A recovery takes device locks in its window, and calls drivers: nobody waits for it, and who
    waits for another window of the function gives up as it begins.

    Deliberate breaks: no rg_scope_recover() in rg_recovery_begin(); it wakes nobody.
    """
    gate("policy=wait")
    found_again(vm)
    one = endpoint(BELOW)
    # Its port's error: the FLR turns its own reports off, and nothing else closes with it.
    inject = "dn0 DLP"
    rgx(vm, "vote need_reset recovered")
    with one.window(f"rgx reset {BELOW} flr", "flr"):
        one.rgx("detach")
        job = vm.bg(f"rgx attach {BELOW} {one.b}")
        assert sleeps(job)
        recovery = Recovery(vm, inject, BELOW, OVER)
        assert answer(job) == BUSY
    recovery.wait()
    settled(vm, [one])
    with held_bus(vm, BELOW, lambda: Recovery(vm, inject, BELOW, OVER)):
        assert one.errno("attach", one.b) == BUSY
    settled(vm, [one])
    assert one.errno("attach", one.b) == 0 and one.ats_on


@pytest.mark.sample("bookworm", "trixie-backports")
def test_default_domain(vm, gate):
    """A change of the default domain's type through sysfs is an attach, too. Who waits with it does
    not hold up the function's removal.

    What is no type is refused for that.

    Deliberate breaks: rg_divert_store_type() diverts nothing; rg_attach_typed() takes any word.
    """
    gate()
    change = f"echo DMA > {pci.sysfs(FIRST)}/iommu_group/type"
    vm.sh(f"rgx unbind {FIRST}; {change}")
    rgx(vm, "hold", FIRST)
    job = vm.bg(RAW[0])  # 6.1 takes the device lock for it
    try:
        rgx(vm, "waitreset", FIRST)
        # Only now: 7.3's own gate is not to take part in this reset. Of a function that it has
        # blocked it forgets that when the function is removed, and warns (SMMUv3's lists).
        choose(vm, "busy")
        unknown = vm.sh(change.replace("DMA", "nonsense"), check=False)
        refused = vm.sh(change, check=False)
        choose(vm, "record")
        taken = vm.sh(change, check=False)
        choose(vm, "wait")
        waits = vm.bg(change)
        asleep = sleeps(waits)
        vm.sh(f"echo 1 > {pci.sysfs(FIRST)}/remove", timeout=30)
        waits.wait(timeout=10, check=False)
        ended = waits.done()
    finally:
        vm.sh(f"rgx unhold {FIRST}")
        job.wait(check=False)
        vm.sh("echo 1 > /sys/bus/pci/rescan", timeout=60)
    assert unknown.rc and "Invalid argument" in unknown.out, f"{unknown}"
    assert refused.rc and "busy" in refused.out and not taken.rc, f"{refused} {taken}"
    assert asleep and ended


@pytest.mark.sample("trixie")
def test_group_of_several(vm, gate, group):
    """A group is closed if one of its functions is, and as strict as the strictest of those.

    Deliberate break: rg_attach_verdict() looks at the first function that is closed, only.
    """
    gate("scope=all policy=wait")
    rgx(vm, "detach", ONE)
    with window(vm, ONE), window(vm, TWO):
        for bdf in (ONE, TWO):
            choose(vm, "busy", bdf)
            assert errno(vm, "attach", ONE, "d") == errno(vm, "attach", TWO, "d") == BUSY
            choose(vm, "record", bdf)
        assert errno(vm, "attach", ONE, "d") == 0
    for bdf in (ONE, TWO):
        choose(vm, "default", bdf)


@pytest.mark.few
@pytest.mark.sample("bookworm", "trixie", "trixie-rt", "trixie-cloud", "trixie-backports")
def test_vfio(vm, kernel, gate, vfio):
    """A process that gives its container an IOMMU while the function is in reset: at once with
    record, -EBUSY with busy, and with wait it gets through once the window ends.

    Deliberate break: rg_attach_begin() takes wait for record, or busy.
    """
    gate()
    one, vmm = vfio.function(FIRST), vfio.process()
    reset, join = f"echo 1 > {pci.sysfs(FIRST)}/reset", vmm.command("join", FIRST)
    with one.window(reset, "flr"):
        assert vmm.errno("join", FIRST) == 0
        choose(vm, "busy")
        assert vmm.errno("leave", FIRST) == 0
        # Of this reset the kernel's own gate was told to stand aside.
        assert vmm.errno("join", FIRST) == BUSY
    with one.window(reset, "flr"):
        assert vmm.errno("join", FIRST) == BUSY
    choose(vm, "wait")
    with one.window(reset, "flr"):
        job = vm.bg(join)
        assert sleeps(job)
    assert answer(job) == 0
    vmm.do("open", FIRST, ",", "map", hex(IOVA), "0x1000", hex(MINE))
    assert one.at() == MINE and one.ats_on
    vmm.do("close", FIRST, ",", "leave", FIRST)
    with one.window(reset, "flr"):
        job = vm.bg(join)
        assert sleeps(job)
        vmm.kill()
        vmm.wait_gone(5)
        assert gate_file(vm, FIRST, "state") == "closed"
    job.wait(check=False)


@pytest.mark.sample("trixie")
def test_vfio_unbound(vm, gate, vfio):
    """VFIO's driver is unbound while a process waits: it goes only when the process has let go of
    its container, so that one is refused.

    Deliberate break: rg_registry_leaving() does nothing.
    """
    gate("policy=wait")
    one, vmm = vfio.function(FIRST), vfio.process()
    # Not asleep: whoever unbinds wakes it, and it cannot answer.
    vm.write(f"{pci.sysfs(FIRST)}/power/control", "on")
    with one.window(*RAW_BUS):
        job = vm.bg(vmm.command("join", FIRST))
        assert sleeps(job)
        vm.sh(f"echo 0000:{FIRST} > /sys/bus/pci/drivers/vfio-pci/unbind", timeout=20)
        assert answer(job) == BUSY
        assert gate_file(vm, FIRST, "state") == "closed"
    settled(vm, [one])
    anew(vm, [one])  # nobody has restored it


@pytest.mark.reload
@pytest.mark.sample("trixie")
def test_cannot(vm, gate, endpoint):
    """Where the calls cannot be redirected only policy is off: one line when that is found out, a
    clear refusal of busy and wait, and record goes on.

    Deliberate break: rg_attach_install() says that it went well.
    """
    function = "iommu_attach_group"
    one = endpoint()

    def is_off(line):
        said = [text for text in dict.fromkeys(dmesg_since(vm, line)) if "resetgate" in text]
        assert len([text for text in said if "attach off" in text and function in text
                    and "expected" in text]) == 1, said
        assert status(vm)["set attach"] == "off"
        for path in (f"{PARAMETERS}/policy", f"{pci.sysfs(FIRST)}/resetgate/policy"):
            marker, was = note(vm, "case: a policy that cannot be had"), vm.read(path)
            for policy in ("busy", "wait"):
                result = vm.sh(f"echo {policy} > {path}", check=False)
                assert result.rc and "not supported" in result.out, result
            lines = [text for text in dmesg_since(vm, marker) if "policy: expected" in text]
            assert len(lines) == 2 and vm.read(path) == was
        with one.window():
            assert one.errno("detach") == one.errno("attach", one.a) == 0
        vm.sh("rmmod resetgate")

    vm.sh(f"rgxbtf /sys/kernel/btf/vmlinux /run/btf func {function}", timeout=60)
    marker = note(vm, "case: another prototype")
    vm.sh(f"insmod /lab/resetgate.ko btf=/run/btf {PATIENT}; rm /run/btf", timeout=60)
    is_off(marker)
    rgx(vm, "ipmodify", function, "on")
    try:
        marker = note(vm, "case: held by another patcher")
        vm.sh(f"insmod /lab/resetgate.ko policy=wait {PATIENT}")
        assert vm.read(f"{PARAMETERS}/policy") == b"record\n"
        is_off(marker)
    finally:
        vm.sh("[ ! -d /sys/module/resetgate ] || rmmod resetgate")
        rgx(vm, "ipmodify", function, "off")
    gate("policy=busy")
    with one.window():
        one.rgx("detach")
        assert one.errno("attach", one.a) == BUSY
