# SPDX-License-Identifier: GPL-2.0
"""QEMU's trace as typed events in order: what reached the IOMMU and the endpoint.

The kernel's own view is not asked: this file is the judge of most cases. Functions are
named as "01:00.0", requester IDs of invalidations are translated to that.
"""

import functools
import re
from dataclasses import dataclass
from datetime import datetime

# A mark is a dword written by the guest to the host bridge's subsystem ID, which is read-only:
# it changes nothing and shows up in the trace in order with everything else.
MARK_BDF, MARK_OFFSET = "00:00.0", 0x2C
DEVCTL, DEVCTL_FLR = 8, 0x8000
ATS_CTRL, ATS_ENABLE = 6, 0x8000
BRIDGE_CONTROL, BRIDGE_RESET = 0x3e, 0x40
COMMAND, COMMAND_MASTER = 4, 4


@dataclass(frozen=True)
class Event:
    """`at` is the host's clock in seconds, `index` the place in the whole trace."""

    index: int
    at: float


@dataclass(frozen=True)
class CfgWrite(Event):
    """A configuration write that reached the function."""

    bdf: str
    offset: int
    value: int


@dataclass(frozen=True)
class CfgRead(Event):
    """A configuration read that reached the function; traced only where a case asks for it."""

    bdf: str
    offset: int


@dataclass(frozen=True)
class Mark(Event):
    """A mark left by the guest."""

    value: int


@dataclass(frozen=True)
class DevTlbInv(Event):
    """A device-TLB (ATC) invalidation: descriptor type 3, or 8 with a PASID. QEMU's AMD-Vi does
    not say whose: `bdf` is None, and each case has one function with ATS to invalidate for.
    """

    bdf: str
    pasid: int = None


@dataclass(frozen=True)
class CtxInv(Event):
    """Context-cache invalidation; granularity 1 global, 2 domain, 3 device. AMD-Vi's of a device
    table entry is one of a device.
    """

    granularity: int
    did: int
    bdf: str


@dataclass(frozen=True)
class IotlbInv(Event):
    """IOTLB invalidation, by PASID (type 6) or not (type 2); granularity 1 global, 2 domain, 3 page.
    SMMUv3's domain ID is its ASID or VMID.
    """

    granularity: int
    did: int
    pasid: int = None


@dataclass(frozen=True)
class PasidInv(Event):
    """PASID-cache invalidation; granularity 0 domain, 1 PASID, 3 global. SMMUv3's of a context
    descriptor is one of a PASID of a function, of all its descriptors one of granularity 0.
    """

    granularity: int
    did: int
    pasid: int
    bdf: str = None


@dataclass(frozen=True)
class Wait(Event):
    """A wait descriptor, or AMD-Vi's completion wait: its address and data."""

    addr: int
    data: int


@dataclass(frozen=True)
class Command(Event):
    """A command of SMMUv3's as the trace has it; `slot` is its place in the queue with the wrap bit
    of that, None where the reader began behind the line that says it. See smmuv3_queue.py.
    """

    name: str
    slot: tuple


@dataclass(frozen=True)
class Refused(Event):
    """DMA of a function that SMMUv3 did not let pass, and the name of what it recorded: the entry
    says abort, or an event of its queue.
    """

    bdf: str
    name: str


@dataclass(frozen=True)
class RootSet(Event):
    """The guest has set the root-table pointer."""

    text: str


@dataclass(frozen=True)
class Other(Event):
    """A traced event without a type of its own, e.g. vtd_ce_not_present."""

    name: str
    text: str


def function_of(sid):
    """The function of a source, stream or requester ID."""
    return f"{sid >> 8:02x}:{(sid >> 3) & 31:02x}.{sid & 7}"


def _bits(value, high, low):
    return (value >> low) & ((1 << (high - low + 1)) - 1)


