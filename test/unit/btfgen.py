# SPDX-License-Identifier: GPL-2.0
"""Builds small BTF files, whole or broken, for the tests of the reader."""

import struct

MAGIC = 0xEB9F
KINDS = {
    "int": 1, "ptr": 2, "array": 3, "struct": 4, "union": 5, "enum": 6,
    "fwd": 7, "typedef": 8, "volatile": 9, "const": 10, "restrict": 11,
    "func": 12, "func_proto": 13, "var": 14, "datasec": 15, "float": 16,
    "decl_tag": 17, "type_tag": 18, "enum64": 19,
}
# What follows the common 12 bytes: (fixed, per element).
EXTRA = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8),
         13: (0, 8), 14: (4, 0), 15: (0, 12), 17: (4, 0), 19: (0, 12)}


class Btf:
    """Every method that adds a type returns its ID; ID 0 is void."""

    def __init__(self):
        self.types = []
        self.strs = b"\0"

    def name(self, text):
        """Offset of a new string; equal strings are not shared, on purpose."""
        if not text:
            return 0
        off = len(self.strs)
        self.strs += text.encode() + b"\0"
        return off

    def add(self, kind, name="", ref=0, vlen=0, kflag=False, extra=b""):
        """Add any type, also a wrong one."""
        code = KINDS.get(kind, kind)
        info = int(kflag) << 31 | code << 24 | vlen
        self.types.append(struct.pack("<III", self.name(name), info, ref) + extra)
        return len(self.types)

    def int(self, name, size=4):
        return self.add("int", name, size, extra=struct.pack("<I", size * 8))

    def ptr(self, ref):
        return self.add("ptr", ref=ref)

    def const(self, ref):
        return self.add("const", ref=ref)

    def typedef(self, name, ref):
        return self.add("typedef", name, ref)

    def array(self, elem, count):
        return self.add("array", extra=struct.pack("<III", elem, elem, count))

    def proto(self, ret, *params):
        """A parameter is a type ID; a last 0 means variadic."""
        extra = b"".join(struct.pack("<II", 0, p) for p in params)
        return self.add("func_proto", ref=ret, vlen=len(params), extra=extra)

    def func(self, name, proto):
        return self.add("func", name, proto)

    def record(self, kind, name, size, members, kflag=False):
        """Members are (name, type, bit offset[, bit size])."""
        extra = b""
        for mname, mtype, off, *bits in members:
            if kflag:
                off |= (bits[0] if bits else 0) << 24
            extra += struct.pack("<III", self.name(mname), mtype, off)
        return self.add(kind, name, size, len(members), kflag, extra)

    def struct(self, name, size, members, kflag=False):
        return self.record("struct", name, size, members, kflag)

    def union(self, name, size, members, kflag=False):
        return self.record("union", name, size, members, kflag)

    def blob(self, hdr_len=24):
        types = b"".join(self.types)
        head = struct.pack("<HBBIIIII", MAGIC, 1, 0, hdr_len, 0, len(types),
                           len(types), len(self.strs))
        return head.ljust(hdr_len, b"\0") + types + self.strs


def parse(data):
    """Split a BTF file: (start of types, [(offset, kind, vlen)], start of strings)."""
    hdr_len, toff, tlen, soff, _ = struct.unpack_from("<IIIII", data, 4)
    start, at, types = hdr_len + toff, 0, [None]
    while at < tlen:
        _, info, _ = struct.unpack_from("<III", data, start + at)
        kind, vlen = info >> 24 & 0x7F, info & 0xFFFFFF
        types.append((start + at, kind, vlen))
        fixed, each = EXTRA.get(kind, (0, 0))
        at += 12 + fixed + each * vlen
    return start, types, hdr_len + soff


def string(data, strs, off):
    return data[strs + off:data.index(b"\0", strs + off)].decode()
