# SPDX-License-Identifier: GPL-2.0
"""The race itself: an ATS endpoint, its reset, a domain that is mapped and unmapped."""

import errno as codes

import pytest
from lab import machines, trace

from scenario import FIRST, SECOND, dmesg_since, gate_file, note, rgx, told

pytestmark = pytest.mark.machine("scenario")
MANY = 50


@pytest.mark.few
def test_stock_race(vm, kernel, endpoint):
    """Without the module: the race on 6.x, upstream's -EBUSY and its gaps on 7.x.

    This is the proof that the cases below can fail: it runs the same scenario.
    """
    one = endpoint()
    with told(vm, one) as story, one.storm(), one.window():
        ats_in_window, present = one.ats_on, one.context.present
        vm.mark(0x110)
        one.rounds(2 * MANY)
        vm.mark(0x111)
        one.errno("detach")
        attach = one.errno("attach", one.b)
    reset = story[0].all.after(story[0].flr)
    # 7.x leaves it detached, and its ATS off.
    on = [event for event, value in reset.ats_writes(FIRST, one.config.ats) if value]
    sent = len((reset.before(on[0]) if on else reset).dev_tlb(FIRST))
    if kernel.series < (7, 0):
        assert sent > MANY and ats_in_window and present and attach == 0
        return
    assert story[0].all.between(0x110, 0x111).dev_tlb(FIRST) == []
    # In scalable mode one or two after the end, before the restore writes ATS.
    assert sent < MANY / 5, f"{sent} ATC invalidations"
    assert attach == -codes.EBUSY
    # Blocking clears the PASID entry only: ATS stays on in scalable mode.
    assert ats_in_window == (vm.mode in ("sm-ss", "sm-fs"))


@pytest.mark.few
def test_window_is_silent(vm, gate, endpoint):
    """I1, I2, R5, R17: no device-TLB invalidation, ATS off, the entry not present, all the
    window long.

    Deliberate breaks: the valve's filter in src/iommu does not rewrite descriptors (then
    hundreds are sent); rg_closing_block() does not block (the entry stays present);
    rg_endpoint_ats_off() returns at once (ATS reads on).
    """
    gate()
    one = endpoint()
    with told(vm, one) as story, one.storm():
        with one.window():
            assert not one.ats_on
            assert one.context.blocked
            one.rounds(2 * MANY)
            assert not one.context.present and not one.ats_on
    reset = story[0]
    assert reset.in_window().dev_tlb(FIRST) == []
    assert len(reset.withheld()) > MANY, "the storm was not in the window: nothing was tested"
    assert one.ats_on and one.context.present
    # After the window invalidations go out again.
    with told(vm, one) as story, one.storm():
        one.rounds(2 * MANY)
    assert len(story[0].all.dev_tlb(FIRST)) > MANY


def test_order_of_closing(vm, gate, endpoint):
    """A page unmapped while the gate closes is not freed before the function is cut off.

    Until the entry is blocked invalidations still go out: the context-cache and IOTLB
    invalidations of the close come before the first one that is withheld, and ATS is off
    before the FLR starts.
    Deliberate break: in rg_closing_block() set `filtered` before be->block().
    """
    gate()
    one = endpoint()
    with told(vm, one) as story, one.storm():
        one.rgx("reset", "function")
    reset = story[0]
    withheld = reset.withheld()
    assert withheld, "nothing was withheld: the storm was not there"
    before = reset.all.before(withheld[0])
    block = [event for event in reset.blocks() if event.index < withheld[0].index]
    assert block, "an invalidation was withheld before the entry was blocked"
    # The others look at the entry for whatever they have in their TLBs.
    assert machines.vendor(vm.mode) != "vtd" or before.after(block[0]).of(trace.IotlbInv)
    assert len(before.before(block[0]).dev_tlb(FIRST)) > 0, "none went out before the block"
    off = [event for event, on in reset.all.ats_writes(FIRST, one.config.ats) if not on]
    assert off and block[0].index < off[0].index < reset.flr.index


@pytest.mark.few
def test_order_of_opening(vm, gate, endpoint):
    """I6: config space is restored, then the table and its caches, ATS last of all, and all
    of it before the driver's own reset_done.

    Deliberate break: open at the method's return although a bracket is open.
    """
    gate()
    one = endpoint()
    vm.sh("rgx events clear")
    with told(vm, one) as story, one.storm():
        one.rgx("reset", "function")
    reset = story[0]
    after = reset.all.after(reset.flr)
    master = [event for event, on in after.master_writes(FIRST) if on]
    assert master, "the command register was not restored"
    # Invalidations pass again once the table is open.
    passed = after.dev_tlb(FIRST)
    assert passed and master[-1].index < passed[0].index
    assert master[-1].index < reset.ats_on.index
    assert reset.all.after(reset.ats_on).cfg(FIRST) == []
    done = [word for word in vm.sh("rgx events").out.split() if ":done:" in word]
    assert len(done) == 1 and "ats=8000" in done[0] and "cmd=0" in done[0]


