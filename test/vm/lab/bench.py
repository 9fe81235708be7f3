# SPDX-License-Identifier: GPL-2.0
"""What the module costs, in guest instructions.

QEMU's -icount shift=0 makes guest time count instructions, one per nanosecond, on one CPU.
Idle time is skipped but moves the guest's clock all the same, so a command's cost is the time
that passed less the time the CPU was halted, which the exerciser takes itself (the kernel's
figures are too coarse): the work of workers, timers and RCU on its behalf is in it, and after
a reset 20 ms are waited for them.

A pair's cost is the median of 40 batches of 200: a timer tick is in every tenth batch or so,
never in the median, and it comes out the same to the instruction. It is the same with attaches.
Of resets and registrations it is the least of several runs: what is above it are ticks and
other tasks.
"""

import json
from dataclasses import asdict, dataclass

from . import build, host, machines, pci
from .vm import VM

BDF = "01:00.0"
MACHINE = "virtio-ats"
PAIRS, SWAPS, BATCHES, RESETS, COLD_RESETS = 200, 50, 40, 12, 3
SETTLE_MS = 20

# The limits, and why: an FLR takes 100 ms, 1 ms more is not felt.
IDLE_PERCENT = 0.5
ARMED_INSTRUCTIONS = 1_000_000
COLD_RATIO = 1.5
ATTACH_RATIO = 1.2
POLICY_INSTRUCTIONS = 1000

# The valve is disarmed some seconds after the last window.
_DISARMED = ("i=0; while cut -d' ' -f1 /sys/kernel/tracing/enabled_functions | grep -qx {}; "
             "do i=$((i+1)); [ $i -lt 60 ] || exit 1; sleep 1; done")
_HELD = """rgx hold {bdf} > /run/held || exit 1
rgx reset {bdf} function > /run/held 2>&1 &
rgx waitreset {bdf} > /run/waited && {command}
rc=$?
[ "$(cat {sysfs}/resetgate/state)" = closed ] || {{ echo 'the gate is not closed'; rc=1; }}
rgx unhold {bdf} > /run/waited
wait
exit $rc"""


@dataclass(frozen=True)
class Row:
    """One figure; `limit` and `passed` only where there is a limit."""

    what: str
    instructions: float
    beside: str = ""
    limit: str = ""
    passed: bool = None


def arguments(parser):
    """The bench's options."""
    parser.add_argument("--kernels")
    parser.add_argument("--modes")
    parser.add_argument("--json", help="write the figures to this file, too")


def _fields(text):
    return {key: int(value) for key, value in (word.split("=") for word in text.split())}


