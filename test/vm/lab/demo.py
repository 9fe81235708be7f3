# SPDX-License-Identifier: GPL-2.0
"""The race, without and with the module, side by side.

One stock kernel, one ATS endpoint in the exerciser's hands. Its domain is mapped and unmapped
all the time; sysfs resets it by FLR; in the middle of the reset a second domain is attached.
Every figure is read from outside the guest, from QEMU's trace and from guest memory, but for
what the attach returned.
"""

import contextlib
import errno
import time
from dataclasses import dataclass

from . import build, host, kernels, machines, memory, pci
from .vm import VM

BDF = "01:00.0"
MACHINE = "virtio-ats"
IOVA = 0x1000000
MANY = 50
# How long the storm rages in the reset before the attach; an FLR takes 100 ms at least.
STORM_SECONDS = 0.1
_BEFORE, _AFTER = 0x100, 0x101


@dataclass(frozen=True)
class Figures:
    """What one reset showed."""

    sent: int          # device-TLB invalidations from the FLR write to the reset's end
    ats_on: bool       # in config space, in the window
    present: bool      # the context entry, in the window
    attach: int        # the attach's answer in the window
    written: str       # when hardware got the new domain: "mid-reset", "reset_done" or "never"
    loops: int         # map/unmap pairs of the storm


def arguments(parser):
    """The demo's options."""
    parser.add_argument("--kernel", choices=kernels.KEYS)
    parser.add_argument("--mode", choices=[mode for mode in machines.MODES if mode != "noiommu"])


def _rgx(vm, *words):
    return vm.sh("rgx " + " ".join(map(str, words))).out.strip()


def _code(vm, *words):
    """0 or -errno."""
    return int(vm.sh("rgx " + " ".join(map(str, words)), check=False).out.split()[0])


def _pointer(vm):
    """The page-table root that the function's DMA walks, None where it is blocked."""
    root = memory.table_root(vm, BDF)
    return root and root[0]


def _prepare(vm):
    """The function is ours, with two domains; returns the page-table root of the second."""
    vm.sh("[ -d /sys/module/rglab ] || insmod /lab/rglab.ko")
    vm.sh(f"echo flr > {pci.sysfs(BDF)}/reset_method")
    _rgx(vm, "bind", BDF)
    _rgx(vm, "claim", BDF)
    for name in ("old", "new"):
        _rgx(vm, "domain new", name, BDF)
        _rgx(vm, "map", name, hex(IOVA), "0x1000")
    _rgx(vm, "attach", BDF, "new")
    root = _pointer(vm)
    _rgx(vm, "detach", BDF)
    return root


def _window(vm):
    """What there is to see in the middle of a reset; (ATS, present, attach, root)."""
    ats = int(_rgx(vm, "ats", BDF).split("ctrl=")[1].split()[0], 0)
    present = memory.context_entry(vm, BDF).present
    _code(vm, "detach", BDF)
    attach = _code(vm, "attach", BDF, "new")
    return bool(ats & 0x8000), present, attach, _pointer(vm)


def _race(vm, config, new_root):
    """One reset with the storm and the attach in it."""
    _code(vm, "detach", BDF)
    _rgx(vm, "attach", BDF, "old")
    _rgx(vm, "storm start", "old")
    vm.mark(_BEFORE)
    _rgx(vm, "hold", BDF)
    job = vm.bg(f"echo 1 > {pci.sysfs(BDF)}/reset")
    try:
        _rgx(vm, "waitreset", BDF)
        time.sleep(STORM_SECONDS)
        ats, present, attach, during = _window(vm)
    finally:
        _rgx(vm, "unhold", BDF)
    job.wait()
    vm.mark(_AFTER)
    loops = int(_rgx(vm, "storm stop", "old").split("loops=")[1].split()[0])
    after = _pointer(vm)
    written = ("mid-reset" if during == new_root
               else "reset_done" if after == new_root else "never")
    return Figures(_sent(vm, config), ats, present, attach, written, loops)


def _sent(vm, config):
    """Invalidations that the function was sent while it was in reset.

    The reset ends with the write that turns ATS on for the last time: the restoring of
    config space without the module, the gate's opening with it.
    """
    story = vm.trace().between(_BEFORE, _AFTER)
    start = story.flr_start(BDF, config.express)[-1]
    on = [event for event, value in story.after(start).ats_writes(BDF, config.ats) if value]
    # After the attach was refused there may be nothing that ATS were wanted for.
    window = story.after(start).before(on[-1]) if on else story.after(start)
    return len(window.dev_tlb(BDF))


