# SPDX-License-Identifier: GPL-2.0
"""Functions and drivers that come and go while a gate is closed."""

import contextlib

import pytest
from lab import memory, pci

from scenario import (FIRST, IOVA, OLD, SECOND, asked, dmesg_since, gate_file, note, rgx,
                      told)
from tree import IN, OUT, held_bus

pytestmark = pytest.mark.machine("scenario")

# Behind a PCIe-to-PCI bridge: one group, one requester ID for all DMA of both.
ONE, TWO, ALIAS, BRIDGE = "07:01.0", "07:02.0", "07:00.0", "06:00.0"
PF, VFS = "0c:00.0", ("0c:00.1", "0c:00.2")


@contextlib.contextmanager
def raw(vm, bdf, how="flr", kind="flr"):
    """A reset by a caller that holds no lock and restores nothing, as long as the body."""
    rgx(vm, "hold", bdf, kind)
    job = vm.bg(f"rgx reset {bdf} {how}")
    try:
        rgx(vm, "waitreset", bdf)
        yield job
    finally:
        rgx(vm, "unhold", bdf)
        result = job.wait(check=False)
    assert result.rc == 0, result.out


def there(vm, bdf):
    return vm.sh(f"test -e {pci.sysfs(bdf)}", check=False).rc == 0


def remove(vm, bdf):
    vm.sh(f"echo 1 > {pci.sysfs(bdf)}/remove")
    assert not there(vm, bdf)


def is_open(vm, bdf):
    return (gate_file(vm, bdf, "state"), gate_file(vm, bdf, "depth")) == ("open", "0")


def settled(vm, *bdfs):
    """Wait until they are open again."""
    paths = " ".join(f"{pci.sysfs(bdf)}/resetgate/state" for bdf in bdfs)
    vm.sh(f"i=0; while grep -qvx open {paths}; do i=$((i+1)); [ $i -lt 250 ] || exit 1; "
          "sleep .1; done")


# -- a driver --------------------------------------------------------------------------


@pytest.mark.once
def test_driver_goes_and_comes_in_window(vm, gate, endpoint):
    """A driver that is unbound and bound in a window changes nothing of it; the one that came in
    it is told of its next reset like any other, after the gate has opened.

    Deliberate breaks: rg_err_handlers_notify() does not interpose at BIND_DRIVER and
    BOUND_DRIVER; rg_registry_rebound() opens a closed gate as it opens a parked one.
    """
    gate()
    one = endpoint()
    ours = one.rgx("errh")
    assert "rgl_err_handler" not in ours
    with told(vm, one) as story, one.storm(), raw(vm, FIRST):
        vm.mark(IN)
        for command in ("unbind", "bind"):
            rgx(vm, command, FIRST)
            assert not one.context.present and not one.ats_on, command
            assert gate_file(vm, FIRST, "state") == "closed", command
        assert "rgl_err_handler" not in one.rgx("errh"), "its own table is in force"
        one.rounds(50)
        vm.mark(OUT)
    assert story[0].all.between(IN, OUT).dev_tlb(FIRST) == []
    assert len(story[0].withheld()) > 20
    assert one.context.present and one.ats_on and is_open(vm, FIRST)
    one.rgx("busmaster", "on")
    rgx(vm, "events clear")
    one.rgx("reset", "function")
    done = [word for word in rgx(vm, "events").split() if ":done:" in word]
    assert len(done) == 1 and "ats=8000" in done[0], "closed when the driver was told"


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_driver_waits_for_the_end(vm, gate, endpoint):
    """Unbinding and binding by sysfs wait for a reset that holds the device's lock, and find
    it open.

    Deliberate break: rg_gate_restored() does not settle (it opens with the bracket only, after
    the driver was told).
    """
    def waits(command):
        with one.window():
            job = vm.bg(command)
            vm.sh("sleep .3")
            assert not job.done() and not one.context.present
        job.wait()
        assert one.context.present and one.ats_on and is_open(vm, FIRST)

    gate()
    one = endpoint()
    rgx(vm, "events clear")
    waits(f"rgx unbind {FIRST}")
    seen = [word.split(":") for word in rgx(vm, "events").split()]
    assert [words[1] for words in seen] == ["prepare", "done", "remove"]
    assert seen[1][3] == "ats=8000"
    waits(f"rgx bind {FIRST}")


