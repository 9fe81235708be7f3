# SPDX-License-Identifier: GPL-2.0
"""What is SMMUv3's own: stream table entries to the bit, context descriptors behind them, several
stream IDs of a function, lists of commands that are emptied, and those that are late.
"""

import time

import pytest
from lab import memory, pci, smmuv3, smmuv3_queue, trace

from scenario import (EDU, FIRST, IOVA, PATIENT, SECOND, dmesg_since, errno, fields, gate_file,
                      note, rgx, status, told, uptime, window)

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.modes("smmu", "smmu-s2")]
MANY = 20
PCI_FUNCTION, ALIAS = "07:01.0", "07:00.0"
LONG_MS = 14000
LATE_MS = 800
# Of a made-up capability: set, removed in the window. The first is the function's stream ID, too: whose
# entry is written is told by nothing but its writer.
PASID_BITS, COMES, GOES = 10, 0x100, 5
HELD = 0x110  # a mark: a call is on its way


def entry(vm, bdf):
    return memory.context_entry(vm, bdf)


def state(one):
    """All that says where a function's DMA goes: its entry, and the tables behind it."""
    return one.context.words, one.root


@pytest.mark.few
def test_entry(vm, gate, endpoint):
    """The stream table entry says abort for as long as the window is, whatever the driver is asked
    for meanwhile, and to the bit what the same calls make it without a reset.

    Deliberate breaks: rg_smmu_divert_write() lets all pass; rg_smmu_unblock() writes nothing;
    rg_smmu_record() keeps what it had.
    """
    gate()
    one = endpoint()
    wanted = {"same": state(one)}
    one.rgx("detach")
    wanted["detached"] = state(one)
    one.rgx("attach", one.b)
    wanted["other"] = state(one)
    one.rgx("detach")
    one.rgx("attach", one.a)
    assert len(set(wanted.values())) == 3 and wanted["detached"][1] is None
    assert one.context.device_tlb
    calls = {"same": (), "detached": ("detach",), "other": ("detach", f"attach {one.b}")}
    for name, commands in calls.items():
        with one.window():
            assert one.context.blocked, name
            for command in commands:
                what, *words = command.split()
                one.rgx(what, *words)
                assert one.context.blocked, f"{name}: {command}"
        assert state(one) == wanted[name], name
        if name == "other":
            one.rgx("detach")
        if commands:
            one.rgx("attach", one.a)


def test_told_of_each_step(vm, gate, endpoint):
    """The SMMU is told to forget the entry when it is blocked and when it opens: without that it
    may go on with what it remembers. ATS is off in between, and comes after the TLB was flushed of
    all that a translation request could be answered from.

    Deliberate breaks: rg_smmu_write() copies the target over the live entry itself; rg_smmu_flush()
    does nothing, or takes another VMID.
    """
    gate()
    one = endpoint()
    with told(vm, one) as story, one.storm(), one.window():
        one.rounds(MANY)
    reset = story[0]
    # The storm's own are of an ASID's pages, and of a VMID's.
    granularity, did = (1, None) if vm.mode == "smmu" else (2, one.context.vmid)
    flushes = [event.index for event in reset.all.of(trace.IotlbInv)
               if (event.granularity, event.did) == (granularity, did)]
    assert [index for index in flushes if reset.restored.index < index < reset.ats_on.index]
    off = [event for event, on in reset.all.ats_writes(FIRST, one.config.ats) if not on]
    blocks = [event.index for event in reset.blocks()]
    assert off and blocks and blocks[0] < off[0].index < reset.flr.index
    assert reset.flr.index < blocks[-1] < reset.ats_on.index
    assert not [index for index in blocks if off[0].index < index < reset.flr.index]


@pytest.mark.boot(cmdline="iommu.passthrough=1")
@pytest.mark.sample("trixie", "trixie-backports")
def test_pass_through(vm, gate):
    """A function in the identity domain: refused in the window, let through after it.

    Deliberate break: rg_smmu_unblock() writes nothing.
    """
    gate("scope=all")
    rgx(vm, "bind", FIRST)
    before = entry(vm, FIRST)
    assert before.present and before.bypass and memory.page(vm, FIRST, 0x12345000) == 0x12345000
    with window(vm, FIRST):
        assert entry(vm, FIRST).blocked and memory.page(vm, FIRST, 0x12345000) is None
    assert entry(vm, FIRST).words == before.words
    rgx(vm, "rebind", FIRST)


