# SPDX-License-Identifier: GPL-2.0
"""Makes small kernel images: ELF, bzImage, arm64 Image, EFI zboot, with BTF and kallsyms."""

import re
import struct
import subprocess

from btfgen import Btf

BANNER = b"Linux version %s (somebody@somewhere) #1 SMP\n\0"
BASE = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "int": 4, "bool": 1, "long unsigned int": 8,
        "unsigned int": 4, "phys_addr_t": 8, "spinlock_t": 4, "raw_spinlock_t": 4, "char": 1,
        "pci_ers_result_t": 4, "pci_channel_state_t": 4}
WORD = 8  # of every other type that the table names by a typedef


def pad(data, align):
    return data + bytes(-len(data) % align)


class Types:
    """BTF with what a C declaration, as the table of targets has it, names."""

    def __init__(self):
        self.btf, self.ids = Btf(), {}

    def named(self, name):
        if name not in self.ids:
            if name == "void":
                return 0
            # The whole structure, if the table has members of it, comes by itself.
            self.ids[name] = self.btf.add("fwd", name.removeprefix("struct ")) \
                if name.startswith("struct ") else self.btf.int(name, BASE.get(name, WORD))
        return self.ids[name]

    def type(self, text):
        """Of: NAME, TYPE *, TYPE[N], const TYPE, volatile TYPE, TYPE (*)(TYPES), TYPE (TYPES)."""
        text = text.strip()
        if text.endswith(")"):
            depth = 0
            for at in range(len(text) - 1, -1, -1):
                depth += (text[at] == ")") - (text[at] == "(")
                if not depth:
                    break
            params = [] if text[at + 1:-1] == "void" else split(text[at + 1:-1])
            head, pointer = text[:at].strip(), False
            if head.endswith("(*)"):
                head, pointer = head[:-3], True
            proto = self.btf.proto(self.type(head), *map(self.type, params))
            return self.btf.ptr(proto) if pointer else proto
        if match := re.fullmatch(r"(.*)\[(\d+)\]", text):
            return self.btf.array(self.type(match[1]), int(match[2]))
        if text.endswith("*"):
            return self.btf.ptr(self.type(text[:-1]))
        for word in ("const", "volatile"):
            if text.startswith(word + " "):
                return self.btf.add(word, ref=self.type(text.removeprefix(word)))
        return self.named(text)


def split(text):
    """Parts between the commas that are in no parentheses."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and not depth:
            parts.append(text[start:i])
            start = i + 1
    return parts + [text[start:]]


def btf_of(table, without=()):
    """BTF that has all rows of the table (rg-judge --table), but for some."""
    types, records = Types(), {}
    for row in dict.fromkeys(map(tuple, table)):
        if row[0] == "target" and row[3] != "-" and row[1] not in without:
            types.btf.func(row[1], types.type(row[3]))
        elif row[0] in ("member", "with") and row[1] not in without:
            strct, path = row[1].split(".", 1)
            records.setdefault(strct, []).append((path, row[3], int(row[4])))
    for strct, members in records.items():
        fields, inner, at = [], {}, 64
        for path, text, where in members:
            off = where * 8 if where >= 0 else at
            if "." in path:
                inner.setdefault(path.split(".")[0], []).append((path.split(".")[1], text))
            else:
                fields.append((path, types.type(text), off))
            at += 256
        for name, parts in inner.items():
            body = [(part, types.type(text), 64 * i) for i, (part, text) in enumerate(parts)]
            fields.append((name, types.btf.struct("", 64, body), at))
            at += 1024
        types.btf.struct(strct, 4096, fields)
    return types.btf.blob()


def kallsyms(names, align=8, before=b""):
    """The symbol table as scripts/kallsyms.c writes it, with a token for each character."""
    tokens = [chr(i).encode() if 33 <= i < 127 else b"t%d" % i for i in range(256)]
    tokens[1] = b"pci_"
    data = [b"\x54" + name.replace("pci_", "\x01").encode() for name in names]
    stream, markers = b"", []
    for i, name in enumerate(data):
        if i % 256 == 0:
            markers.append(len(stream))
        size = len(name)
        stream += bytes([size]) if size < 128 else bytes([size & 0x7f | 0x80, size >> 7])
        stream += name
    table, index = b"", []
    for token in tokens:
        index.append(len(table))
        table += token + b"\0"
    out = pad(before, align)
    for part in (struct.pack("<I", len(names)), stream,
                 b"".join(struct.pack("<I", m) for m in markers), table,
                 b"".join(struct.pack("<H", i) for i in index)):
        out = pad(out, align) + part
    return pad(out, align) + bytes(64)


def symbols_of(table, without=(), extra=()):
    """Names of a kernel that has all targets, among others; enough for a second marker."""
    names = [row[1] for row in table if row[0] == "target" and row[1] not in without]
    return [f"filler_{i}" for i in range(300)] + sorted(names) + list(extra)


def elf(btf=None, rodata=b"", release=b"6.12.9-test", machine=62, symtab=()):
    """A 64-bit ELF file with these sections."""
    sections = [(b"", 0, b"", 0)]
    if btf is not None:
        sections.append((b".BTF", 1, btf, 0))
    sections.append((b".rodata", 1, pad(BANNER % release, 8) + rodata, 0))
    if symtab:
        strings, table = b"\0", bytes(24)
        for name in symtab:
            table += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, 0x1000, 16)
            strings += name.encode() + b"\0"
        sections.append((b".symtab", 2, table, len(sections) + 1))
        sections.append((b".strtab", 3, strings, 0))
    names, where = b"\0", []
    for name, *_ in sections:
        where.append(len(names))
        names += name + b"\0"
    where.append(len(names))
    sections.append((b".shstrtab", 3, names + b".shstrtab\0", 0))
    body, headers = bytes(64), b""
    for (name, kind, data, link), at in zip(sections, where):
        body = pad(body, 8)
        headers += struct.pack("<IIQQQQIIQQ", at, kind, 0, 0, len(body), len(data), link, 0, 8, 0)
        body += data
    body = pad(body, 8)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = ident + struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 0, len(body), 0, 64, 0, 0, 64,
                               len(sections), len(sections) - 1)
    return head + body[64:] + headers


def tokens(times):
    """Token tables of symbol tables that have no names, each with its index."""
    one = b"a\0" * 256 + b"".join(struct.pack("<H", 2 * i) for i in range(256))
    return one * times


def endless(symbols, names):
    """An ELF file whose symbols' names have no end, or one that is far."""
    data = bytearray(elf(symtab=["x" * names] + [f"s{i}" for i in range(symbols)]))
    table = data.index(struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0x1000, 16))
    for i in range(symbols + 1):
        struct.pack_into("<I", data, table + 24 * i, 1)
    return bytes(data)