# -- a function ------------------------------------------------------------------------


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
@pytest.mark.reload
def test_removed_between_close_and_open(vm, gate, endpoint):
    """I9, R5, R12, R15: a function is removed in the middle of a window, whose reset goes on
    without it: its entry stays blocked, nothing is sent, the module can be unloaded once the
    reset has returned, and the function comes back open.

    Deliberate breaks: rg_gate_bury() keeps the module reference; rg_registry_notify() does not
    see REMOVED_DEVICE.
    """
    gate()
    one = endpoint(SECOND)
    with told(vm, one) as story, raw(vm, SECOND):
        with one.storm():
            one.rounds(30)
        one.rgx("detach")
        one.rgx("release")
        marker = note(vm, "case: removed in its window")
        with asked(vm):
            remove(vm, SECOND)
        lines = [line for line in dmesg_since(vm, marker) if "removed in its window" in line]
        assert len(lines) == 1 and SECOND in lines[0]
        assert not one.context.present
        assert vm.sh("rmmod resetgate", check=False).rc, "a reset is in its wrapper"
    vm.sh("rmmod resetgate")
    assert story[0].all.after(story[0].flr).dev_tlb(SECOND) == []
    one.close()
    gate()
    vm.sh("echo 1 > /sys/bus/pci/rescan")
    assert is_open(vm, SECOND)
    again = endpoint(SECOND)
    with again.window():
        assert not again.context.present and not again.ats_on
    assert again.context.present and again.ats_on


@pytest.fixture
def group(vm):
    """group(BDF, BDF): in the exerciser's hands through the first; both are found anew at the
    end."""
    claimed = []

    def take(first, second):
        claimed.append(first)
        vm.sh("echo 0000:06:00.0 > /sys/bus/pci/devices/0000:06:00.0/driver/unbind", check=False)
        vm.sh(f"rgx bind {first} , bind {second} , claim {first} , domain new d {first} , "
              f"map d {IOVA:#x} 0x1000 {OLD} , attach {first} d")

    yield take
    if vm.alive:
        vm.sh("rgx -k " + " , ".join([f"unhold {ONE}", f"unhold {TWO}"] + [
            word for bdf in claimed for word in (f"detach {bdf}", f"release {bdf}")]
            + ["domain free d"]), check=False)
        for bdf in (ONE, TWO):
            vm.sh(f"echo 1 > {pci.sysfs(bdf)}/remove", check=False)
        vm.sh(f"echo 1 > {pci.sysfs(BRIDGE)}/rescan")


def entry(vm, bdf):
    return memory.context_entry(vm, bdf)


# In scalable mode the driver makes no entry for an alias.
@pytest.mark.sample("trixie-rt")
@pytest.mark.modes("legacy", "amd")
@pytest.mark.parametrize("kind", ("pm", "bus"))
def test_added_to_the_group_in_window(vm, gate, group, kind):
    """R9: a function that is found in the window of its sibling is alive: it has an entry of its
    own, the requester ID that both share opens for it, and it takes a driver, while its sibling
    stays blocked.

    Deliberate break: rg_registry_notify() does not see ADD_DEVICE (the alias stays blocked
    until a driver is bound).
    """
    gate("scope=all")
    group(ONE, TWO)
    before = entry(vm, ALIAS)
    assert before.present
    remove(vm, TWO)
    vm.sh(f"echo {kind} > {pci.sysfs(ONE)}/reset_method")
    with raw(vm, ONE, "__locked", kind):
        assert not entry(vm, ALIAS).present and not entry(vm, ONE).present
        vm.sh(f"echo 1 > {pci.sysfs(BRIDGE)}/rescan")
        assert there(vm, TWO) and is_open(vm, TWO)
        assert entry(vm, TWO).present and entry(vm, ALIAS).present
        assert entry(vm, ALIAS).pointer == before.pointer, "the group's domain"
        assert not entry(vm, ONE).present and gate_file(vm, ONE, "state") == "closed"
        rgx(vm, "bind", TWO)
        assert not entry(vm, ONE).present
    settled(vm, ONE)
    assert all(entry(vm, bdf).present for bdf in (ONE, TWO, ALIAS))
    assert is_open(vm, ONE) and is_open(vm, TWO)