@pytest.mark.sample("trixie", "trixie-backports")
def test_identity_in_window(vm, gate):
    """From translation to identity in the window, and back in the next: what was asked for last is
    in the entry when it opens, and nothing of it before.

    Deliberate break: rg_smmu_record() keeps what it had.
    """
    gate("scope=all")
    kind = f"{pci.sysfs(FIRST)}/iommu_group/type"
    vm.sh(f"rgx unbind {FIRST}; echo DMA > {kind}")
    translated = entry(vm, FIRST)
    assert translated.present and not translated.bypass
    for word, bypass in (("identity", True), ("DMA", False)):
        with window(vm, FIRST):
            vm.sh(f"echo {word} > {kind}")
            assert entry(vm, FIRST).blocked
        found = entry(vm, FIRST)
        assert found.present and found.bypass == bypass, word
        assert memory.page(vm, FIRST, 0x12345000) == (0x12345000 if bypass else None)
    rgx(vm, "rebind", FIRST)


def test_blocked_domain(vm, gate, endpoint):
    """Detached in the window: what DMA meets after it is the driver's blocked domain, and what is
    attached then is what it reaches.

    Deliberate break: rg_smmu_record() keeps what it had.
    """
    gate("scope=all")
    one = endpoint(EDU)
    with one.window(kind="bus"):
        one.rgx("detach")
        one.rgx("busmaster", "on")
        assert not one.dma_lands(one.a)
    one.rgx("busmaster", "on")
    with told(vm, one) as story:
        assert not one.dma_lands(one.a) and not one.dma_lands(one.b)
    assert {event.bdf for event in story[0].all.not_present()} == {EDU}
    one.rgx("attach", one.b)
    assert one.dma_lands(one.b)


@pytest.mark.modes("smmu")
def test_descriptor(vm, gate, endpoint):
    """Context descriptors change in memory at once, behind an entry that says abort; when it opens
    it leads to what they say then. That they pass the table valve shows where a PASID is equal to a
    stream ID that is blocked: test_pasids.

    Deliberate break: rg_smmu_block() copies nothing to the record.
    """
    gate()
    one = endpoint()
    behind = one.context
    root_a, root_b = one.root, one.root_of(one.b)
    assert smmuv3.descriptor_at(vm, behind).pointer == root_a[0] != root_b
    with one.window():
        one.rgx("detach")
        one.rgx("attach", one.b)
        assert one.context.blocked
        assert smmuv3.descriptor_at(vm, behind).pointer == root_b
    assert one.context.words == behind.words and one.root[0] == root_b
    page = memory.page(vm, FIRST, IOVA)
    assert page and memory.quads(vm, page, 1)[0] == one.data(one.b)


@pytest.fixture
def with_pasids(vm, endpoint):
    """The first endpoint with PASIDs, and a domain for them."""
    def find_again(bits, caps):
        vm.sh(f"rgx caps {FIRST} {caps} , smmupasids {bits}; "
              f"echo 1 > {pci.sysfs(FIRST)}/remove; echo 1 > /sys/bus/pci/rescan", timeout=60)

    find_again(PASID_BITS, "on")
    one = endpoint()
    vm.sh(f"rgx domain new p {FIRST} , map p {IOVA:#x} 0x1000")
    yield one
    if vm.alive:
        vm.sh(f"rgx -k unhold {FIRST} , storm stop p , pasid {FIRST} clear , domain free p",
              check=False, timeout=60)
        one.close()
        find_again(0, "off")


