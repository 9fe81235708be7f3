# SPDX-License-Identifier: GPL-2.0
"""A PF's reset takes its VFs with it, which cannot know."""

import pytest
from lab import pci

from scenario import dmesg_since, gate_file, note
from tree import IN, OUT, flr_above, settled

pytestmark = pytest.mark.machine("scenario")

PF, ONE, TWO = "0c:00.0", "0c:00.1", "0c:00.2"


@pytest.fixture
def vfs(vm, endpoint):
    """Two VFs of a PF that its own driver has."""
    vm.sh("modprobe virtio_pci; modprobe virtio_net; i=0; "
          f"while [ ! -e {pci.sysfs(PF)}/driver ] && [ $i -lt 250 ]; do i=$((i+1)); sleep .1; done; "
          f"echo 0 > {pci.sysfs(PF)}/sriov_drivers_autoprobe; echo 2 > {pci.sysfs(PF)}/sriov_numvfs")
    ends = [endpoint(ONE), endpoint(TWO)]
    yield ends
    if vm.alive:
        for one in ends:
            one.close()
        vm.sh(f"echo 0 > {pci.sysfs(PF)}/sriov_numvfs; rmmod virtio_net", check=False)


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_stock_pf_reset(vm, vfs):
    """Without the module: VFs get invalidations in the reset, and nobody turns the ATS on again
    that hardware has lost, although their IOMMU driver believes it is on (QEMU keeps it: the
    writes are what counts)."""
    stories = flr_above(vm, PF, vfs, lambda: None)
    assert len(stories[ONE].all.between(IN, OUT).dev_tlb(ONE)) > 20
    assert stories[ONE].all.ats_writes(ONE, vfs[0].config.ats) == []


def test_pf_reset(vm, gate, vfs):
    """I1 to I4: VFs are closed before their PF's FLR, open after its restore, with their ATS on
    again and attached to what they asked for in the window.

    Deliberate breaks: rg_reset_path_enter() does not enter the VFs; opens them when the
    method returns.
    """
    gate()
    one, two = vfs
    one.rgx("detach")
    one.rgx("attach", one.b)
    wanted = one.root
    one.rgx("detach")
    one.rgx("attach", one.a)

    def body():
        for this in vfs:
            assert not this.context.present, this.bdf
            assert gate_file(vm, this.bdf, "reason") == "pf_reset"
        assert one.errno("detach") == 0 and one.errno("attach", one.b) == 0
        assert not one.context.present

    stories = flr_above(vm, PF, vfs, body)
    settled(vm, vfs)
    for this in vfs:
        assert stories[this.bdf].all.between(IN, OUT).dev_tlb(this.bdf) == []
        assert this.context.present and this.ats_on, this.bdf
        assert gate_file(vm, this.bdf, "depth") == "0"
        story = stories[this.bdf].all
        restored = [event for event, on in story.master_writes(PF) if on]
        (off, _), *_, (on, _) = story.ats_writes(this.bdf, this.config.ats)
        assert [value for _, value in story.ats_writes(this.bdf, this.config.ats)] == [False, True]
        assert off.index < story.mark(IN).index < restored[-1].index < on.index
    assert one.root[0] == wanted[0]


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_late_pf(vm, gate, vfs):
    """I6: where the PF's group is busy when its reset ends, the PF opens late, and its VFs, whose
    PASID control is its own, not before it.

    Deliberate break: rg_gate_settle() leaves the VFs while the PF waits.
    """
    gate()
    stories = flr_above(vm, PF, vfs, lambda: vm.sh(f"rgx holdmutex {PF} 2000"))
    vm.sh("rgx idle", timeout=60)
    settled(vm, vfs)
    story = stories[ONE].all
    on = {bdf: [event for event, on in story.ats_writes(bdf, pci.config(vm, bdf).ats) if on]
          for bdf in (PF, ONE, TWO)}
    assert all(len(events) == 1 for events in on.values()), on
    assert on[PF][0].index < min(on[ONE][0].index, on[TWO][0].index)
    assert on[PF][0].at - story.mark(OUT).at > 1, "it was not late: nothing was tested"


@pytest.mark.once
@pytest.mark.kernels("trixie", "trixie-backports")
def test_pf_later_than_park_timeout(vm, gate, vfs):
    """I9: VFs that wait for their PF, whose reset is over and whose group stays busy, are not
    parked for a reset that goes on, however long that takes.

    Deliberate break: rg_gate_park_work() does not ask for the PF.
    """
    gate("park_timeout_s=2")
    marker = note(vm, "case: a PF later than park_timeout_s")
    stories = flr_above(vm, PF, vfs, lambda: vm.sh(f"rgx holdmutex {PF} 5000"))
    vm.sh("rgx idle", timeout=60)
    settled(vm, vfs)
    story = stories[ONE].all
    on = [event for event, on in story.ats_writes(ONE, vfs[0].config.ats) if on]
    assert on[0].at - story.mark(OUT).at > 3, "it was not late: nothing was tested"
    assert not [line for line in dmesg_since(vm, marker) if "parked" in line]
    assert all(this.context.present and this.ats_on for this in vfs)