class Bench:
    """A function in the exerciser's hands, in an -icount guest."""

    def __init__(self, vm):
        self.vm, self._valve = vm, machines.queue_function(vm.mode, vm.kernel.series)
        vm.sh("[ -d /sys/module/rglab ] || insmod /lab/rglab.ko")
        # The exerciser's shim over config space is in place from the first figure on.
        for line in (f"bind {BDF}", f"claim {BDF}", f"domain new bench {BDF}",
                     f"attach {BDF} bench", f"hold {BDF}", f"unhold {BDF}",
                     f"tracer {self._valve} set"):
            vm.sh(f"rgx {line}")
        # The first reset after boot pays for things that have nothing to do with resets.
        self._timed(f"2+{SETTLE_MS} reset {BDF} function")

    def close(self):
        """Give the function back."""
        self.vm.sh(f"rgx inreset {BDF} bench 0; "
                   f"[ ! -d /sys/module/resetgate ] || rmmod resetgate; rgx detach {BDF}; "
                   f"rgx release {BDF}; rgx domain free bench; rgx rebind {BDF}", check=False)

    def load(self):
        self.vm.sh("[ -d /sys/module/resetgate ] || insmod /lab/resetgate.ko")

    def unload(self):
        self.vm.sh("[ ! -d /sys/module/resetgate ] || rmmod resetgate", timeout=120)

    def _timed(self, what):
        return _fields(self.vm.sh(f"rgx bench {what}", timeout=180).out)

    @staticmethod
    def _pairs():
        return f"rgx bench {BATCHES} pairs bench {PAIRS}"

    @staticmethod
    def _swaps():
        return f"rgx bench {BATCHES} swaps {BDF} bench {SWAPS}"

    @staticmethod
    def _attaches():
        """One at a time, of a detached function, which is detached and attached at the end."""
        return (f"rgx detach {BDF} > /run/said && rgx bench {BATCHES} attach {BDF} bench "
                f"/ detach {BDF} && rgx attach {BDF} bench > /run/said")

    def pair(self):
        """One map and one unmap of a page, strict mode."""
        return _fields(self.vm.sh(self._pairs(), timeout=180).out)["median"] / PAIRS

    def swap(self):
        """A detach and an attach."""
        return _fields(self.vm.sh(self._swaps(), timeout=180).out)["median"] / SWAPS

    def attach(self):
        """An attach."""
        return _fields(self.vm.sh(self._attaches(), timeout=180).out)["median"]

    def choose(self, policy):
        """What an attach gets in a reset."""
        self.vm.write("/sys/module/resetgate/parameters/policy", policy)

    def in_window(self):
        """(pair, swap, attach) during a reset. One request: an idle guest's time flies."""
        command = f"{self._pairs()} && {self._swaps()} && {self._attaches()}"
        script = _HELD.format(bdf=BDF, sysfs=pci.sysfs(BDF), command=command)
        pairs, swaps, attaches = map(_fields, self.vm.sh(script, timeout=180).out.split("\n")[:3])
        return pairs["median"] / PAIRS, swaps["median"] / SWAPS, attaches["median"]

    def reset(self):
        """pci_reset_function(), one after the other; (instructions, elapsed ns)."""
        self.vm.sh(f"rgx reset {BDF} function")
        found = self._timed(f"{RESETS}+{SETTLE_MS} reset {BDF} function")
        return found["min"], found["wall"]

    def reset_in_use(self):
        """The same with a pair in each reset: what it sends is dropped, and the opening waits
        for the queue and flushes the IOTLB before ATS.
        """
        dropped = f"{pci.sysfs(BDF)}/resetgate/dropped"
        loaded = self.vm.loaded("resetgate")
        before = loaded and int(self.vm.read(dropped))
        self.vm.sh(f"rgx inreset {BDF} bench 1")
        found = self.reset()[0]
        self.vm.sh(f"rgx inreset {BDF} bench 0")
        if loaded and int(self.vm.read(dropped)) - before < RESETS:
            raise host.LabError("nothing was dropped in the resets that were measured")
        return found

    def reset_cold(self):
        """The same, each with the valve to be armed first."""
        found = []
        for _ in range(COLD_RESETS):
            self.vm.sh(_DISARMED.format(self._valve), timeout=120)
            found.append(self._timed(f"1+{SETTLE_MS} reset {BDF} function")["min"])
        return min(found)

    def register(self):
        """register_ftrace_function() of the valve's function, without the module."""
        return self._timed(f"{COLD_RESETS}+{SETTLE_MS} tracer {self._valve} on "
                           f"/ tracer {self._valve} off")["min"]

    def native(self):
        """The kernel's own prepare and done; None before 7.0."""
        if self.vm.kernel.series < (7, 0):
            return None
        return self._timed(f"{BATCHES} native {BDF} {SWAPS}")["median"] / SWAPS


def _percent(value, base):
    return 100 * (value - base) / base


def _more(what, value, base, limit=None):
    """A row that is judged, if at all, by how much it is above another."""
    percent = _percent(value, base)
    return Row(what, value, f"{percent:+.2f} %", f"<= {limit:+.1f} %" if limit else "",
               percent <= limit if limit else None)


def _times(what, value, base, limit):
    ratio = value / base
    return Row(what, value, f"{ratio:.2f} x", f"<= {limit:.1f} x", ratio <= limit)


def idle(bench):
    """A pair with no reset in progress: absent, loaded, unloaded again.

    The end of booting may be in the first figure; the lower one is what the others are
    compared with, so that it cannot hide a cost. What the kernel does besides is in one of two
    figures with the module; what the module costs is in both.
    """
    what = "map+unmap pair, strict: "
    bench.unload()
    before = bench.pair()
    bench.load()
    loaded = min(bench.pair(), bench.pair())
    bench.unload()
    after = bench.pair()
    absent = min(before, after)
    return [Row(what + "module absent", absent),
            _more(what + "module loaded", loaded, absent, IDLE_PERCENT),
            _more(what + "unloaded again", after, absent, IDLE_PERCENT)]


