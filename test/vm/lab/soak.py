# SPDX-License-Identifier: GPL-2.0
"""Random resets of six functions with everything else going on, and a judge behind each step.

The judge asks QEMU: the IOMMU's tables in guest memory, config space, and the trace, in which
no ATC invalidation may follow the write that starts a reset until the function opens. Opening
begins with a read of ATS control and ends with the write that turns ATS on; the filter goes off
between the two. Whose an invalidation is, QEMU's AMD-Vi does not say: there the trace is no judge.
"""

import random
import re
import subprocess
import sys
import time
from collections import Counter, deque

from . import aer, build, host, machines, memory, pci, trace
from .host import TREE
from .plan import (DOMAINS, IOVA, KINDS, PF, PLACES, PLAIN, PORTS, VFS, Plan, below, make_vfs,
                   with_vfs)
from .vm import VM, CommandFailed, LostVM, Splat

MACHINE = "scenario"
HUNG_SECONDS = 20
STEP_SECONDS = 100
CONSOLE_EVERY = 10
RECENT = 8
ROUNDS = 50
# A reset gives way to another; anything else is a failure.
_AGAIN = -11
_PM_CONTROL, _D3 = 4, 3
_PCI = "cd /sys/bus/pci/devices"
_ATS = "rgx " + " , ".join("ats " + bdf for bdf in PLACES)
# What is closed or in a reset, until there is nothing, and then all that is not open.
_SETTLED = f"""{_PCI}
left() {{ grep -lx closed */resetgate/state; grep -Lx 0 */resetgate/depth; }}
i=0; while [ -n "$(left)" ] && [ $i -lt 150 ]; do i=$((i+1)); usleep 50000; done
grep -Lx open */resetgate/state; grep -Lx 0 */resetgate/depth
echo --
{_ATS}
echo --
grep _ /sys/kernel/resetgate/status
[ $rc = 0 ]
"""


class SoakFailed(AssertionError):
    """Something is not as it has to be; says how to have it again."""


class Watch:
    """Follows QEMU's trace: who is in reset, and whether it is left alone."""

    def __init__(self, vm):
        self._path, self._offset = vm.trace_path, vm.trace_path.stat().st_size
        self._configs = {bdf: pci.config(vm, bdf) for bdf in PLACES}
        self._ports = {port: pci.config(vm, port).express for port in PORTS}
        self._dark = set()
        vm.trace_event("pci_cfg_read")

    def _read(self):
        """Accesses to config space and device-TLB invalidations since the last time."""
        with open(self._path, "rb") as file:
            file.seek(self._offset)
            data = file.read()
        data = data[:data.rfind(b"\n") + 1]
        self._offset += len(data)
        # A storm writes ten thousand lines a second. Types 3 and 8 are the ones wanted.
        lines = [line for line in data.decode(errors="replace").splitlines()
                 if "pci_cfg_" in line or ("vtd_inv_desc " in line and line[-1] in "38")]
        return trace.Trace.parse("\n".join(lines) + "\n")

    def _started(self, event):
        """The functions that a write to configuration space resets."""
        if event.bdf not in PLACES:
            express = self._ports.get(event.bdf)
            one = trace.Trace([event])
            hit = one.bus_reset_start(event.bdf) or (express and one.flr_start(event.bdf, express))
            return below(event.bdf) if hit else set()
        config = self._configs[event.bdf]
        power = config.capability(pci.CAP_PM)
        flr = event.offset == config.express + trace.DEVCTL and event.value & trace.DEVCTL_FLR
        off = power and event.offset == power + _PM_CONTROL and event.value & 3 == _D3
        return with_vfs(event.bdf) if flr or off else set()

    def look(self):
        """What must not be: lines about invalidations of functions in reset."""
        late, opening = [], {}
        for event in self._read():
            if isinstance(event, trace.DevTlbInv) and event.bdf in self._dark:
                late.append(event)
            elif isinstance(event, trace.CfgRead):
                if event.offset == self._ats(event.bdf) + trace.ATS_CTRL:
                    opening[event.bdf] = event.index
            elif isinstance(event, trace.CfgWrite):
                self._dark |= self._started(event)
                if trace.Trace([event]).ats_writes(event.bdf, self._ats(event.bdf)) and \
                        event.value & trace.ATS_ENABLE:
                    self._dark.discard(event.bdf)
                    late = [one for one in late if one.bdf != event.bdf or
                            one.index < opening.get(event.bdf, event.index)]
        counts = Counter(event.bdf for event in late)
        return [f"{count} ATC invalidations to {bdf} in its reset" for bdf, count in counts.items()]

    def _ats(self, bdf):
        return self._configs[bdf].ats if bdf in self._configs else -trace.ATS_ENABLE


