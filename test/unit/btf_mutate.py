#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Changes one prototype or one member in a real BTF file, keeping its size.

    btf_mutate.py IN.btf OUT.btf --func NAME [--param N] [--remove]
    btf_mutate.py IN.btf OUT.btf --member STRUCT.MEMBER [--remove]
    btf_mutate.py IN.btf OUT.btf --member STRUCT.MEMBER --move BYTES

Without --remove or --move a type is changed to another one: a parameter's
(the first, or number N from 0; the return type if there are none), or a
member's. --remove gives the function or member another name. The function's
prototype is changed for every function that shares it: BTF shares them.
Exits with 1 if there is no such function or member.
"""

import argparse
import struct
import sys

from btfgen import KINDS, parse, string


class Mutator:
    """Finds and overwrites; never moves anything."""

    def __init__(self, data):
        self.data = bytearray(data)
        _, self.types, self.strs = parse(data)

    def word(self, at):
        return struct.unpack_from("<I", self.data, at)[0]

    def put(self, at, value):
        struct.pack_into("<I", self.data, at, value)

    def named(self, kind, name):
        """Offsets of all types of this kind and name."""
        code = KINDS[kind]
        return [at for at, k, _ in self.types[1:]
                if k == code and string(self.data, self.strs, self.word(at)) == name]

    def other(self, ref):
        """An ID of a typedef or integer that is not @ref and has another name."""
        mine = self.word(self.types[ref][0]) if ref else None
        for tid, (at, kind, _) in enumerate(self.types[1:], 1):
            if kind in (KINDS["typedef"], KINDS["int"]) and tid != ref \
                    and self.word(at) and self.word(at) != mine:
                return tid
        raise LookupError("nothing to change the type to")

    def rename(self, at):
        """Point a name into the middle of its own string: shorter, so another."""
        self.put(at, self.word(at) + 1)

    def func(self, name, param, remove):
        funcs = self.named("func", name)
        if not funcs:
            raise LookupError(f"no function {name}")
        for at in funcs:
            if remove:
                self.rename(at)
                continue
            proto, _, vlen = self.types[self.word(at + 8)]
            if vlen and param >= vlen:
                raise LookupError(f"{name} has {vlen} parameters")
            slot = proto + 12 + 8 * param + 4 if vlen else proto + 8
            self.put(slot, self.other(self.word(slot)))

    def member(self, path, remove, move):
        strct, _, name = path.partition(".")
        done = False
        for at in self.named("struct", strct):
            for i in range(self.word(at + 4) & 0xFFFFFF):
                member = at + 12 + 12 * i
                if string(self.data, self.strs, self.word(member)) != name:
                    continue
                done = True
                if remove:
                    self.rename(member)
                elif move:
                    self.put(member + 8, self.word(member + 8) + 8 * move)
                else:
                    self.put(member + 4, self.other(self.word(member + 4)))
        if not done:
            raise LookupError(f"no member {path}")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("src")
    ap.add_argument("dst")
    what = ap.add_mutually_exclusive_group(required=True)
    what.add_argument("--func")
    what.add_argument("--member")
    ap.add_argument("--param", type=int, default=0)
    ap.add_argument("--remove", action="store_true")
    ap.add_argument("--move", type=int, default=0)
    args = ap.parse_args()
    with open(args.src, "rb") as src:
        mut = Mutator(src.read())
    try:
        if args.func:
            mut.func(args.func, args.param, args.remove)
        else:
            mut.member(args.member, args.remove, args.move)
    except LookupError as err:
        sys.exit(f"btf_mutate: {err}")
    with open(args.dst, "wb") as dst:
        dst.write(mut.data)


if __name__ == "__main__":
    main()
