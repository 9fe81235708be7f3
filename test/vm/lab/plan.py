# SPDX-License-Identifier: GPL-2.0
"""What a soak does: steps that follow from a seed and from nothing else.

A step is a handful of resets in the background, storms, and in the foreground attaches, maps,
binds or removals, at random moments. What the functions are attached to is known after each
step, whatever the resets did: attaches in a window succeed as outside of one.
"""

import random
from dataclasses import dataclass, field

from . import aer, pci


@dataclass(frozen=True)
class Place:
    """Where a function of machine "scenario" is: the ports above it, and its PF."""

    ports: tuple
    pf: str = ""


PLAIN, ONE, TWO, UP = "01:00.0", "0a:00.0", "0b:00.0", "08:00.0"
PF, VFS = "0c:00.0", ("0c:00.1", "0c:00.2")
PLACES = {
    PLAIN: Place(("00:1c.0",)),
    ONE: Place(("00:1c.6", "09:00.0")),
    TWO: Place(("00:1c.6", "09:01.0")),
    PF: Place(("00:1c.7",)),
    **dict.fromkeys(VFS, Place(("00:1c.7",), PF)),
}
DOMAINS = tuple(f"d{number}" for number in range(5))
# Always mapped in each domain, and where pages come and go.
IOVA, MORE, SLOTS = 0x1000000, 0x2000000, 6

# What QEMU injects, and the port below which it is recovered from. The last two are not fatal:
# from 6.18 on their recovery resets the bus all the same.
ERRORS = {
    "rp0 DLP": "00:1c.0", "rp6 DLP": "00:1c.6", "rp7 DLP": "00:1c.7",
    "d0 MALF_TLP 1 2 3 4": "09:00.0", "d1 MALF_TLP 1 2 3 4": "09:01.0",
    "rp6 COMP_TIME": "00:1c.6", "d0 COMP_ABORT 1 2 3 4": "09:00.0",
}
# What is removed and found again, and the functions that go with it.
REMOVALS = {PLAIN: (PLAIN,), ONE: (ONE,), TWO: (TWO,), UP: (ONE, TWO), PF: (*VFS, PF)}

KINDS = {"resets": 12, "error": 2, "removal": 1.5, "renewal": 1, "domain": 1}
_BARE = ("__locked", "flr", "secondary")
# Of all below a port: its FLR, its bus by the kernel's own file, its bus by a bare call.
_OF_PORTS = ("bridge", "subordinate", "secondary")
PORTS = tuple(sorted({port for place in PLACES.values() for port in place.ports}))
# What the kernel says to a write, as the exerciser says it.
_SYSFS = ("if said=$( {{ echo 1 > {file}; }} 2>&1 ); then echo 0; else case $said in "
          "*temporarily*) echo -11 ;; *) echo -5 $said ;; esac; fi")
_OF_FUNCTIONS = ("function", "locked", "try", "__locked", "flr", "pm")
# Of a VF that goes away meanwhile. The kernel's own file keeps the removal waiting for the reset;
# a bare call may begin between device_del()'s lock and the end of VF Enable, and then the kernel
# waits a minute for a function that is gone. No caller in the kernel can do that.
_OF_GOING_VFS = ("sysfs", "pm")


def below(port):
    """The functions below a port."""
    return frozenset(bdf for bdf, place in PLACES.items() if port in place.ports)


def with_vfs(bdf):
    """A function and, of a PF, its VFs."""
    return frozenset((bdf, *VFS)) if bdf == PF else frozenset((bdf,))


@dataclass(frozen=True)
class Reset:
    """One reset; `hits` are the functions that it resets."""

    kind: str
    target: str
    hits: frozenset
    delay: int

    def __str__(self):
        return f"{self.kind} {self.target} +{self.delay}ms"

    @property
    def command(self):
        """For a shell of its own; its last line is the kernel's answer."""
        text = f"usleep {self.delay * 1000}; "
        sysfs = pci.sysfs(self.target)
        asked = _SYSFS.format(file=f"{sysfs}/reset")
        if self.kind in ("pm", "bus"):
            return (f"{text}echo {self.kind} > {sysfs}/reset_method; {asked}; "
                    f"echo default > {sysfs}/reset_method")
        if self.kind == "sysfs":
            return text + asked
        if self.kind == "subordinate":
            return text + _SYSFS.format(file=f"{sysfs}/reset_subordinate")
        if self.kind == "bridge":
            return f"{text}rgx reset {self.target} flr restore"
        restore = " restore" if self.kind in _BARE else ""
        return f"{text}rgx reset {self.target} {self.kind}{restore}"


