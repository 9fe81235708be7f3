# SPDX-License-Identifier: GPL-2.0
"""SMMUv3's commands by trace and queue, and its tables, on lines and words as QEMU's have them."""

import struct

import pytest

from lab import smmuv3, smmuv3_queue
from lab.host import LabError
from lab.trace import Command, CtxInv, DevTlbInv, IotlbInv, PasidInv, Refused, Trace, Wait

AT = "2026-01-01T00:00:00.000001Z "
# What a command is, its two quadwords.
COMMANDS = (
    ("CFGI_STE", 0x0000010000000003, 1),
    ("SYNC", 0x0000000002400046, 0),
    ("TLBI_NH_VA", 0x0012000000000012, 0x8000001),
    ("SYNC", 0x0000000002400046, 0),
    ("ATC_INV", 0x0000010000000040, 0x8000000),
    ("ATC_INV", 0x0000030000321840, 0x8000000),
    ("SYNC", 0x0000000002400046, 0),
    ("SYNC", 0x0000000002400046, 0),
    ("CFGI_CD", 0x0000010000321005, 1),
    ("TLBI_S12_VMALL", 0x0000000a00000028, 0),
    ("TLBI_NSNH_ALL", 0x0000000000000030, 0),
)
FIRST_SLOT, BITS = 2040, 11
MTREE = "  0000000009050000-000000000906ffff (prio 0, i/o): arm-smmuv3\r\n"


def _lines(first=FIRST_SLOT, bits=BITS):
    for number, (name, _, _) in enumerate(COMMANDS):
        slot = first + number
        place, wrap = slot & (1 << bits) - 1, slot >> bits & 1
        yield (f"smmuv3_cmdq_consume prod={place + 1} cons={place} prod.wrap={wrap} "
               f"cons.wrap={wrap}")
        yield f"smmuv3_cmdq_opcode <--- SMMU_CMD_{name}"


def _text(lines):
    return "".join(f"{AT}{line}\n" for line in lines)


class Vm:
    """Guest memory with a queue in it."""

    base, registers = 0x99900000, 0x9050000

    def __init__(self, directory, ahead=0):
        self.dir = directory
        self._prod = FIRST_SLOT + len(COMMANDS) + ahead & (2 << BITS) - 1
        self.memory = bytearray(16 << BITS)
        for number, (_, low, high) in enumerate(COMMANDS):
            place = FIRST_SLOT + number & (1 << BITS) - 1
            struct.pack_into("<QQ", self.memory, place * 16, low, high)

    def hmp(self, line):
        if line == "info mtree -f":
            return MTREE
        register = int(line.split()[-1], 16) - self.registers
        value = {0x90: 1 << 62 | self.base | BITS, 0x98: self._prod}[register]
        return f"{self.registers + register:016x}: 0x{value:x}\r\n"

    def qmp(self, command, val, size, filename):
        assert (command, val, size) == ("pmemsave", self.base, 16 << BITS)
        (self.dir / filename.rpartition("/")[2]).write_bytes(self.memory)


def _complete(vm):
    return lambda events: smmuv3_queue.complete(events, lambda: smmuv3_queue.Queue(vm))


def test_commands(tmp_path):
    """Each line is what memory says of its place, over the queue's end, too."""
    trace = Trace.parse(_text(_lines()), _complete(Vm(tmp_path)))
    assert [type(event) for event in trace] == [
        CtxInv, smmuv3_queue.Sync, IotlbInv, smmuv3_queue.Sync, DevTlbInv, DevTlbInv,
        smmuv3_queue.Sync, smmuv3_queue.Sync, PasidInv, IotlbInv, IotlbInv]
    context, = trace.of(CtxInv)
    assert (context.granularity, context.bdf) == (3, "01:00.0")
    assert [(event.bdf, event.pasid) for event in trace.of(DevTlbInv)] == [
        ("01:00.0", None), ("03:00.0", 0x321)]
    assert [(event.granularity, event.did) for event in trace.of(IotlbInv)] == [
        (3, 0x12), (2, 10), (1, None)]
    descriptor, = trace.of(PasidInv)
    assert (descriptor.bdf, descriptor.pasid) == ("01:00.0", 0x321)
    assert [event.alone for event in trace.of(Wait)] == [False, False, False, True]
    assert len(trace.dev_tlb("01:00.0")) == 1 and trace.dev_tlb("02:00.0") == []


def test_without_memory():
    """Where nobody can be asked any more, an ATC invalidation is anybody's."""
    trace = Trace.parse(_text(_lines()))
    assert all(isinstance(event, Command) for event in trace)
    assert len(trace.dev_tlb("01:00.0")) == 2


def test_began_in_the_middle(tmp_path):
    """A command of which the first line was not read is left out."""
    lines = list(_lines())[1:]
    assert len(Trace.parse(_text(lines), _complete(Vm(tmp_path)))) == len(COMMANDS) - 1


def test_written_over(tmp_path):
    """More commands than the queue keeps, or others than the trace has, are an error of the lab's."""
    with pytest.raises(LabError, match="read it more often"):
        Trace.parse(_text(_lines()), _complete(Vm(tmp_path, 1 << BITS)))
    vm = Vm(tmp_path)
    struct.pack_into("<Q", vm.memory, FIRST_SLOT * 16, 0x46)
    with pytest.raises(LabError, match="CFGI_STE at 2040 .* opcode 0x46"):
        Trace.parse(_text(_lines()), _complete(vm))