@pytest.mark.sample("bookworm", "trixie-backports")
@pytest.mark.machine("caching")
@pytest.mark.modes("legacy")
def test_table_before_ats(vm, gate, endpoint):
    """I6: the table entry is in force before ATS is on. With caching mode opening flushes the
    context cache, so the trace shows when.

    Deliberate break: in rg_opening_unblock() swap rg_endpoint_open() and rg_rids_unblock().
    """
    gate()
    one = endpoint()
    with told(vm, one) as story:
        one.rgx("reset", "function")
    reset = story[0]
    master = [event for event, on in reset.all.after(reset.flr).master_writes(FIRST) if on]
    opened = [event for event in reset.blocks() if event.index > reset.flr.index]
    assert master and opened
    assert master[-1].index < opened[0].index <= opened[-1].index < reset.ats_on.index


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_two_functions_at_once(vm, gate, endpoint):
    """Each function has a window of its own; one's opening does not open the other.

    Deliberate break: rg_rids_settle() opens what was blocked first together with another.
    """
    gate()
    one, two = endpoint(FIRST), endpoint(SECOND)
    with told(vm, one) as story, one.storm(), two.storm():
        with one.window():
            with two.window():
                assert not one.context.present and not two.context.present
            assert two.context.present and two.ats_on
            assert not one.context.present and not one.ats_on
    for this in (one, two):
        # Whose an invalidation is, QEMU's AMD-Vi does not say.
        assert machines.is_amd(vm.mode) or \
            story[0].of(vm, this).in_window().dev_tlb(this.bdf) == []
        assert this.context.present and this.ats_on


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
def test_neighbour_is_untouched(vm, gate, endpoint):
    """A reset of one function leaves the invalidations of its neighbour alone.

    Deliberate break: the valve's filter does not ask whether it is in a window.
    """
    gate()
    one, two = endpoint(FIRST), endpoint(SECOND)
    with two.storm(), one.window(), told(vm, one) as story:
        two.rounds(2 * MANY)
    assert len(story[0].all.dev_tlb(SECOND)) > MANY
    assert two.ats_on and two.context.present


@pytest.fixture
def slow_queue(vm):
    """Somebody on the way to the IOMMU's queue can be held, behind the valve. Who asks what happens
    meanwhile stays on another CPU, and so does the interrupt of the port.
    """
    def keep_on(cpus):
        return (f"taskset -p {cpus} $PPID > /dev/null; for irq in /proc/irq/*/smp_affinity; do "
                f"echo {cpus} 2> /dev/null > $irq; done; ")

    vm.sh(keep_on(1) + "rgx slowqi on")
    yield
    if vm.alive:
        vm.sh(keep_on(3) + "rgx slowqi off")


@pytest.mark.once
@pytest.mark.reload
@pytest.mark.vtd  # AMD-Vi's driver queues one command after the other, as 6.1 does with VT-d
@pytest.mark.kernels("trixie", "trixie-rt", "trixie-backports")
@pytest.mark.parametrize("stall", (900, 5000))
def test_unmap_across_the_end(vm, slow_queue, gate, endpoint, stall):
    """I4: an unmap whose ATC invalidation was dropped has not reached the IOMMU's queue when the
    window ends: ATS is off until the IOTLB has been told, or the ATC could take from there what
    nobody tells it of. If that takes longer than a fence waits, the function opens without its
    ATS, with one line, and gets it later.

    Deliberate breaks: rg_opening_fence() lets everybody pass; rg_opening_flush() does nothing.
    """
    limit = 3000
    gate(f"close_timeout_ms={limit}")
    one = endpoint()
    rgx(vm, "map", one.a, "0x2000000", "0x1000", "0x3333")
    marker = note(vm, f"case: {stall} ms on the way to the queue")
    with told(vm, one) as story:
        with one.window(f"taskset 1 rgx reset {FIRST} function"):
            dropped = gate_file(vm, FIRST, "dropped")
            rgx(vm, "slowqi", stall)
            job = vm.bg(f"taskset 2 rgx unmap {one.a} 0x2000000 0x1000")
            while gate_file(vm, FIRST, "dropped") == dropped:
                assert not job.done()
            vm.mark(0x110)
        job.wait()
        vm.sh(f"i=0; until rgx ats {FIRST} | grep -q ctrl=0x8; do i=$((i+1)); "
              "[ $i -lt 250 ] || exit 1; sleep .1; done")
    events = story[0].all
    flushed = events.after(events.mark(0x110)).of(trace.IotlbInv)
    assert flushed, "it was on its way no more"
    before = [event for event in flushed if event.index < story[0].ats_on.index]
    assert before, "ATS was on first"
    assert before[-1].granularity == 1, "the IOTLB was not flushed for ATS"
    lines = [line for line in dmesg_since(vm, marker) if "gets its ATS late" in line]
    assert len(lines) == (stall > limit) and all(FIRST in line for line in lines)
    assert one.context.present and gate_file(vm, FIRST, "state") == "open"


@pytest.mark.sample("trixie-rt")
@pytest.mark.once
@pytest.mark.reload  # or the valve may still be armed
def test_idle_is_untouched(vm, gate, endpoint):
    """I7: with no reset in progress nothing is hooked on the map, unmap and invalidation path.

    Deliberate break: arm the invalidation valve at load.
    """
    gate()
    hooked = vm.sh("cut -d' ' -f1 /sys/kernel/tracing/enabled_functions").out.split()
    assert "pcie_flr" in hooked, "the module has hooked nothing"
    path = {"iommu_map", "iommu_unmap", "qi_submit_sync", "intel_iommu_map_pages",
            "intel_iommu_unmap_pages", "intel_iommu_tlb_sync", "cache_tag_flush_range",
            "__iommu_queue_command_sync", "amd_iommu_map_pages", "amd_iommu_unmap_pages",
            "amd_iommu_iotlb_sync", "amd_iommu_domain_flush_pages", "arm_smmu_map_pages",
            "arm_smmu_unmap_pages", "arm_smmu_iotlb_sync", "arm_smmu_cmdq_issue_cmdlist",
            "__arm_smmu_cmdq_issue_cmdlist"}
    assert not path & set(hooked)
