# SPDX-License-Identifier: GPL-2.0
"""SMMUv3's commands as events. Opcodes and bits are those of Arm IHI 0070, 4.

QEMU's trace has a line for each command that says its kind and its place in the queue, but not
whose it is. The queue is in guest memory and keeps a command until as many others came as it has
room for: read in time, it says all.
"""

from dataclasses import dataclass

from .guest_memory import dword, quads
from .host import LabError
from .smmuv3 import registers
from .trace import Command, CtxInv, DevTlbInv, IotlbInv, Other, PasidInv, Wait, function_of

_CMDQ_BASE, _CMDQ_PROD = 0x90, 0x98
_ENTRY = 16
# What CPUs may have written ahead of what they have told of.
_AHEAD = 512
_DUMP = "queue.bin"
_GLOBAL, _DOMAIN, _PAGE = 1, 2, 3
_OPCODES = {
    "PREFETCH_CONFIG": 0x01, "PREFETCH_ADDR": 0x02, "CFGI_STE": 0x03, "CFGI_STE_RANGE": 0x04,
    "CFGI_CD": 0x05, "CFGI_CD_ALL": 0x06, "CFGI_ALL": 0x04, "TLBI_NH_ALL": 0x10,
    "TLBI_NH_ASID": 0x11, "TLBI_NH_VA": 0x12, "TLBI_NH_VAA": 0x13, "TLBI_EL3_ALL": 0x18,
    "TLBI_EL3_VA": 0x1a, "TLBI_EL2_ALL": 0x20, "TLBI_EL2_ASID": 0x21, "TLBI_EL2_VA": 0x22,
    "TLBI_EL2_VAA": 0x23, "TLBI_S12_VMALL": 0x28, "TLBI_S2_IPA": 0x2a, "TLBI_NSNH_ALL": 0x30,
    "ATC_INV": 0x40, "PRI_RESP": 0x41, "RESUME": 0x44, "STALL_TERM": 0x45, "SYNC": 0x46,
}


@dataclass(frozen=True)
class Sync(Wait):
    """CMD_SYNC; `alone` if no command of its own list is in front of it, `signal` its CS: 0, none.

    A list is in the queue in one piece, so what follows another SYNC has nothing of its own.
    """

    alone: bool
    signal: int


def _bits(word, high, low):
    return word >> low & (1 << high - low + 1) - 1


def _typed(event, words, follows_sync):
    """The event that a command is."""
    index, at, name, low = event.index, event.at, event.name, words[0]
    bdf = function_of(_bits(low, 47, 32))
    pasid = _bits(low, 31, 12)
    asid, vmid = _bits(low, 63, 48), _bits(low, 47, 32)
    if name == "ATC_INV":
        return DevTlbInv(index, at, bdf, pasid if low & 1 << 11 else None)
    if name == "CFGI_STE":
        return CtxInv(index, at, 3, None, bdf)
    if name in ("CFGI_STE_RANGE", "CFGI_ALL"):
        return CtxInv(index, at, _GLOBAL, None, None)
    if name == "CFGI_CD":
        return PasidInv(index, at, 1, None, pasid, bdf)
    if name == "CFGI_CD_ALL":
        return PasidInv(index, at, 0, None, None, bdf)
    if name == "SYNC":
        return Sync(index, at, words[1] & ~3, low >> 32, follows_sync, _bits(low, 13, 12))
    if name in ("TLBI_NH_VA", "TLBI_EL2_VA"):
        return IotlbInv(index, at, _PAGE, asid)
    if name in ("TLBI_NH_ASID", "TLBI_EL2_ASID"):
        return IotlbInv(index, at, _DOMAIN, asid)
    if name in ("TLBI_S2_IPA", "TLBI_S12_VMALL"):
        return IotlbInv(index, at, _PAGE if name == "TLBI_S2_IPA" else _DOMAIN, vmid)
    if name.startswith("TLBI_"):
        return IotlbInv(index, at, _GLOBAL, None)
    return Other(index, at, f"smmuv3_{name.lower()}", "")


class Queue:
    """The queue as it stands now."""

    def __init__(self, vm):
        base, = quads(vm, registers(vm) + _CMDQ_BASE, 1)
        self._bits = base & 0x1F
        address = base & (1 << 52) - 1 & ~(_ENTRY - 1 | 0x1F)
        vm.qmp("pmemsave", val=address, size=_ENTRY << self._bits, filename=f"/mnt/{_DUMP}")
        path = vm.dir / _DUMP
        self._data = path.read_bytes()
        path.unlink()
        # Read last: who is there by now may have written over what was read.
        self._prod = dword(vm, registers(vm) + _CMDQ_PROD) & (1 << self._bits + 1) - 1

    @property
    def size(self):
        return 1 << self._bits

    def holds(self, slot, count):
        """Whether the last `count` commands, of which the last one was at `slot`, are there."""
        place, wrap = slot
        behind = self._prod - (place | wrap << self._bits) & (2 << self._bits) - 1
        return count + behind + _AHEAD <= self.size

    def words(self, place):
        raw = self._data[place * _ENTRY:(place + 1) * _ENTRY]
        return int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")


def _complete_one(event, queue, follows_sync):
    words = queue.words(event.slot[0])
    if _OPCODES.get(event.name) != words[0] & 0xFF:
        raise LabError(f"the trace has {event.name} at {event.slot[0]} of the SMMU's queue, "
                       f"memory has opcode {words[0] & 0xFF:#x}: was it written over?")
    return _typed(event, words, follows_sync)


def complete(events, read_queue):
    """The same events, of which commands are what they are; `read_queue()` gives the Queue.

    Where the reader began in the middle of a command, that one is left out.
    """
    commands = [event for event in events if isinstance(event, Command) and event.slot]
    if not commands:
        return [event for event in events if not isinstance(event, Command)]
    queue = read_queue()
    if not queue.holds(commands[-1].slot, len(commands)):
        raise LabError(f"{len(commands)} commands since the trace was read last: the SMMU's queue "
                       f"keeps {queue.size}; read it more often, or have a shorter storm")
    done, before = [], None
    for event in events:
        if not isinstance(event, Command):
            done.append(event)
        elif event.slot:
            done.append(_complete_one(event, queue, before == "SYNC"))
            before = event.name
    return done