def test_refused():
    """DMA that an entry refuses, and one that a table does."""
    trace = Trace.parse(_text((
        "smmuv3_translate_abort smmuv3-iommu-memory-region-0-12 sid=0x300 abort on iova:0x1000000 "
        "is_write=0",
        "smmuv3_propagate_event SMMU_EVT_F_TRANSLATION sid=0x308",
        "smmuv3_cmdq_cfgi_ste streamid= 0x300")))
    assert [(event.bdf, event.name) for event in trace.of(Refused)] == [
        ("03:00.0", "abort"), ("03:01.0", "SMMU_EVT_F_TRANSLATION")]
    assert len(trace) == 2 and [event.bdf for event in trace.not_present()] == ["03:00.0"]


STAGE1 = smmuv3.StreamEntry((0x4863800b, 0x100000d6, 0, 0, 0, 0, 0, 0))
STAGE2 = smmuv3.StreamEntry((0xd, 0x10000000, 0x44c359400000012, 0x44ff0000, 0, 0, 0, 0))
ABORT = smmuv3.StreamEntry((1, 0, 0, 0, 0, 0, 0, 0))
BYPASS = smmuv3.StreamEntry((9, 0x100000000000, 0, 0, 0, 0, 0, 0))
NONE = smmuv3.StreamEntry((0,) * 8)


def test_stream_entries():
    """Entries as the driver writes them."""
    assert [entry.present for entry in (STAGE1, STAGE2, ABORT, BYPASS, NONE)] == [
        True, True, False, True, False]
    assert [entry.blocked for entry in (STAGE1, STAGE2, ABORT, BYPASS, NONE)] == [
        False, False, True, False, False]
    assert [entry.device_tlb for entry in (STAGE1, STAGE2, ABORT, BYPASS)] == [
        True, True, False, False]
    assert (STAGE1.pointer, STAGE1.pasid_bits, STAGE1.bypass) == (0x48638000, 0, False)
    assert (STAGE2.pointer, STAGE2.vmid, STAGE2.levels) == (0x44ff0000, 0x12, 4)
    assert BYPASS.bypass


def test_descriptor():
    """A context descriptor as the driver writes it: 48 bits take four levels."""
    words = (5315059609777424, 1131905024, 0, 18446744073508552516, 0, 0, 0, 0)
    descriptor = smmuv3.ContextDescriptor(words)
    assert descriptor.present and (descriptor.did, descriptor.pointer) == (18, 1131905024)
    assert descriptor.levels == 4


class Memory:
    """A machine with these quadwords and registers, the rest zeros."""

    def __init__(self, words):
        self._words = words

    def hmp(self, line):
        if line == "info mtree -f":
            return MTREE
        _, how, address = line.split()
        count, address = int(how[1:-2]), int(address, 16)
        return "\r\n".join(f"{address + 8 * number:016x}: "
                           f"0x{self._words.get(address + 8 * number, 0):016x}"
                           for number in range(count))


BASE, LEVEL1, LEVEL2, CD, TTB = 0x9050000, 0x43020000, 0x44000000, 0x48638000, 0x50000000


def _words(entry, sid=0x100):
    """A two-level stream table with one entry."""
    words = {BASE + 0x80: 1 << 62 | LEVEL1, BASE + 0x88: 0x10210, LEVEL1 + 8: LEVEL2 | 9}
    for number, word in enumerate(entry.words):
        words[LEVEL2 + (sid & 0xFF) * 64 + 8 * number] = word
    return words


def test_walk_stage1():
    """Four levels, and a block of 2 MiB."""
    words = _words(STAGE1)
    words |= {CD: 5315059609777424, CD + 8: TTB,
              TTB: TTB + 0x1003, TTB + 0x1000: TTB + 0x2003, TTB + 0x2000 + 8 * 8: TTB + 0x3003,
              TTB + 0x3000: 0x0060000043763f43 | 3, TTB + 0x2000 + 9 * 8: 0x0060000060000f41}
    vm = Memory(words)
    assert smmuv3.entry(vm, "01:00.0") == STAGE1 and smmuv3.entry(vm, "01:00.1") == NONE
    assert smmuv3.entry(vm, "02:00.0") == NONE
    assert smmuv3.table_root(vm, "01:00.0") == (TTB, 18)
    assert smmuv3.page(vm, "01:00.0", 0x1000000) == 0x43763000
    assert smmuv3.page(vm, "01:00.0", 0x1203000) == 0x60003000
    assert smmuv3.page(vm, "01:00.0", 0x1001000) is None
    assert smmuv3.page(vm, "02:00.0", 0x1000000) is None
    assert smmuv3.pasid_entry(vm, "01:00.0").did == 18
    assert smmuv3.pasid_entry(vm, "01:00.0", 1) is None


def test_walk_stage2():
    """The first of three levels is several tables in a row."""
    root = 0x44ff0000
    three = (0xd, 0x10000000, 0x44c355400000012, root, 0, 0, 0, 0)  # S2SL0 is 1
    words = _words(smmuv3.StreamEntry(three))
    iova = 600 << 30 | 0x1000
    words |= {root + 600 * 8: TTB | 3, TTB: TTB + 0x1003, TTB + 0x1008: 0x43763003}
    vm = Memory(words)
    assert smmuv3.table_root(vm, "01:00.0") == (root, 0x12)
    assert smmuv3.page(vm, "01:00.0", iova) == 0x43763000
    assert smmuv3.page(vm, "01:00.0", iova + 0x1000) is None
    assert smmuv3.pasid_entry(vm, "01:00.0") is None


def test_untranslated():
    """What passes as it is, and what does not pass."""
    vm = Memory(_words(BYPASS))
    assert smmuv3.table_root(vm, "01:00.0") == (0, None)
    assert smmuv3.page(vm, "01:00.0", 0x12345678) == 0x12345000
    vm = Memory(_words(ABORT))
    assert smmuv3.table_root(vm, "01:00.0") is None
    assert smmuv3.page(vm, "01:00.0", 0x12345678) is None