def _descriptor(index, at, high, low):
    """A VT-d invalidation descriptor, VT-d spec 4.0 sec. 6.5.2."""
    kind = _bits(low, 3, 0)
    if kind == 1:
        return CtxInv(index, at, _bits(low, 5, 4), _bits(low, 31, 16), function_of(_bits(low, 47, 32)))
    if kind == 2:
        return IotlbInv(index, at, _bits(low, 5, 4), _bits(low, 31, 16))
    if kind == 3:
        return DevTlbInv(index, at, function_of(_bits(low, 47, 32)))
    if kind == 5:
        return Wait(index, at, high, _bits(low, 63, 32))
    if kind == 6:
        return IotlbInv(index, at, _bits(low, 5, 4), _bits(low, 31, 16), _bits(low, 51, 32))
    if kind == 7:
        return PasidInv(index, at, _bits(low, 5, 4), _bits(low, 31, 16), _bits(low, 51, 32))
    if kind == 8:
        return DevTlbInv(index, at, function_of(_bits(low, 31, 16)), _bits(low, 51, 32))
    return None


_LINE = re.compile(r"^(?P<at>\d{4}-\d\d-\d\dT[\d:.]+Z) "
                   r"(?P<name>(?:vtd|pci|amdvi|smmuv3)_\w+) ?(?P<text>.*)$")
_CFG = re.compile(r"(\w\w:\w\w\.\w) @0x(\w+) (?:<-|->) 0x(\w+)$")
_DESC = re.compile(r"type .*high 0x(\w+) low 0x(\w+)$")


def _cfg(index, at, name, text):
    match = _CFG.search(text)
    bdf, offset, value = match[1], int(match[2], 16), int(match[3], 16)
    if name == "pci_cfg_read":
        return CfgRead(index, at, bdf, offset)
    if (bdf, offset) == (MARK_BDF, MARK_OFFSET):
        return Mark(index, at, value)
    return CfgWrite(index, at, bdf, offset, value)


def _amd_entry(index, at, text):
    return CtxInv(index, at, 3, None, re.search(r"\w\w:\w\w\.\w", text)[0])


def _amd_wait(index, at, text):
    address, data = re.findall(r"0x(\w+)", text)
    return Wait(index, at, int(address, 16), int(data, 16))


_AMD = {
    "amdvi_iotlb_inval": lambda index, at, _: DevTlbInv(index, at, None),
    "amdvi_devtab_inval": _amd_entry,
    "amdvi_pages_inval": lambda index, at, text: IotlbInv(
        index, at, 2, int(re.search(r"0x(\w+)", text)[1], 16)),
    "amdvi_all_inval": lambda index, at, _: IotlbInv(index, at, 1, None),
    "amdvi_completion_wait": _amd_wait,
}


_SMMU_REFUSED = re.compile(r"(\w+) sid=0x(\w+)")


def _smmu(index, at, name, text):
    """A line of SMMUv3's; those that say again what the opcode said are nothing."""
    if name in ("smmuv3_propagate_event", "smmuv3_translate_abort"):
        found = _SMMU_REFUSED.search(text)
        what = "abort" if name == "smmuv3_translate_abort" else found[1]
        return Refused(index, at, function_of(int(found[2], 16)), what)
    if name == "smmuv3_cmdq_consume_error":
        return Other(index, at, name, text)
    return None


class Parser:
    """Lines to events; SMMUv3's line about a command is the second of two."""

    def __init__(self):
        self._slot = None

    def __call__(self, index, line):
        match = _LINE.match(line)
        if not match:
            return None
        at = _minute(match["at"][:16]) + float(match["at"][17:-1])
        if match["name"].startswith("smmuv3_"):
            return self._smmu(index, at, match["name"], match["text"])
        return _event(index, at, match["name"], match["text"])

    def _smmu(self, index, at, name, text):
        if name == "smmuv3_cmdq_consume":
            _, place, _, wrap = map(int, re.findall(r"=(\d+)", text))
            self._slot = place, wrap
            return None
        if name != "smmuv3_cmdq_opcode":
            return _smmu(index, at, name, text)
        slot, self._slot = self._slot, None
        return Command(index, at, text.rpartition("SMMU_CMD_")[2].strip(), slot)


@functools.lru_cache(maxsize=8)
def _minute(text):
    """The epoch of a minute: a storm has thousands of lines in each."""
    return datetime.fromisoformat(text + "+00:00").timestamp()


def _event(index, at, name, text):
    if name in ("pci_cfg_write", "pci_cfg_read"):
        return _cfg(index, at, name, text)
    if name == "vtd_inv_desc":
        desc = _DESC.search(text)
        return _descriptor(index, at, int(desc[1], 16), int(desc[2], 16)) if desc else None
    if name in _AMD:
        return _AMD[name](index, at, text)
    if name.startswith("vtd_inv_desc_"):
        return None  # says again what vtd_inv_desc said
    if name == "vtd_reg_dmar_root":
        return RootSet(index, at, text)
    return Other(index, at, name, text)