@dataclass
class Step:
    """Commands to the exerciser and the shell, in the order of the lists."""

    number: int
    kind: str
    before: list = field(default_factory=list)
    resets: list = field(default_factory=list)
    body: list = field(default_factory=list)  # "rgx ...", a number of ms, or shell
    after: list = field(default_factory=list)
    error: str = ""
    error_at: int = 0               # ms after the beginning
    recovering: frozenset = frozenset()  # what the error's recovery resets
    made: tuple = ()                # functions that are new after it
    domain: str = ""                # to be freed and made again
    unsure: bool = False            # a reset may fail on a stock kernel, too

    def __str__(self):
        parts = [f"{self.number} {self.kind}", *self.before, *(f"({one})" for one in self.resets)]
        parts += [f"({self.error} +{self.error_at}ms)"] * bool(self.error) + [self.domain]
        parts += [f"{one}ms" if isinstance(one, int) else one for one in self.body]
        return "; ".join(str(part) for part in [*parts, *self.after] if part)

    @property
    def marker(self):
        """A line in the kernel log before an error."""
        return f"soak: step {self.number}"

    @property
    def commands(self):
        """What is asked of the exerciser: one line of answer each."""
        return [one[4:] for one in [*self.before, *self.body, *self.after]
                if isinstance(one, str) and one.startswith("rgx ")]

    def _lines(self, commands):
        """Shell; commands to the exerciser that stand together are one call."""
        together = []
        for one in [*commands, ""]:
            if isinstance(one, str) and one.startswith("rgx "):
                together.append(one[4:])
                continue
            if together:
                yield f"rgx {' , '.join(together)} || rc=1"
                together = []
            if isinstance(one, int):
                yield f"usleep {one * 1000}"
            elif one:
                yield f"{one} || rc=1"

    def prelude(self):
        """What is done before the rest begins: an error must not come earlier."""
        lines = ["rc=0", *self._lines(self.before)]
        lines += [f"echo '{self.marker}' > /dev/kmsg"] * bool(self.error)
        return "\n".join([*lines, "[ $rc = 0 ]"]) + "\n"

    def script(self):
        """The rest for the guest; -- between its parts and before what each reset said."""
        lines = ["rc=0"]
        lines += [f"( {one.command} ) > /run/soak.{number} 2>&1 &"
                  for number, one in enumerate(self.resets)]
        lines += [*self._lines(self.body), "wait", *self._lines(self.after)]
        if self.error:
            # Where it has failed parking follows.
            lines += [f"over=$({aer.over(self.marker)}) || rc=1",
                      "case $over in *failed) usleep 500000 ;; esac"]
        for number in range(len(self.resets)):
            lines += ["echo --", f"cat /run/soak.{number}"]
        return "\n".join([*lines, "echo --", "[ $rc = 0 ] || echo failed"]) + "\n"


