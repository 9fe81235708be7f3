# SPDX-License-Identifier: GPL-2.0
"""PASIDs of a function in reset, and the order of PASID, PRI and ATS control.

The exerciser makes up the two capabilities that no QEMU device has; the rest is the real
driver's. Writes of the made-up registers reach QEMU's trace as all others do.
"""

import errno as codes
import time

import pytest
from lab import memory, pci, trace

from scenario import FIRST, IOVA, PARAMETERS, Story, errno, gate_file, rgx, told
from tree import IN, OUT, Containment, Recovery, settled

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.modes("sm-fs")]

PORT = "00:1c.0"
# Set to P all the time; set in the window; from P to Q in it; with page requests, removed in it.
STAYS, COMES, CHANGES, GOES = 1, 0x12345, 2, 3
P, Q, R = "pasidp", "pasidq", "pasidr"
WAYS = {"function": (f"rgx reset {FIRST} function", "flr"),
        "hot": (f"rgx reset {FIRST} hot", "bus")}
PASID_CTRL, PRI_CTRL, PRI_ALLOC = 6, 4, 12
ALL_ON = (7, 1, 16, True)  # PASID with both features, PRI, its allocation, ATS
PRE = 1 << 4  # of a context entry: page requests are accepted


def find_again(vm):
    vm.sh(f"echo 1 > {pci.sysfs(FIRST)}/remove; echo 1 > /sys/bus/pci/rescan", timeout=60)


@pytest.fixture
def one(vm, endpoint):
    """The first endpoint with PASID and PRI, and three domains for its PASIDs."""
    rgx(vm, "caps", FIRST, "on")
    find_again(vm)
    this = endpoint()
    for name in (P, Q, R):
        vm.sh(f"rgx domain new {name} {FIRST} , map {name} {IOVA:#x} 0x1000")
    yield this
    if not vm.alive:
        return
    vm.sh(f"rgx -k unhold {FIRST} , mute {FIRST} off , storm stop {P} , pasid {FIRST} clear , "
          f"domain free {P} , domain free {Q} , domain free {R}", check=False, timeout=60)
    this.close()
    rgx(vm, "caps", FIRST, "off")
    find_again(vm)


def pasid(vm, *words):
    return errno(vm, "pasid", FIRST, *words)


def controls(vm):
    """(PASID control, PRI control, PRI allocation, ATS on) as configuration space has them."""
    config = pci.config(vm, FIRST)
    at_pasid, at_pri = config.extended(pci.EXT_PASID), config.extended(pci.EXT_PRI)
    return (config.word(at_pasid + PASID_CTRL), config.word(at_pri + PRI_CTRL),
            config.dword(at_pri + PRI_ALLOC), config.ats_on)


def table(vm):
    """PASID -> root of the page table that requests with it walk, None if there is none."""
    entries = {number: memory.pasid_entry(vm, FIRST, number)
               for number in (STAYS, COMES, CHANGES, GOES)}
    return {number: entry.pointer if entry and entry.present else None
            for number, entry in entries.items()}


def change(vm, kernel):
    """Set, replace, remove; what the calls gave."""
    if kernel.series >= (6, 16):
        replaced = [pasid(vm, "replace", CHANGES, Q)]
    else:  # no such call before
        replaced = [pasid(vm, "remove", CHANGES), pasid(vm, "set", CHANGES, Q)]
    return [pasid(vm, "set", COMES, Q), *replaced, pasid(vm, "remove", GOES)]