# 6.1 forgets that the other one is attached, and its next attach corrupts a list.
@pytest.mark.sample("trixie-rt")
@pytest.mark.kernels("trixie", "trixie-rt", "trixie-backports")
@pytest.mark.modes("legacy", "amd")
def test_sibling_removed_in_window(vm, gate, group):
    """R12: one of two functions in reset is removed; the other one's group still takes an
    attach in the window, and its requester ID opens with it.

    Deliberate break: rg_rids_part() leaves the count of closed sharers as it is.
    """
    gate("scope=all")
    group(TWO, ONE)
    before = entry(vm, ALIAS)
    with held_bus(vm, TWO, lambda: vm.bg(f"rgx reset {BRIDGE} secondary")):
        assert not any(entry(vm, bdf).present for bdf in (ONE, TWO, ALIAS))
        remove(vm, ONE)
        assert not any(entry(vm, bdf).present for bdf in (ONE, TWO, ALIAS))
        rgx(vm, "detach", TWO)
        rgx(vm, "attach", TWO, "d")
        assert not entry(vm, ALIAS).present
    settled(vm, TWO)
    assert is_open(vm, TWO)
    assert entry(vm, TWO).present and entry(vm, ALIAS).present
    assert entry(vm, ALIAS).pointer == before.pointer
    assert not entry(vm, ONE).present


# -- VFs -------------------------------------------------------------------------------


@pytest.fixture
def vfs(vm):
    """Two VFs of a PF that a driver without any interest in them has."""
    path, probe = pci.sysfs(PF), "/sys/bus/pci/drivers_probe"
    vm.sh("modprobe pci_pf_stub; "
          f"rgx unbind {PF} && echo pci-pf-stub > {path}/driver_override && "
          f"echo 0000:{PF} > {probe} && [ -e {path}/driver ] && "
          f"echo 0 > {path}/sriov_drivers_autoprobe && echo 2 > {path}/sriov_numvfs")
    yield VFS
    if vm.alive:
        vm.sh(f"echo 0 > {path}/sriov_numvfs; echo 1 > {path}/sriov_drivers_autoprobe; "
              f"rgx rebind {PF}; rmmod pci_pf_stub", check=False)


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
@pytest.mark.reload
def test_vfs_removed_in_window(vm, gate, vfs, endpoint):
    """I9: a PF's driver takes its VFs away while the PF is in reset, which has closed them; the
    reset ends, the PF opens, the module can be unloaded, and VFs that come later are open.

    Deliberate breaks: rg_gate_bury() keeps the module reference (rmmod is busy);
    rg_scope_collect() gives states without a reference.
    """
    gate()
    ends = [endpoint(bdf) for bdf in vfs]
    with raw(vm, PF):
        for one in ends:
            assert gate_file(vm, one.bdf, "reason") == "pf_reset"
            assert not one.context.present
            one.rgx("detach")
            one.rgx("release")
        vm.sh(f"echo 0 > {pci.sysfs(PF)}/sriov_numvfs")
        assert not there(vm, VFS[0]) and not there(vm, VFS[1])
        assert gate_file(vm, PF, "state") == "closed"
        for one in ends:
            assert not one.context.present
    settled(vm, PF)
    assert entry(vm, PF).present
    for one in ends:
        one.close()
    # What the PF has lost by a reset that nobody restored, and then VFs anew.
    vm.sh(f"rgx busmaster {PF} on , reset {PF} function; "
          f"echo 2 > {pci.sysfs(PF)}/sriov_numvfs")
    assert all(is_open(vm, bdf) for bdf in VFS)
    again = endpoint(VFS[0])
    with raw(vm, PF, "function"):
        assert not again.context.present and not again.ats_on
    settled(vm, VFS[0])
    assert again.context.present and again.ats_on
    vm.sh("rmmod resetgate")


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_vfs_wait_for_the_end(vm, gate, vfs, endpoint):
    """The administrator takes the VFs away while the PF is in a reset that holds its lock: they
    go after its end, and no sooner.

    Deliberate break: a reset of a PF does not look for its VFs (they stay open).
    """
    gate()
    ends = [endpoint(bdf) for bdf in vfs]
    for one in ends:
        one.rgx("detach")
        one.rgx("release")
    with raw(vm, PF, "function"):
        job = vm.bg(f"echo 0 > {pci.sysfs(PF)}/sriov_numvfs")
        vm.sh("sleep .3")
        assert not job.done() and there(vm, VFS[0])
        assert gate_file(vm, VFS[0], "state") == "closed"
    job.wait()
    assert not there(vm, VFS[0]) and not there(vm, VFS[1])
    assert is_open(vm, PF)