class Soak:
    """One guest with resetgate and the exerciser loaded, and a plan."""

    def __init__(self, vm, seed):
        self._vm, self._seed = vm, seed
        self._plan = Plan(seed, can_replace=vm.kernel.series >= (6, 12))
        # From 6.2 on a function that is claimed and detached is blocked by a missing entry.
        self._bare = vm.kernel.series >= (6, 2)
        self._domain = dict.fromkeys(PLACES)  # what each is attached to
        self._blocked = {}                    # page-table roots of the detached
        self._roots = {}                      # page-table roots of the domains
        self._recent = deque(maxlen=RECENT)
        self._watch = None
        self._status = None
        self._tally = Counter()

    # -- before and after ------------------------------------------------------------------

    def _rgx(self, *commands, **kwargs):
        return self._vm.sh("rgx " + " , ".join(commands), **kwargs).out.split("\n")

    def set_up(self):
        """All six in the exerciser's hands, and what the tables look like without a reset."""
        self._hung(HUNG_SECONDS)
        whole = [bdf for bdf in PLACES if bdf not in VFS]
        self._rgx(*(f"{what} {bdf}" for bdf in whole for what in ("unbind", "bind", "claim")))
        self._vm.sh(make_vfs())
        self._rgx(*(f"{what} {bdf}" for bdf in VFS for what in ("bind", "claim")))
        self._watch = Watch(self._vm)
        for bdf in PLACES:
            self._learn_blocked(bdf)
        for name in DOMAINS:
            self._learn_root(name)
        self._status = self._vm.sh("grep _ /sys/kernel/resetgate/status").out.split("\n")

    def tear_down(self):
        """The guest as it was before."""
        whole = [bdf for bdf in PLACES if bdf not in VFS]
        self._rgx("-k", *(f"storm stop {name}" for name in DOMAINS),
                  *(f"{what} {bdf}" for bdf in PLACES
                    for what in ("swapstorm stop", "detach", "release")),
                  *(f"domain free {name}" for name in DOMAINS), f"bind {PF}", check=False)
        self._vm.sh(f"echo 0 > {pci.sysfs(PF)}/sriov_numvfs")
        self._rgx("-k", *(f"rebind {bdf}" for bdf in whole), "events clear", check=False)
        self._hung(120)

    def _hung(self, seconds):
        self._vm.sh(f"echo {seconds} > /proc/sys/kernel/hung_task_timeout_secs", check=False)

    def _pointer(self, bdf):
        root = memory.table_root(self._vm, bdf)
        return root and root[0]

    def _learn_blocked(self, bdf):
        self._blocked[bdf] = self._pointer(bdf)
        if self._bare and self._blocked[bdf]:
            raise SoakFailed(f"{bdf} is detached, and its DMA walks {self._blocked[bdf]:#x}")
        if self._blocked[bdf] in self._roots.values():
            raise SoakFailed(f"{bdf} is detached, and its DMA walks a domain's table")

    def _learn_root(self, name):
        """A new domain; its table is seen while nothing is in reset."""
        self._rgx(f"domain new {name} {PLAIN}", f"map {name} {IOVA:#x} 0x1000 {ord(name[-1])}",
                  *[f"detach {PLAIN}"] * bool(self._domain[PLAIN]), f"attach {PLAIN} {name}")
        self._roots[name] = self._pointer(PLAIN)
        self._rgx(f"detach {PLAIN}", *[f"attach {PLAIN} {self._domain[PLAIN]}"] *
                  bool(self._domain[PLAIN]))
        others = [root for other, root in self._roots.items() if other != name]
        if self._roots[name] in [None, *others]:
            raise SoakFailed(f"domain {name} cannot be told by its table: {self._roots}")

    # -- steps -----------------------------------------------------------------------------

    def run(self, seconds):
        """Steps for that long; returns a line about them."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            step = self._plan.step()
            self._recent.append(str(step))
            try:
                self._do(step)
            except (AssertionError, LookupError, LostVM) as error:
                raise SoakFailed(self._report(step, error)) from error
        return self._summary()

    def _report(self, step, error):
        vm = self._vm
        return (f"soak: seed {self._seed}, {vm.kernel.key} {vm.mode}, step {step.number}: {error}\n"
                f"the last steps:\n  " + "\n  ".join(self._recent) +
                f"\nagain: test/vm/run soak --seed {self._seed} --kernels {vm.kernel.key} "
                f"--modes {vm.mode}; evidence: {vm.dir}")

    def _do(self, step):
        self._tally[step.kind] += 1
        if step.domain:
            self._renew(step.domain)
        parts = self._ask(step)
        answers, resets, (loose, ats, status) = parts[0], parts[1:-3], parts[-3:]
        self._follow(step, answers)
        self._judge_resets(step, resets)
        if loose:
            raise SoakFailed(f"not open again: {' '.join(loose)}")
        for bdf in step.made:
            self._learn_blocked(bdf)
        problems = [line for line in zip(PLACES, ats) for line in self._judge(*line)]
        problems += self._watch.look()
        if status != self._status[:len(status)]:
            problems.append(f"the gate gave up: {self._status} is now {status}")
        if problems:
            raise SoakFailed("; ".join(problems))
        if step.number % CONSOLE_EVERY == 0:
            self._vm.check_console()

    def _ask(self, step):
        """The step and what there is to see behind it, as lists of lines."""
        early = self._vm.sh(step.prelude(), timeout=STEP_SECONDS).out.split("\n")
        answer = self._vm.begin(step.script() + _SETTLED, timeout=STEP_SECONDS)
        if step.error:
            time.sleep(step.error_at / 1000)
            aer.inject(self._vm, step.error)
        result = answer()
        parts = [part.strip("\n").split("\n") for part in
                 ("\n" + result.out).split("\n--")]
        parts = [[line for line in part if line] for part in parts]
        if result.rc or len(parts) != len(step.resets) + 4:
            raise SoakFailed(f"a command failed:\n{result.out}")
        return [[line for line in early if line] + parts[0], *parts[1:]]

    def _follow(self, step, answers):
        """What each function is attached to now: all the calls were successful."""
        commands = step.commands
        if len(answers) != len(commands):
            raise SoakFailed(f"{len(answers)} answers to {len(commands)} commands:\n"
                             + "\n".join(answers))
        for command, answer in zip(commands, answers):
            what, *words = command.split()
            if what in ("attach", "replace"):
                self._domain[words[0]] = words[1]
            elif what == "detach":
                self._domain[words[0]] = None
            elif command.startswith("swapstorm stop"):
                self._domain[words[1]] = re.search(r"now=(\S+)", answer)[1]
            if " stop " in command and "errors=0 " not in answer:
                raise SoakFailed(f"{command}: {answer}")

    def _judge_resets(self, step, resets):
        for reset, said in zip(step.resets, resets):
            codes = re.findall(r"^(-?\d+)(?: |$)", "\n".join(said), re.M)
            code = int(codes[-1]) if codes else None
            self._tally[f"{reset.kind}: {'done' if code == 0 else 'not done'}"] += 1
            if code not in (0, _AGAIN) and not step.unsure:
                raise SoakFailed(f"the reset {reset} gave {said}")

    def _judge(self, bdf, ats):
        """Hardware tables and config space against what the kernel was asked for."""
        control, enabled = (int(word.split("=")[1], 0) for word in ats.split()[:2])
        context = memory.context_entry(self._vm, bdf)
        pointer, name = self._pointer(bdf), self._domain[bdf]
        if bool(control & trace.ATS_ENABLE) != bool(enabled):
            yield f"{bdf}: ATS control is {control:#x}, and pci_dev believes {enabled}"
        if context.fpd:
            yield f"{bdf}: its context entry is still the blocked one"
        if pointer != (self._roots[name] if name else self._blocked[bdf]):
            yield (f"{bdf}: its DMA walks {pointer and hex(pointer)}, and it is attached to "
                   f"{name} ({self._roots}, detached {self._blocked[bdf]})")
        if name and not (context.present and context.device_tlb and enabled):
            yield f"{bdf}: attached without ATS: {context}, enabled={enabled}"

    def _renew(self, name):
        users = [bdf for bdf, domain in self._domain.items() if domain == name]
        self._rgx(*(f"detach {bdf}" for bdf in users), f"domain free {name}")
        for bdf in users:
            self._domain[bdf] = None
        del self._roots[name]
        self._learn_root(name)
        if users:
            self._rgx(*(f"attach {bdf} {name}" for bdf in users))
        for bdf in users:
            self._domain[bdf] = name

    def _summary(self):
        """Windows and withheld invalidations of the functions that are there now."""
        files = " ".join(f"0000:{bdf}/resetgate/{what}" for bdf in PLACES
                         for what in ("windows", "dropped", "recorded"))
        values = [int(line) for line in self._vm.sh(f"{_PCI}; cat {files}").out.split()]
        counts = dict(zip(("windows", "dropped", "recorded"),
                          (sum(values[start::3]) for start in range(3))))
        self._vm.check_console()
        if stuck := stuck_tasks(self._vm):
            raise SoakFailed(f"tasks that do not move:\n{stuck}")
        # In scalable mode an attach need not touch the context entry: nothing is recorded then.
        if not counts["windows"] or not counts["dropped"]:
            raise SoakFailed(f"nothing was tested: {counts}")
        return (f"seed {self._seed}: {sum(self._tally[kind] for kind in KINDS)} steps; "
                f"now {counts}; {dict(sorted(self._tally.items()))}")


_STUCK = """look() { grep -l '^State:.D' /proc/[0-9]*/status 2>/dev/null | cut -d/ -f3; }
tasks=$(look)
for i in 1 2 3; do [ -n "$tasks" ] || break; usleep 500000; tasks=$(look | grep -Fx "$tasks"); done
for task in $tasks; do cat /proc/$task/comm /proc/$task/stack; done"""


def stuck_tasks(vm):
    """Who waits uninterruptibly, and has for some time; an empty string if nobody."""
    return vm.sh(_STUCK, check=False).out.strip()


def soak(vm, seconds, seed):
    """All of it in a guest with both modules loaded; returns a line about it."""
    one = Soak(vm, seed)
    one.set_up()
    said = one.run(seconds)
    one.tear_down()
    return said


# -- the command ---------------------------------------------------------------------------


def arguments(parser):
    """The command's options."""
    parser.add_argument("--seconds", type=float, default=300, help="per kernel and mode")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 16))
    parser.add_argument("--kernels")
    parser.add_argument("--modes")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of the workloads' resets")