class Changed:
    """What a window was like in which PASIDs changed, with a storm in the domain of one."""

    def __init__(self, vm, kernel, one, way):
        command, kind = WAYS[way]
        assert pasid(vm, "set", COMES, Q) == 0
        root_q = table(vm)[COMES]
        steps = [pasid(vm, "remove", COMES), pasid(vm, "set", STAYS, P),
                 pasid(vm, "set", CHANGES, P), pasid(vm, "set", GOES, R, "faults")]
        assert steps == [0] * 4, steps
        before = table(vm)
        assert None not in (root_q, before[STAYS], before[GOES]) and before[COMES] is None
        self.wanted = {STAYS: before[STAYS], COMES: root_q, CHANGES: root_q, GOES: None}
        with told(vm, one) as stories, one.storm(P):
            with one.window(command, kind):
                vm.mark(IN)
                self.context, self.ats_on = one.context, one.ats_on
                one.rounds(50, P)
                self.answers = change(vm, kernel)
                self.inside = table(vm)
                one.rounds(50, P)
                vm.mark(OUT)
        self.story = stories[0]
        self.window = Story(vm, one, self.story.all.between(IN, OUT))
        self.sent = self.window.all.dev_tlb(FIRST)

    @property
    def drain(self):
        """Events from the drain of page requests on: it begins with a fence without a status."""
        fences = [event for event in self.window.all.of(trace.Wait) if event.addr == 0]
        assert fences, "page requests were not drained"
        return self.window.all.after(fences[0])

    def wiped(self):
        """Whether the drain invalidated the IOTLB for the PASID that goes."""
        return bool([event for event in self.drain.of(trace.IotlbInv) if event.pasid == GOES])


@pytest.mark.kernels("trixie", "trixie-backports")
def test_stock_pasid(vm, kernel, one):
    """Without the module, on 7.x as well: in a bus reset ATC invalidations with PASIDs go out,
    and the drain of page requests sends one.
    """
    changed = Changed(vm, kernel, one, "hot")
    assert set(changed.answers) == {0}
    assert changed.context.present and changed.ats_on
    assert len([event for event in changed.sent if event.pasid == STAYS]) > 20
    assert changed.wiped()
    assert [event for event in changed.drain.dev_tlb(FIRST) if event.pasid == GOES]


@pytest.mark.kernels("trixie", "trixie-rt", "trixie-backports")
@pytest.mark.parametrize("way", WAYS)
def test_pasid_in_window(vm, kernel, gate, one, way):
    """I1 to I4, R5, with PASIDs: set, replace and remove succeed, no ATC invalidation with a PASID
    (or without) goes out, and at the end the table is what was asked for. What the window
    blocks is the context entry; the PASID table behind it is written at once.

    Deliberate breaks: the valve's filter leaves descriptors of type 8 as they are; block()
    does not block.
    """
    gate()
    changed = Changed(vm, kernel, one, way)
    assert set(changed.answers) == {0}
    assert not changed.context.present and not changed.ats_on
    assert changed.inside == changed.wanted
    assert changed.sent == []
    assert len(changed.window.withheld()) > 20, "the storm was not in the window"
    assert changed.wiped()
    start = changed.story.flr if way == "function" else changed.story.all.bus_reset_start(PORT)[0]
    assert changed.story.all.after(start).before(changed.story.restored).dev_tlb(FIRST) == []
    assert one.context.present and one.ats_on
    assert one.context.pointer == changed.context.pointer
    assert table(vm) == changed.wanted
    with told(vm, one) as stories, one.storm(P):
        one.rounds(50, P)
    passed = {event.pasid for event in stories[0].all.dev_tlb(FIRST)}
    assert passed == {STAYS}, "after the window they go out again, for the PASID that has P"


@pytest.mark.kernels("trixie", "trixie-backports")
@pytest.mark.parametrize("way", WAYS)
def test_policy(vm, kernel, gate, one, way):
    """policy=busy: setting and replacing a PASID's domain give -EBUSY in a window, removing it does
    not; with wait they come back when it is over.

    Deliberate breaks: rg_divert_attach_pasid() and rg_divert_replace_pasid() divert nothing.
    """
    gate("policy=busy")
    assert pasid(vm, "set", CHANGES, P) == pasid(vm, "set", GOES, R) == 0
    before = table(vm)
    with one.window(*WAYS[way]):
        given = [pasid(vm, "set", COMES, Q), pasid(vm, "remove", GOES)]
        if kernel.series >= (6, 16):
            given.append(pasid(vm, "replace", CHANGES, Q))
        assert given == [-codes.EBUSY, 0, -codes.EBUSY][:len(given)]
    assert table(vm) == before | {GOES: None}
    vm.write(f"{PARAMETERS}/policy", "wait")
    with one.window(*WAYS[way]):
        job = vm.bg(f"rgx pasid {FIRST} set {COMES} {Q}")
        time.sleep(.4)
        assert not job.done()
    job.wait(timeout=20)
    assert table(vm)[COMES] is not None and one.ats_on


