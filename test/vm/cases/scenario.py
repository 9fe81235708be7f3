# SPDX-License-Identifier: GPL-2.0
"""What the cases have in common: the exerciser's commands, an endpoint, a window.

Verdicts come from QEMU's trace, from the IOMMU's tables in guest memory and from the
function's configuration space. What resetgate says of itself is checked against them,
never instead of them.
"""

import contextlib
import functools
import itertools
import re
import shlex

from lab import machines, memory, pci, smmuv3_queue, trace

FIRST, SECOND, EDU, NVME, BLK = "01:00.0", "02:00.0", "03:00.0", "04:00.0", "05:00.0"
STATUS, PARAMETERS = "/sys/kernel/resetgate/status", "/sys/module/resetgate/parameters"
PATIENT = "close_timeout_ms=10000"  # for a case that loads by itself: see conftest.RUNTIME
IOVA = 0x1000000
OLD, NEW = 0x1111, 0x2222
BEGIN, END = 0x100, 0x101  # marks around a story
_NOTES = itertools.count(1)


def rgx(vm, *words, timeout=30):
    """The exerciser's answer; a failure is the case's."""
    return vm.sh("rgx " + " ".join(map(str, words)), timeout=timeout).out.strip()


def errno(vm, *words, timeout=30):
    """The exerciser's answer as a number: 0 or more, or -errno."""
    result = vm.sh("rgx " + " ".join(map(str, words)), timeout=timeout, check=False)
    assert result.rc != 2, f"wrong use of the exerciser: {result.out}"
    return int(result.out.split()[0])


def fields(text):
    """'a=0x1 b=2' -> {'a': 1, 'b': 2}"""
    return {key: int(value, 0) for key, value in
            (word.split("=", 1) for word in text.split() if "=" in word)}


def gate_file(vm, bdf, name):
    return vm.read(f"{pci.sysfs(bdf)}/resetgate/{name}").decode().strip()


@contextlib.contextmanager
def window(vm, bdf, kind="any", how="function"):
    """A reset of a function that nobody attached, as long as the body."""
    rgx(vm, "hold", bdf, kind)
    job = vm.bg(f"rgx reset {bdf} {how}")
    try:
        rgx(vm, "waitreset", bdf)
        assert gate_file(vm, bdf, "state") == "closed"
        yield
    finally:
        rgx(vm, "unhold", bdf)
        job.wait()


def windows(vm, bdf):
    """How often the function's gate has closed."""
    return int(gate_file(vm, bdf, "windows"))


def status(vm):
    """/sys/kernel/resetgate/status as a dictionary."""
    lines = vm.read(STATUS).decode().splitlines()
    return dict(line.split(": ", 1) for line in lines)


def fired(vm):
    """How often each target was called, of /sys/kernel/resetgate/targets."""
    words = [line.split() for line in vm.read("/sys/kernel/resetgate/targets").decode().splitlines()]
    return {word[0]: int(word[4]) for word in words if word[2:4] == ["found", "armed"]}


def table_function(vm):
    """The function of the IOMMU's driver that the table valve redirects."""
    return {"vtd": "iommu_context_addr", "amd": "set_dte_entry",
            "smmu": "arm_smmu_write_entry"}[machines.vendor(vm.mode)]


def queue_function(vm):
    """The function of the IOMMU's driver that the invalidation valve looks into."""
    return machines.queue_function(vm.mode, vm.kernel.series)


def uptime(vm):
    return float(vm.read("/proc/uptime").split()[0])


def dmesg_since(vm, marker):
    """Kernel messages after the last line with `marker`, without their times."""
    found = vm.sh(f"dmesg | grep -F -A 400 {shlex.quote(marker)}", check=False).out
    lines = found.rsplit(marker, 1)[-1].splitlines()
    return [re.sub(r"^\[ *[\d.]+\] ", "", line) for line in lines]


def note(vm, text):
    """A line in the kernel log to look behind later, like no other."""
    text = f"{text}, note {next(_NOTES)}"
    vm.write("/dev/kmsg", f"{text}\n")
    return text