class Plan:
    """Steps, one after the other; `can_replace`: the kernel has IOMMUFD's replace."""

    def __init__(self, seed, can_replace=True):
        self._random = random.Random(seed)
        self._can_replace = can_replace
        self._number = 0
        self._bound = dict.fromkeys(PLACES, True)
        self._attached = dict.fromkeys(PLACES, False)
        self._mapped = {name: set() for name in DOMAINS}
        self._swapping = set()

    def step(self):
        """The next one."""
        self._number += 1
        kind, = self._random.choices(list(KINDS), KINDS.values())
        step = Step(self._number, kind)
        self._swapping = set()
        getattr(self, f"_{kind}")(step)
        return step

    # -- kinds of steps --------------------------------------------------------------------

    def _resets(self, step):
        step.resets = [self._reset() for _ in range(self._random.randint(1, 3))]
        self._storms(step)
        hit = [bdf for one in step.resets for bdf in sorted(one.hits)]
        self._work(step, self._random.randint(3, 8), hit * 2 + list(PLACES), True)
        # A VF shows nothing while its PF is in reset: its own reset may fail then.
        step.unsure = sum(bool(one.hits & with_vfs(PF)) for one in step.resets) > 1

    def _error(self, step):
        step.error = self._random.choice(list(ERRORS))
        step.error_at = self._random.randint(30, 150)
        step.recovering = below(ERRORS[step.error])
        # No driver, no recovery.
        self._bind_all(step.before, sorted(step.recovering))
        # Beside others: after a recovery that failed nobody restores a switch.
        asked = [self._reset() for _ in range(self._random.randint(0, 3))]
        step.resets = [one for one in asked if not one.hits & step.recovering]
        step.unsure = sum(bool(one.hits & with_vfs(PF)) for one in step.resets) > 1
        self._storms(step)
        self._work(step, self._random.randint(3, 8), sorted(step.recovering) * 2 + list(PLACES),
                   False)

    def _removal(self, step):
        target = self._random.choice(list(REMOVALS))
        gone = REMOVALS[target]
        self._going(step, gone)
        self._storms(step, swap=False)
        if PF in gone:
            self._no_vfs(step)
        step.body += [f"echo 1 > {pci.sysfs(target)}/remove", "wait",
                      "echo 1 > /sys/bus/pci/rescan"]
        # Their own drivers have found them.
        found = [bdf for bdf in gone if bdf not in VFS]
        step.body += [f"rgx unbind {bdf}" for bdf in found]
        self._taken(step, found)
        if PF in gone:
            self._new_vfs(step)

    def _renewal(self, step):
        self._going(step, VFS)
        self._storms(step, swap=False)
        self._no_vfs(step)
        step.body.append("wait")
        self._new_vfs(step)

    def _domain(self, step):
        step.domain = self._random.choice(DOMAINS)
        self._mapped[step.domain] = set()

    # -- parts of steps --------------------------------------------------------------------

    def _reset(self, functions=tuple(PLACES)):
        """Of one of these functions, or of all below a port."""
        pick, delay = self._random.choice, self._random.choice((0, 0, 10, 50, 120))
        whole = functions == tuple(PLACES)
        kind = pick(_OF_FUNCTIONS * 2 + ("bus", "hot", "hot", *_OF_PORTS, "secondary") * whole)
        if kind in _OF_PORTS:
            port = pick(PORTS)
            return Reset(kind, port, below(port), delay)
        if kind == "hot":
            target = pick((PLAIN, ONE, TWO, PF, UP))
            port = "00:1c.6" if target == UP else PLACES[target].ports[-1]
            return Reset(kind, target, below(port), delay)
        target = pick((PLAIN, ONE, TWO) if kind == "bus" else functions)
        if not whole and target in VFS:
            kind = pick(_OF_GOING_VFS)
        return Reset(kind, target, with_vfs(target), delay)

    def _storms(self, step, swap=True):
        """Threads that map and unmap, or attach one domain and the other, as long as it takes."""
        for name in self._random.sample(DOMAINS, self._random.randint(0, 2)):
            step.before.append(f"rgx storm start {name}")
            step.after.append(f"rgx storm stop {name}")
        if swap and self._random.random() < .3:
            bdf = self._random.choice(list(PLACES))
            pair = " ".join(self._random.sample(DOMAINS, 2))
            step.before.append(f"rgx swapstorm start {bdf} {pair}")
            step.after.append(f"rgx swapstorm stop {bdf}")
            self._swapping.add(bdf)
            self._attached[bdf] = True

    def _work(self, step, count, functions, binding):
        """Random calls; those about functions take one of the list."""
        for _ in range(count):
            step.body.append(self._random.choice((0, 5, 20, 50, 90)))
            what, = self._random.choices((self._move, self._map, self._cycle, self._bind),
                                         (6, 3, 1, binding))
            bdf = self._random.choice(functions)
            if what == self._map or bdf not in self._swapping:
                step.body += [f"rgx {command}" for command in what(bdf)]

    def _move(self, bdf):
        name = self._random.choice(DOMAINS)
        if not self._attached[bdf]:
            self._attached[bdf] = True
            return [f"attach {bdf} {name}"]
        how = self._random.choice(("swap", "replace", "detach"))
        if how == "replace" and self._can_replace:
            return [f"replace {bdf} {name}"]
        if how == "detach":
            self._attached[bdf] = False
            return [f"detach {bdf}"]
        return [f"detach {bdf}", f"attach {bdf} {name}"]

    def _map(self, _):
        name, slot = self._random.choice(DOMAINS), self._random.randrange(SLOTS)
        where = f"{name} {MORE + slot * 0x100000:#x} {0x1000 << slot:#x}"
        self._mapped[name] ^= {slot}
        return [f"map {where}" if slot in self._mapped[name] else f"unmap {where}"]

    def _cycle(self, bdf):
        """To the kernel's own domain and back."""
        return [] if self._attached[bdf] else [f"release {bdf}", f"claim {bdf}"]

    def _bind(self, bdf):
        self._bound[bdf] = not self._bound[bdf]
        return [f"bind {bdf}" if self._bound[bdf] else f"unbind {bdf}"]

    def _bind_all(self, commands, functions):
        commands += [f"rgx bind {bdf}" for bdf in functions if not self._bound[bdf]]
        self._bound.update(dict.fromkeys(functions, True))

    def _going(self, step, gone):
        """These are about to vanish, in the middle of a reset of one of them."""
        step.resets = [self._reset(tuple(gone)) for _ in range(self._random.randint(1, 2))]
        step.unsure = True
        step.body.append(self._random.choice((0, 20, 60, 120)))
        for bdf in gone:
            step.body += [f"rgx detach {bdf}"] * self._attached[bdf] + [f"rgx release {bdf}"]
            self._attached[bdf] = False
        step.made = tuple(gone)

    def _taken(self, step, found):
        for bdf in found:
            self._bound[bdf] = True
            step.body += [f"rgx bind {bdf}", f"rgx claim {bdf}"]

    def _no_vfs(self, step):
        self._bind_all(step.body, [PF])
        step.body.append(f"echo 0 > {pci.sysfs(PF)}/sriov_numvfs")

    def _new_vfs(self, step):
        step.body.append(make_vfs())
        self._taken(step, VFS)


def make_vfs():
    """Shell: two VFs that only the exerciser takes."""
    return (f"echo 0 > {pci.sysfs(PF)}/sriov_drivers_autoprobe; "
            f"echo {len(VFS)} > {pci.sysfs(PF)}/sriov_numvfs")