PACKERS = {"xz": ["xz", "-c", "--check=crc32"], "gzip": ["gzip", "-c"], "zstd": ["zstd", "-cq"],
           "lz4": ["lz4", "-lc"], "bzip2": ["bzip2", "-c"], "lzma": ["xz", "-c", "--format=lzma"],
           "lzop": ["lzop", "-c"]}


def packed(data, how):
    return subprocess.run(PACKERS[how], input=data, stdout=subprocess.PIPE, check=True).stdout


def bzimage(payload, how="gzip", sectors=4):
    """A bzImage whose payload is at the start of the protected-mode part."""
    data = payload if how is None else packed(payload, how)
    if how not in (None, "gzip"):
        data += struct.pack("<I", len(payload))
    head = bytearray((sectors + 1) * 512)
    head[0x1f1] = sectors
    struct.pack_into("<H", head, 0x1fe, 0xaa55)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x206, 0x20f)
    struct.pack_into("<II", head, 0x248, 16, len(data))
    return bytes(head) + bytes(16) + data + b"signature"


def pe(head, text, data):
    """A header as EFI wants it, and two sections; the second is larger once it is loaded."""
    head, start = bytearray(pad(head, 64)), 0x200
    text, data = pad(text, 16), pad(data, 16)
    struct.pack_into("<I", head, 0x3c, len(head))
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0xaa64, 2, 0, 0, 0, 0xa0, 0x206) + bytes(0xa0)
    for name, size, at, raw in ((b".text", len(text), start, text),
                                (b".data", len(data) + 4096, start + len(text), data)):
        head += struct.pack("<8sIIIIIIHHI", name, size, at, len(raw), at, 0, 0, 0, 0, 0)
    return bytes(head) + bytes(start - len(head)) + text + data


def arm64(btf, rodata=b"", release=b"6.12.9-test", efi=True):
    """An arm64 Image: a header, then what an ELF file would have in sections."""
    head = bytearray(64)
    head[0x38:0x3c] = b"ARM\x64"
    text = pad(BANNER % release, 8) + pad(rodata, 8) + btf
    if not efi:
        return bytes(head) + text + bytes(512)
    head[0:2] = b"MZ"
    return pe(head, text, bytes(512))


def zboot(image, how="gzip"):
    data = packed(image, how)
    head = bytearray(64)
    head[0:2], head[4:8] = b"MZ", b"zimg"
    struct.pack_into("<II", head, 8, 0x200, len(data))
    head[0x18:0x18 + len(how)] = how.encode()
    return pe(head, data, bytes(2048))