def _soak_one(kernel, mode, args):
    with VM(kernel, mode, MACHINE, files=build.guest_files(kernel), name="soak") as guest:
        host.say(f"soak: {kernel.key} {mode}, seed {args.seed}: {guest.dir}")
        guest.sh("[ -d /sys/module/rglab ] || insmod /lab/rglab.ko; "
                 "insmod /lab/resetgate.ko close_timeout_ms=10000")
        said = soak(guest, args.seconds, args.seed)
        guest.sh("rmmod resetgate", timeout=120)
    print(f"soak: {kernel.key} {mode}: {said}", flush=True)


def _cases(args, name, *words):
    """pytest in a process of its own; returns whether something failed."""
    argv = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "--rootdir", ".",
            "--kernels", args.kernels, "--rounds", str(args.rounds), "--long",
            f"--junitxml={host.LAB}/results/soak-{name}.xml", *words]
    # 5: this kernel has none.
    return subprocess.run(argv, cwd=TREE / "test", check=False).returncode not in (0, 5)


def main(args):
    """Soak every kernel in every mode, then the workloads; exit code 1 if anything failed."""
    from .__main__ import setup
    unknown = set(args.modes.split(",")) - set(machines.MODES)
    if unknown:
        raise host.LabError(f"--modes: no such mode: {', '.join(sorted(unknown))}")
    failed = 0
    for kernel in setup(args.kernels.split(",")):
        for mode in args.modes.split(","):
            try:
                _soak_one(kernel, mode, args)
            except (SoakFailed, CommandFailed, Splat, LostVM) as error:
                failed += 1
                print(f"soak: {kernel.key} {mode}, seed {args.seed}: FAILED: {error}", flush=True)
    # Real drivers under verified I/O, with more rounds; what waits for minutes; upstream's own.
    failed += _cases(args, "workloads", "vm/cases/test_bound.py")
    failed += _cases(args, "long", "-m", "long", "vm/cases")
    print(f"soak: seed {args.seed}: {'passed' if not failed else 'FAILED'}")
    return 1 if failed else 0