def attaches(bench):
    """A pair and an attach outside a window and in one."""
    what, pairs, swaps = "attach: ", "map+unmap pair, strict: ", "detach+attach: "
    bench.unload()
    absent, swap, pair = bench.attach(), bench.swap(), bench.pair()
    bench.load()
    loaded, loaded_swap = bench.attach(), bench.swap()
    held_pair, held_swap, held = bench.in_window()
    bench.choose("busy")
    followed = bench.attach()
    bench.unload()
    bench.load()
    return [_more(pairs + "in a reset", held_pair, pair),
            _more(pairs + "valve still armed", bench.pair(), pair),
            Row(swaps + "module absent", swap),
            _more(swaps + "module loaded", loaded_swap, swap),
            _times(swaps + "in a reset", held_swap, swap, ATTACH_RATIO),
            Row(what + "module absent", absent),
            _more(what + "module loaded", loaded, absent),
            Row(what + "policy=busy, no reset", followed, f"{followed - loaded:+,.0f}",
                f"< {POLICY_INSTRUCTIONS:+,}", followed - loaded < POLICY_INSTRUCTIONS),
            _times(what + "in a reset", held, absent, ATTACH_RATIO)]


def resets(bench):
    """What close and open add to a reset; where they replace the kernel's own gate, in full."""
    bench.unload()
    absent, absent_ns = bench.reset()
    absent_used = bench.reset_in_use()
    register, native = bench.register(), bench.native()
    bench.load()
    armed, armed_ns = bench.reset()
    used = bench.reset_in_use()
    cold = bench.reset_cold()
    gate, first = (value - absent + (native or 0) for value in (armed, cold))
    in_use = used - absent_used + (native or 0)
    rows = [Row("reset: module absent", absent, f"{absent_ns / 1e6:.0f} ms"),
            Row("reset: module loaded, valve armed", armed, f"{armed_ns / 1e6:.0f} ms"),
            Row("close+open: valve armed", gate, "", f"< {ARMED_INSTRUCTIONS:,}",
                gate < ARMED_INSTRUCTIONS),
            Row("close+open: valve armed, a pair in the reset", in_use, "",
                f"< {ARMED_INSTRUCTIONS:,}", in_use < ARMED_INSTRUCTIONS),
            Row("register_ftrace_function() of one function", register),
            _times("close+open: valve armed first", first, register, COLD_RATIO)]
    if native:
        rows += [Row("kernel's own prepare+done: module absent", native),
                 Row("kernel's own prepare+done: module loaded", bench.native())]
    return rows


def measure(kernel, mode):
    """All rows of one kernel and mode, in a boot of their own."""
    vm = VM(kernel, mode, MACHINE, files=build.guest_files(kernel), icount=True, name="bench")
    rows = []
    with host.step(f"{kernel.key} {mode}: boot and measure", vm.console_path), vm:
        bench = Bench(vm)
        for part in (idle, attaches, resets):
            rows += part(bench)
        bench.close()
    return rows


def _number(value):
    return f"{value:,.1f}" if value < 10_000 and value != int(value) else f"{value:,.0f}"


def _verdict(row):
    return "" if row.passed is None else "PASS" if row.passed else "FAIL"


def table(rows):
    """Rows as text."""
    cells = [("", "instructions", "", "limit", "")]
    cells += [(row.what, _number(row.instructions), row.beside, row.limit, _verdict(row))
              for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(5)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), line[1].rjust(widths[1]), line[2].rjust(widths[2]),
                   line[3].ljust(widths[3]), line[4]]).rstrip() for line in cells)


def run(kernels, modes, path=None):
    """All kernels and modes; 1 if a limit is passed."""
    results, failed = [], 0
    for kernel in kernels:
        for mode in modes:
            rows = measure(kernel, mode)
            print(f"\n{kernel.release}, {machines.title(mode)}\n\n{table(rows)}\n", flush=True)
            failed += sum(row.passed is False for row in rows)
            results.append({"kernel": kernel.release, "suite": kernel.key, "mode": mode,
                            "rows": [asdict(row) for row in rows]})
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
    print("FAIL: over the limit: " + str(failed) if failed else "PASS: all within the limits")
    return 1 if failed else 0