@pytest.mark.modes("smmu")
def test_pasids(vm, gate, with_pasids):
    """A PASID is set and one removed in the window: their descriptors change in memory, the entry
    does not, and no ATC invalidation with a PASID is sent.

    Deliberate break: rg_smmu_withholds() lets those with a PASID (SSV) pass.
    """
    gate()
    one = with_pasids
    assert errno(vm, "pasid", FIRST, "set", GOES, "p") == 0
    root = memory.pasid_entry(vm, FIRST, GOES).pointer
    behind = one.context
    assert root and behind.pasid_bits == PASID_BITS
    assert not memory.pasid_entry(vm, FIRST, COMES).present
    with told(vm, one) as story, one.storm("p"):
        one.rounds(MANY, "p")
        with one.window():
            vm.mark(HELD)
            one.rounds(MANY, "p")
            assert errno(vm, "pasid", FIRST, "set", COMES, "p") == 0
            assert errno(vm, "pasid", FIRST, "remove", GOES) == 0
            assert one.context.blocked
            assert smmuv3.descriptor_at(vm, behind, COMES).pointer == root
            assert not smmuv3.descriptor_at(vm, behind, GOES).present
            one.rounds(MANY, "p")
        one.rounds(MANY, "p")
    events = story[0].all
    assert [event for event in events.before(events.mark(HELD)).dev_tlb(FIRST)
            if event.pasid == GOES], "no PASID's invalidation before it: nothing was tested"
    assert story[0].in_window().dev_tlb(FIRST) == []
    assert [event for event in events.after(story[0].ats_on).dev_tlb(FIRST)
            if event.pasid == COMES]
    assert one.context.words == behind.words
    assert memory.pasid_entry(vm, FIRST, COMES).pointer == root


def test_stream_ids(vm, gate):
    """A conventional function has its bridge's stream ID besides its own: both are blocked, and
    both are what they were. Another function behind that bridge is none of the driver's: it gives
    a stream ID to one function.

    Deliberate break: rg_smmu_ids() takes the first only.
    """
    gate("scope=all")
    rgx(vm, "bind", PCI_FUNCTION)
    before = {bdf: entry(vm, bdf) for bdf in (PCI_FUNCTION, ALIAS)}
    assert all(one.present for one in before.values())
    with window(vm, PCI_FUNCTION, "pm", "__locked"):
        assert all(entry(vm, bdf).blocked for bdf in before)
    assert {bdf: entry(vm, bdf) for bdf in before} == before
    rgx(vm, "unbind", PCI_FUNCTION)


def test_emptied(vm, gate, endpoint):
    """A list of commands of which nothing is left but its CMD_SYNC completes: a storm goes on in
    the window, each of its unmaps returns.

    Deliberate break: rg_smmu_filter() turns the CMD_SYNC off as well.
    """
    gate()
    one = endpoint()
    marker = note(vm, "case: emptied lists")
    with told(vm, one) as story, one.storm() as counts, one.window():
        vm.mark(HELD)
        one.rounds(2 * MANY)
    inside = story[0].all.after(story[0].all.mark(HELD))
    alone = [event for event in inside.of(smmuv3_queue.Sync) if event.alone]
    assert len(alone) >= MANY and counts["loops"] >= 2 * MANY
    assert story[0].in_window().dev_tlb(FIRST) == []
    assert not [line for line in dmesg_since(vm, marker) if "timeout" in line]


@pytest.mark.modes("smmu")
def test_emptied_without_a_sync(vm, gate, endpoint):
    """A part of a list that is longer than the driver's batches has no CMD_SYNC. Where nothing else is
    left of it either, one command stays, which signals nobody: the driver's queue takes two that
    begin at the same place for one, and its producer goes back. Beside a storm, it goes on.

    Deliberate break: rg_smmu_filter() hands on nothing.
    """
    gate()
    one = endpoint()
    with told(vm, one) as story, one.window():
        vm.mark(HELD)
        rgx(vm, "emptied", FIRST, MANY)
        vm.mark(HELD + 1)
    left = story[0].all.between(HELD, HELD + 1).of(smmuv3_queue.Sync)
    assert [event.signal for event in left] == [0] * MANY
    with told(vm, one) as story, one.storm() as counts, one.window():
        jobs = [vm.bg(f"rgx emptied {FIRST} 3000") for _ in range(2)]
        one.rounds(MANY)
        for job in jobs:
            job.wait(timeout=50)
        one.rounds(MANY)
    assert counts["loops"] >= 2 * MANY
    assert story[0].in_window().dev_tlb(FIRST) == []


@pytest.mark.modes("smmu")
def test_shared_domain(vm, gate, endpoint):
    """Two functions in one domain: what the driver has for both is in one list of commands. What is
    for the one in its reset is taken out of it, wherever it stands; the other's goes on.

    Deliberate break: rg_smmu_filter() does not move up what is behind.
    """
    gate()
    one, two = endpoint(FIRST), endpoint(SECOND)
    two.rgx("detach")
    two.rgx("attach", one.a)
    for this, other in ((one, two), (two, one)):
        with told(vm, this) as story, one.storm(), this.window():
            vm.mark(HELD)
            one.rounds(2 * MANY)
        assert story[0].in_window().dev_tlb(this.bdf) == []
        inside = story[0].all.after(story[0].all.mark(HELD)).before(story[0].ats_on)
        assert len(inside.dev_tlb(other.bdf)) > MANY, other.bdf
    two.rgx("detach")