@pytest.mark.kernels("trixie", "trixie-rt", "trixie-backports")
def test_page_request(vm, gate, one):
    """A page request is in the IOMMU's queue when the window begins, and its PASID is removed
    in the window: the drain waits for the driver's own thread, and not for the function.

    Deliberate break: the valve's filter leaves descriptors of type 8 as they are.
    """
    gate()
    regs = vm.sh("cat /sys/class/iommu/dmar0/intel-iommu/address").out.strip()
    irq = vm.sh("grep dmar0-prq /proc/interrupts | cut -d: -f1").out.strip()
    assert pasid(vm, "set", GOES, R, "faults") == 0
    handled = int(rgx(vm, "pagereq handled"))
    rgx(vm, "pagereq put", FIRST, GOES, f"0x{regs}")
    with told(vm, one) as stories:
        with one.window():
            vm.mark(IN)
            removal = vm.bg(f"rgx pasid {FIRST} remove {GOES}")
            vm.sh("sleep .3")
            assert not removal.done(), "the request was not in the queue: nothing was tested"
            rgx(vm, "pagereq irq", irq)
            removal.wait(timeout=10)
            assert not one.context.present and table(vm)[GOES] is None
            vm.mark(OUT)
    inside = stories[0].all.between(IN, OUT)
    assert int(rgx(vm, "pagereq handled")) == handled + 1
    fences = [event for event in inside.of(trace.Wait) if event.addr == 0]
    assert fences, "page requests were not drained"
    assert [event for event in inside.after(fences[0]).of(trace.IotlbInv) if event.pasid == GOES]
    assert inside.dev_tlb(FIRST) == []
    assert one.context.present and one.ats_on and table(vm)[GOES] is None


def judge_order(events, config):
    """Every write of PASID and PRI control comes while ATS is off, ATS on after both are on."""
    at_ats = config.ats + trace.ATS_CTRL
    at_pasid = config.extended(pci.EXT_PASID) + PASID_CTRL
    at_pri = config.extended(pci.EXT_PRI) + PRI_CTRL
    at_alloc = config.extended(pci.EXT_PRI) + PRI_ALLOC
    ats, on = True, set()
    for event in events.cfg(FIRST):
        if event.offset == at_ats:
            ats = bool(event.value & trace.ATS_ENABLE)
            assert not ats or on == {at_pasid, at_pri}, f"ATS was on before {on}"
        elif event.offset in (at_pasid, at_pri, at_alloc):
            assert not ats, f"{event.offset:#x} was written while ATS was on"
            if event.offset != at_alloc and event.value & 1:
                on.add(event.offset)
    assert ats and on == {at_pasid, at_pri}, f"ATS {ats}, then on: {on}"


def park(vm, one):
    one.rgx("mute", "reset")
    one.rgx("reset", "function", timeout=90)
    assert gate_file(vm, FIRST, "state") == "parked"
    one.rgx("mute", "off")
    assert controls(vm) == (0, 0, 0, False), "blocked, and nothing is on"


def by_hand(vm, one):
    park(vm, one)
    vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state")


def by_reset(vm, one):
    park(vm, one)
    one.rgx("reset", "function")


def by_unmuting(vm, one):
    """on_failed_reset=open: its table opens while it is silent, the rest when it is not."""
    parameter = "/sys/module/resetgate/parameters/on_failed_reset"
    vm.sh(f"echo open > {parameter}")
    one.rgx("mute", "reset")
    one.rgx("reset", "function", timeout=90)
    one.rgx("mute", "off")
    assert controls(vm) == (0, 0, 0, False), "it was silent, and yet something is on"
    vm.sh(f"echo open > {pci.sysfs(FIRST)}/resetgate/state; echo park > {parameter}")


def by_recovery(vm, one):
    # What was saved of it while it was silent is all ones, and slot_reset would restore that.
    one.rgx("reset", "function")
    Recovery(vm, "rp0 DLP", FIRST, ("resume", "gone")).wait()


