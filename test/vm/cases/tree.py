# SPDX-License-Identifier: GPL-2.0
"""What the cases about more than one function have in common."""

import contextlib
import time

from lab import host, pci

from scenario import BEGIN, END, Story, rgx, tail

# A root port, the switch below it, a function below each of its ports, and one elsewhere.
ROOT, UP, DOWN = "00:1c.6", "08:00.0", "09:00.0"
ONE, TWO, ASIDE = "0a:00.0", "0b:00.0", "01:00.0"
IN, OUT = 0x110, 0x111  # marks in a window that lasts


def seen(one):
    """(whether its entry is present, whether its ATS is on)"""
    return one.context.present, one.ats_on


@contextlib.contextmanager
def held_bus(vm, below, start):
    """A bus reset that lasts as long as the body: its last write does not return.

    `below` is a function or a port right below the port that is reset; `start()` begins
    the reset and returns at once, with something to wait() for, or nothing.
    """
    rgx(vm, "hold", below, "bus")
    job = start()
    try:
        rgx(vm, "waitreset", below, timeout=60)
        yield job
    finally:
        rgx(vm, "unhold", below)
        result = job and job.wait()
    assert result is None or result.rc == 0, result.out


class Recovery:
    """An error that QEMU injects; over when the driver of `bdf` has seen one of `last`."""

    def __init__(self, vm, inject, bdf, last):
        rgx(vm, "events clear")
        self._vm, self._bdf, self._last = vm, bdf, last
        self._begin(inject)

    def _begin(self, inject):
        answer = self._vm.hmp(f"pcie_aer_inject_error {inject}")
        assert "error" not in answer.lower() or "OK" in answer, answer

    def events(self):
        """What that driver saw, in order: [(what, ATS control, Command)]."""
        rid = f"{int(self._bdf[:2], 16) << 8 | int(self._bdf[3:5], 16) << 3 | int(self._bdf[6]):04x}"
        words = [word.split(":") for word in self._vm.sh("rgx events").out.split() if ":" in word]
        return [(what, int(ats[4:], 16), int(cmd[4:], 16))
                for _, what, who, ats, cmd in words if who == rid]

    def wait(self, last=None):
        last = last or self._last
        patience = host.Patience(30)
        while not [what for what, _, _ in self.events() if what in last]:
            assert not patience.over(), f"no {last} in {self.events()}"
            time.sleep(.2)


class Containment(Recovery):
    """A port contains what is below it, see `rgx dpc`; `inject` is its words after trigger."""

    def __init__(self, vm, port, bdf, last, inject="hold"):
        self._port = port
        super().__init__(vm, inject, bdf, last)

    def _begin(self, inject):
        rgx(self._vm, "dpc", self._port, "trigger", inject)
        if "hold" in inject:
            rgx(self._vm, "dpc", self._port, "wait")

    def release(self):
        """The port may leave containment."""
        rgx(self._vm, "dpc", self._port, "release")


@contextlib.contextmanager
def told_all(vm, endpoints):
    """Marks around the body; gives a dictionary BDF -> Story at the end."""
    found = {}
    offset = vm.trace_path.stat().st_size
    vm.mark(BEGIN)
    yield found
    vm.mark(END)
    events = tail(vm, offset).between(BEGIN, END)
    found.update({one.bdf: Story(vm, one, events) for one in endpoints})


def flr_above(vm, bdf, ends, body):
    """The FLR of a function that others depend on, in a storm on those; `body` runs in it."""
    with told_all(vm, ends) as stories:
        for one in ends:
            rgx(vm, "storm start", one.a)
        rgx(vm, "hold", bdf, "flr")
        job = vm.bg(f"echo 1 > {pci.sysfs(bdf)}/reset")
        rgx(vm, "waitreset", bdf)
        vm.mark(IN)
        for one in ends:
            one.rounds(30)
        vm.mark(OUT)
        body()
        rgx(vm, "unhold", bdf)
        job.wait()
        if vm.loaded("resetgate"):
            settled(vm, ends)
        for one in ends:
            rgx(vm, "storm stop", one.a)
    return stories


def settled(vm, endpoints):
    """Wait until all of them are open again: those that nobody restores open on their own."""
    paths = " ".join(f"/sys/bus/pci/devices/0000:{one.bdf}/resetgate/state" for one in endpoints)
    vm.sh(f"i=0; while grep -qvx open {paths}; do i=$((i+1)); [ $i -lt 250 ] || exit 1; "
          "sleep .1; done")


def found_again(vm):
    """The whole switch is found again. A bus reset uses up what its ports have saved of their
    config space; where nobody saves it anew (6.1), a recovery after it restores nothing, module
    or not, and the switch leads nowhere.
    """
    vm.sh(f"echo 1 > {pci.sysfs(UP)}/remove; echo 1 > /sys/bus/pci/rescan")


def anew(vm, ends):
    """Nobody has restored them: they are found again as they were at boot."""
    for one in ends:
        one.close(restored=False)
        vm.sh(f"echo 1 > {pci.sysfs(one.bdf)}/remove")
    vm.sh("echo 1 > /sys/bus/pci/rescan")