@pytest.fixture
def late(vm):
    """A storm's call on the way to the queue can be held, on a CPU of its own; what asks meanwhile
    stays on the other, and so does the interrupt of the port.
    """
    def keep_on(cpus):
        return (f"taskset -p {cpus} $PPID > /dev/null; for irq in /proc/irq/*/smp_affinity; do "
                f"echo {cpus} 2> /dev/null > $irq; done; true")

    vm.sh(keep_on(1))
    yield
    if vm.alive:
        vm.sh("rgx latequeue off; " + keep_on(3))


@pytest.mark.reload
@pytest.mark.kernels("trixie-rt")
@pytest.mark.sample("trixie-rt")
def test_late_call(vm, late, gate, endpoint):
    """I1: a task has passed the valve's handler and is preempted before the driver's function takes
    its place in the queue; meanwhile the gate closes. ATS stays on until that task is through: the
    fence waits for it.

    The caller can be preempted in 6.12 with PREEMPT_RT alone: there a grace period of RCU's is over
    at once, and only one of tasks lasts. 6.12 without it preempts no task, and from 7.2 on interrupts
    are off on that way; either grace period waits then, and a CPU that is held so keeps the other
    from what this case needs of it.

    Deliberate break: rg_smmu_preempted() says no.
    """
    gate(PATIENT)
    one = endpoint()
    with told(vm, one) as story, one.storm():
        vm.sh("taskset -p 2 $(pgrep rgl_storm) > /dev/null")
        one.rgx("latequeue", LATE_MS)
        with one.window(f"taskset 1 rgx reset {FIRST} function"):
            time.sleep(LATE_MS / 1000)
    counts = fields(rgx(vm, "latequeue", "off"))
    assert counts["held"] == counts["preemptible"] == 1
    events = story[0].all
    off = [event for event, on in events.ats_writes(FIRST, one.config.ats) if not on][0]
    block = story[0].blocks()[0]
    sent = events.after(block).before(story[0].restored).dev_tlb(FIRST)
    assert not [event for event in sent if event.index > off.index], \
        f"sent while ATS was off; {counts}"
    assert [event for event in sent if event.index < off.index], \
        "it was not held while the gate closed: nothing was tested"


@pytest.mark.reload
@pytest.mark.modes("smmu")
@pytest.mark.kernels("trixie-rt")
@pytest.mark.sample("trixie-rt")
def test_opening_waits_for_no_task(vm, late, gate, endpoint):
    """A task that is late into the queue outlasts the window: the gate closed late for it, and opens
    with its ATS all the same. Before ATS only the queue has to be alive; what was submitted
    preemptibly is no matter any more.

    Deliberate break: rg_opening_fence() waits for state->fence.
    """
    gate("close_timeout_ms=1000")
    one = endpoint()
    with one.storm():
        vm.sh("taskset -p 2 $(pgrep rgl_storm) > /dev/null")
        one.rgx("latequeue", LONG_MS)
        until = uptime(vm) + LONG_MS / 1000
        with one.window(f"taskset 1 rgx reset {FIRST} function"):
            dropped = int(gate_file(vm, FIRST, "dropped"))
            vm.sh(f"taskset 1 rgx emptied {FIRST} 1")
            assert int(gate_file(vm, FIRST, "dropped")) > dropped, "there is nothing to wait for"
        assert gate_file(vm, FIRST, "state") == "open" and one.ats_on
        assert uptime(vm) < until, "the task was through: nothing was shown"
        assert int(status(vm)["closed_late"]) == 1
    counts = fields(rgx(vm, "latequeue", "off"))
    assert counts["held"] == counts["preemptible"] == 1


@pytest.mark.modes("smmu")
def test_calls_meet_no_landing_pad(stock_vm):
    """How the module calls what is not exported holds where a branch has to meet a landing pad. The
    kernel has none (it is built without BTI), so its stub runs in user space, on a guarded page; an
    ordinary branch there shows that the page is.

    Deliberate break: the stub of src/arch/arm64_call.h ends with BR.
    """
    assert stock_vm.sh("rgxbti").out.split() == ["stub=42", "signal=0", "branch=0", "signal=4"]