@contextlib.contextmanager
def asked(vm):
    """Meanwhile the module says what it has to say when asked: what came to nothing, and why."""
    control = "/proc/dynamic_debug/control"
    vm.write(control, "module resetgate +p\n")
    yield
    vm.write(control, "module resetgate -p\n")


class Endpoint:
    """A function in the exerciser's hands: claimed, attached to domain A, B at hand.

    Each domain maps one page at IOVA, filled with OLD in A and NEW in B.
    """

    def __init__(self, vm, bdf, driver=True):
        self.vm, self.bdf = vm, bdf
        self.a, self.b = ("".join(c for c in letter + bdf if c.isalnum()) for letter in "ab")
        steps = [f"unbind {bdf}"] + [f"bind {bdf}"] * driver + [f"claim {bdf}"]
        for name, pattern in ((self.a, OLD), (self.b, NEW)):
            steps += [f"domain new {name} {bdf}", f"map {name} {IOVA:#x} 0x1000 {pattern:#x}"]
        steps += [f"attach {bdf} {self.a}", f"busmaster {bdf} on"]
        vm.sh("rgx " + " , ".join(steps))
        self.config = pci.config(vm, bdf)

    def rgx(self, command, *words, **kwargs):
        return rgx(self.vm, command, self.bdf, *words, **kwargs)

    def errno(self, command, *words, **kwargs):
        return errno(self.vm, command, self.bdf, *words, **kwargs)

    def close(self, restored=True):
        """Put everything back, whatever state the case has left it in. The function's own driver
        must not get it with its config space lost: it waits for a device that reads all ones.
        """
        bdf = self.bdf
        steps = [f"unhold {bdf}", f"mute {bdf} off", f"swapstorm stop {bdf}",
                 f"storm stop {self.a}", f"storm stop {self.b}", "idle", f"detach {bdf}",
                 f"release {bdf}", f"domain free {self.a}", f"domain free {self.b}",
                 "kept free", "churn free", *[f"rebind {bdf}"] * restored, "events clear"]
        self.vm.sh("rgx -k " + " , ".join(steps), check=False, timeout=60)

    # -- storms ------------------------------------------------------------------------

    @contextlib.contextmanager
    def storm(self, name=None):
        """Map and unmap all the time in domain A (or another)."""
        name = name or self.a
        rgx(self.vm, "storm start", name)
        counts = {}
        try:
            yield counts
        finally:
            counts.update(fields(rgx(self.vm, "storm stop", name)))
        assert counts["loops"] and not counts["errors"], counts

    def rounds(self, count, name=None):
        """Wait until a storm has mapped and unmapped as often: a sleep would be too short
        on a slow machine."""
        rgx(self.vm, "storm wait", name or self.a, count)

    # -- resets ------------------------------------------------------------------------

    def use(self, *methods):
        self.vm.write(f"{pci.sysfs(self.bdf)}/reset_method", " ".join(methods))

    @contextlib.contextmanager
    def window(self, command=None, kind="any", rc=0):
        """A reset that stays before its wait for readiness as long as the body runs."""
        command = command or f"rgx reset {self.bdf} function"
        self.rgx("hold", kind)
        job = self.vm.bg(command)
        try:
            self.rgx("waitreset")
            yield job
        finally:
            self.rgx("unhold")
            result = job.wait(timeout=30, check=False)
        assert result.rc == rc, f"`{command}` gave {result.rc}: {result.out}"

    # -- what hardware shows -----------------------------------------------------------

    @property
    def context(self):
        return memory.context_entry(self.vm, self.bdf)

    @property
    def root(self):
        """(page-table root, domain ID) that DMA walks now, None if blocked."""
        return memory.table_root(self.vm, self.bdf)

    def root_of(self, name):
        """The page-table root that DMA walks with another domain; A is attached as before."""
        self.rgx("detach")
        self.rgx("attach", name)
        root = self.root
        self.rgx("detach")
        self.rgx("attach", self.a)
        return root[0]

    @property
    def ats_on(self):
        """ATS Enable as configuration space shows it."""
        return bool(fields(self.rgx("ats"))["ctrl"] & 0x8000)

    def data(self, name):
        """First word of the page that `name` maps at IOVA."""
        return fields(rgx(self.vm, "peek", name, hex(IOVA)))["data"]

    def dma(self):
        """edu writes zeros to IOVA; 0, or -ENXIO if it does not even hear us."""
        return self.errno("edu", "dma", hex(IOVA))

    def dma_lands(self, name):
        """Whether edu's DMA reaches the page of `name`; both pages are filled anew."""
        for domain, pattern in ((self.a, OLD), (self.b, NEW)):
            self.vm.sh(f"rgx poke {domain} {IOVA:#x} {pattern:#x}", check=False)
        assert self.dma() == 0
        return self.data(name) == 0