class Reader:
    """Follows a trace that is being written: every line is parsed once.

    A storm writes a thousand lines a second, and cases ask again and again. `complete` makes
    of events that the trace has only in part what they are.
    """

    def __init__(self, path, complete=list):
        self._path, self._offset, self._lines, self._events = path, 0, 0, []
        self._parse, self._complete, self._done = Parser(), complete, 0

    def read(self):
        """All events since the last forget()."""
        self._follow()
        self._events[self._done:] = self._complete(self._events[self._done:])
        self._done = len(self._events)
        return self._events

    def _follow(self):
        try:
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return
        # A last line without its end is still being written.
        data = data[:data.rfind(b"\n") + 1]
        self._offset += len(data)
        for line in data.decode(errors="replace").splitlines():
            event = self._parse(self._lines, line)
            self._lines += 1
            if event:
                self._events.append(event)

    def forget(self):
        """A new case begins: what was before is not its business, but for the root table."""
        self._follow()
        self._events = [event for event in self._events if isinstance(event, RootSet)]
        self._done = len(self._events)


class Trace:
    """A slice of the trace. Slices keep the events' places in the whole."""

    def __init__(self, events):
        self.events = list(events)

    @classmethod
    def parse(cls, text, complete=list):
        # A last line without its end is still being written.
        lines = text[:text.rfind("\n") + 1].splitlines()
        return cls(complete([event for event in map(Parser(), range(len(lines)), lines) if event]))

    @classmethod
    def load(cls, path):
        try:
            return cls.parse(path.read_text(errors="replace"))
        except FileNotFoundError:
            return cls([])

    def __iter__(self):
        return iter(self.events)

    def __len__(self):
        return len(self.events)

    def of(self, *kinds):
        return [event for event in self.events if isinstance(event, kinds)]

    def mark(self, value):
        """The last mark of that value; a missing one is an error of the case."""
        found = [event for event in self.of(Mark) if event.value == value]
        if not found:
            raise LookupError(f"no mark {value:#x} in the trace")
        return found[-1]

    def after(self, event):
        return Trace(e for e in self.events if e.index > event.index)

    def before(self, event):
        return Trace(e for e in self.events if e.index < event.index)

    def between(self, first, last):
        """Events between two marks (by value) or two events."""
        first = self.mark(first) if isinstance(first, int) else first
        last = self.mark(last) if isinstance(last, int) else last
        return self.after(first).before(last)

    def dev_tlb(self, bdf):
        """Device-TLB invalidations of a function, and those of which QEMU does not say whose."""
        # A command that nobody could look up is one of those.
        return [event for event in self.of(DevTlbInv, Command)
                if (event.name == "ATC_INV" if isinstance(event, Command)
                    else event.bdf in (bdf, None))]

    def cfg(self, bdf, offset=None):
        return [event for event in self.of(CfgWrite)
                if event.bdf == bdf and offset in (None, event.offset)]

    def flr_start(self, bdf, express):
        """The writes that start an FLR; `express` is the function's capability offset."""
        return [event for event in self.cfg(bdf, express + DEVCTL) if event.value & DEVCTL_FLR]

    def bus_reset_start(self, port):
        """The writes of a port's Bridge Control that start a secondary bus reset."""
        return [event for event in self.cfg(port)
                if event.offset <= BRIDGE_CONTROL <= event.offset + 2
                and event.value >> 8 * (BRIDGE_CONTROL - event.offset) & BRIDGE_RESET]

    def ats_writes(self, bdf, ats):
        """(event, on) for every write of the ATS control register."""
        return [(event, bool(event.value & ATS_ENABLE))
                for event in self.cfg(bdf, ats + ATS_CTRL)]

    def master_writes(self, bdf):
        """(event, on) for every write of Bus Master Enable."""
        return [(event, bool(event.value & COMMAND_MASTER)) for event in self.cfg(bdf, COMMAND)]

    def not_present(self):
        """Requests that met an entry by which all are refused."""
        return [event for event in self.of(Other, Refused)
                if event.name in ("vtd_ce_not_present", "abort")]