def _expected_stock(kernel, mode):
    """Judges of what a stock kernel of that age does, and how it is worded."""
    if kernel.series < (7, 0):
        return {"sent": (lambda n: n > MANY, f"> {MANY}"), "ats_on": (lambda on: on, "on"),
                "present": (lambda there: there, "present"), "attach": (lambda rc: rc == 0, "0"),
                "written": (lambda when: when == "mid-reset", "mid-reset")}
    scalable = mode in ("sm-ss", "sm-fs")
    return {"sent": (lambda n: n == 0, "0"),
            "ats_on": (lambda on: on == scalable, "on" if scalable else "off"),
            "present": (lambda there: there == scalable, "present" if scalable else "not"),
            "attach": (lambda rc: rc == -errno.EBUSY, "-EBUSY"),
            "written": (lambda when: when == "never", "never")}


_EXPECTED_GATED = {
    "sent": (lambda n: n == 0, "0"), "ats_on": (lambda on: not on, "off"),
    "present": (lambda there: not there, "not present"), "attach": (lambda rc: rc == 0, "0"),
    "written": (lambda when: when == "reset_done", "reset_done")}

_ROWS = (
    ("sent", "ATC invalidations sent to the function in reset", str),
    ("ats_on", "ATS in its configuration space in the reset", lambda on: "on" if on else "off"),
    ("present", "its context entry in memory in the reset",
     lambda there: "present" if there else "not present"),
    ("attach", "the attach in the reset returned",
     lambda rc: "0" if rc >= 0 else "-" + errno.errorcode[-rc]),
    ("written", "hardware got the new domain", lambda when: {
        "mid-reset": "mid-reset", "reset_done": "at reset_done", "never": "never"}[when]),
)


def _wrong(figures, expected, who):
    """One line for each figure that is not what it should be."""
    return [f"{who}: {title}: {shown(getattr(figures, name))}, expected {expected[name][1]}"
            for name, title, shown in _ROWS if not expected[name][0](getattr(figures, name))]


def _table(stock, gated):
    rows = [("", "stock kernel", "with resetgate")]
    rows += [(title, shown(getattr(stock, name)), shown(getattr(gated, name)))
             for name, title, shown in _ROWS]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _races(kernel, mode):
    """Boot, race without and with the module; (stock, gated, what the command says, the trace)."""
    files = [*build.guest_files(kernel), ("lab/resetgate", build.command(kernel))]
    vm = VM(kernel, mode, MACHINE, files=files, name="demo")
    with contextlib.ExitStack() as stack:
        with host.step(f"{kernel.release}: boot in QEMU, {machines.title(mode)}", vm.console_path):
            stack.enter_context(vm)
        config = pci.config(vm, BDF)
        new_root = _prepare(vm)
        with host.step("the race on the stock kernel", vm.console_path):
            stock = _race(vm, config, new_root)
        with host.step("insmod resetgate.ko, the same race", vm.console_path):
            vm.sh("insmod /lab/resetgate.ko close_timeout_ms=10000")
            gated = _race(vm, config, new_root)
        shown = vm.sh("/lab/resetgate status").out.rstrip()
        _code(vm, "detach", BDF)
        vm.sh(f"rgx release {BDF}; rmmod resetgate")
    return stock, gated, shown, vm.trace_path


def run(kernel, mode):
    """The whole demo; 0 if every figure is as it should be."""
    stock, gated, shown, trace_path = _races(kernel, mode)
    print(f"\n{kernel.release}, {machines.title(mode)}, an FLR of an ATS endpoint under "
          f"map/unmap load ({stock.loops} and {gated.loops} pairs)\n")
    print(_table(stock, gated))
    wrong = (_wrong(stock, _expected_stock(kernel, mode), "stock kernel")
             + _wrong(gated, _EXPECTED_GATED, "with resetgate"))
    print("\n" + ("\n".join(wrong + ["FAIL: not what it should be"]) if wrong
                  else _verdict(stock)))
    print(f"evidence: {trace_path}\n\n# resetgate status\n{shown}")
    return 1 if wrong else 0


def _verdict(stock):
    if stock.sent:
        return ("PASS: the stock kernel sent invalidations to a function that may ignore them, and "
                "rewrote\nits tables under it; with resetgate the reset was quiet and the attach "
                "took effect after it.")
    return ("PASS: the stock kernel refused the attach; with resetgate it succeeded, and took "
            "effect\nafter a reset that was as quiet.")