def secondary(vm, one):
    rgx(vm, "reset", PORT, "secondary")
    settled(vm, [one])


# Each leaves a function that works, but for the last, which nobody restores.
PATHS = {
    "function": lambda vm, one: one.rgx("reset", "function"),
    "flr, restored by nobody": lambda vm, one: one.rgx("reset", "flr"),
    "hot": lambda vm, one: one.rgx("reset", "hot"),
    "parked, opened by hand": by_hand,
    "parked, opened by a reset": by_reset,
    "opened silent, then by hand": by_unmuting,
    "recovery from an error": by_recovery,
    "bus reset, restored by nobody": secondary,
}


@pytest.mark.sample("trixie-backports")
def test_controls_before_ats(vm, kernel, gate, one):
    """I6: on every path by which a gate opens PASID and PRI control are written before ATS, and
    never while it is on; a reset clears all three, and the driver believes in them.

    Deliberate breaks: rg_endpoint_write_controls() writes ATS first, or nothing; restore_pasid
    is diverted in a window only (slot_reset then writes PASID once more, with ATS on).
    """
    gate()
    if kernel.series >= (6, 11):  # 6.1 has PRI on while anything is attached
        assert pasid(vm, "set", GOES, R, "faults") == 0
    assert controls(vm) == ALL_ON, "the driver did not find them"
    for name, reset in PATHS.items():
        with told(vm, one) as stories:
            reset(vm, one)
        try:
            judge_order(stories[0].all, one.config)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error
        assert controls(vm) == ALL_ON, name
        one.rgx("busmaster", "on")


@pytest.mark.kernels("trixie", "trixie-backports")
def test_controls_after_containment(vm, request, gate, contain):
    """I6: the same in the recovery from a containment (DPC), whose port has to be found anew.

    Deliberate break: rg_endpoint_write_controls() writes ATS first.
    """
    gate()
    contain(PORT)
    one = request.getfixturevalue("one")
    assert pasid(vm, "set", GOES, R, "faults") == 0
    assert controls(vm) == ALL_ON, "the driver did not find them"
    with told(vm, one) as stories:
        recovery = Containment(vm, PORT, FIRST, ("resume", "gone"))
        recovery.release()
        recovery.wait()
    settled(vm, [one])
    assert [what for what, _, _ in recovery.events()] == ["error", "slot_reset", "resume"]
    judge_order(stories[0].all, one.config)
    assert controls(vm) == ALL_ON


@pytest.mark.sample("trixie")
@pytest.mark.kernels("bookworm", "trixie", "trixie-rt")
def test_controls_in_window(vm, kernel, gate, one):
    """I3: what an attach writes to PASID and PRI control is withheld, and done at the end: on
    6.1 attach and detach write all three, on 6.12 PRI is on while somebody takes page requests.
    On 7.x they are written when the function is found and when it goes.

    Deliberate breaks: rg_endpoint_write_controls() writes nothing; rg_endpoint_enable_pri()
    writes its register at once.
    """
    gate()
    old = kernel.series < (6, 11)
    for last in (False, True):
        with told(vm, one) as stories, one.window():
            vm.mark(IN)
            if not last or old:
                assert one.errno("detach") == 0
            if not last:
                assert one.errno("attach", one.b) == 0
            if not old:
                words = ("remove", GOES) if last else ("set", GOES, R, "faults")
                assert pasid(vm, *words) == 0
            vm.mark(OUT)
        written = {event.offset for event in stories[0].all.between(IN, OUT).cfg(FIRST)}
        at_pasid, at_pri = (one.config.extended(cap) for cap in (pci.EXT_PASID, pci.EXT_PRI))
        assert not written & {at_pasid + PASID_CTRL, at_pri + PRI_CTRL, at_pri + PRI_ALLOC,
                              one.config.ats + trace.ATS_CTRL}
        if not last:
            judge_order(stories[0].all, one.config)
            assert controls(vm) == ALL_ON
        else:
            # What is detached and claimed has an empty domain on 6.1, and its controls on.
            assert controls(vm) == (ALL_ON if old else (7, 0, 0, True))
        if not old:
            assert bool(one.context.words[0] & PRE) != last