def tail(vm, offset):
    """The trace from a place in its file on; all of it would be long to read."""
    with open(vm.trace_path, "rb") as file:
        file.seek(offset)
        return trace.Trace.parse(file.read().decode(errors="replace"), vm.complete)


@functools.lru_cache(maxsize=1)
def driver_waits(trace_path):
    """Pages that the IOMMU driver's own wait descriptors write to: the first ones of the boot."""
    with open(trace_path, "rb") as file:
        early = trace.Trace.parse(file.read(1_000_000).decode(errors="replace"))
    return {event.addr >> 12 for event in early.of(trace.Wait)[:40]}


class Story:
    """The trace of what happened to one function between two marks."""

    def __init__(self, vm, endpoint, events):
        self.bdf, self.config = endpoint.bdf, endpoint.config
        self.amd, self.smmu = machines.is_amd(vm.mode), machines.is_smmu(vm.mode)
        self._known = () if self.amd or self.smmu else driver_waits(vm.trace_path)
        self.all = events

    def of(self, vm, endpoint):
        """The same time for another function."""
        return Story(vm, endpoint, self.all)

    @property
    def flr(self):
        starts = self.all.flr_start(self.bdf, self.config.express)
        assert starts, "no FLR in the trace"
        return starts[-1]

    @property
    def ats_on(self):
        """The write that turns ATS on again, last of all."""
        on = [event for event, value in self.all.ats_writes(self.bdf, self.config.ats) if value]
        assert on, "ATS was not turned on again"
        return on[-1]

    @property
    def restored(self):
        """The last write of the restore, before ATS is turned on: the window's end.

        Then the table opens, invalidations pass again, and ATS comes last.
        """
        return self.all.before(self.ats_on).cfg(self.bdf)[-1]

    def in_window(self):
        """From the write that starts the reset to the last one that restores the function."""
        return self.all.after(self.flr).before(self.restored)

    def withheld(self):
        """Invalidations made harmless by resetgate: on VT-d waits that write elsewhere; on AMD-Vi
        invalidations of the function's table entry, of which the first is the block's own; on
        SMMUv3 they are taken out, and the CMD_SYNC that followed them is by itself. Three of those
        may be the module's own, which asks whether the queue goes on: one before it blocks, which is
        not among these, one after it, and one before ATS.
        """
        if self.smmu:
            alone = [event for event in self.all.of(smmuv3_queue.Sync) if event.alone]
            first = self.blocks()[:1]
            return alone[bool(alone and first and alone[0].index < first[0].index):]
        if self.amd:
            return self.blocks()[1:]
        return [event for event in self.all.of(trace.Wait)
                if event.addr >> 12 not in self._known]

    def blocks(self):
        """Context-cache invalidations of this very function."""
        return [event for event in self.all.of(trace.CtxInv)
                if event.granularity == 3 and event.bdf == self.bdf]


@contextlib.contextmanager
def told(vm, endpoint):
    """Marks around the body; gives a list that gets the Story at the end."""
    found = []
    offset = vm.trace_path.stat().st_size
    vm.mark(BEGIN)
    yield found
    vm.mark(END)
    found.append(Story(vm, endpoint, tail(vm, offset).between(BEGIN, END)))
