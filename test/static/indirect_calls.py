#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Finds every indirect call and jump of built modules, for x86-64 and arm64.

    indirect_calls.py [--allow FILE] [--stale-fails] KO...

With IBT and BTI a function whose address the kernel never takes has no landing
pad: an indirect call of it works in most virtual machines and kills a real one.
Such functions are called as src/arch.h has it: through static calls, which are
direct, or on arm64 through stubs that return into them. Every function that
calls indirectly has to be in the list, with the reason why what it calls has a
landing pad:

    [ARCH] FUNCTION [N]: REASON   at most N indirect calls in it, 1 without a number
    [ARCH] @SYMBOL: REASON        calls through this symbol, in any function

ARCH in brackets, x86-64 or arm64, is for an entry that only one of them needs.

FUNCTION may be a pattern such as __traceiter_*; N then holds for each one.
A function of which the compiler makes several copies is counted as one.

Exits with 1 for a call that the list does not allow, and with --stale-fails
for an entry that no module needs; with 2 if a file cannot be disassembled.
"""

import argparse
import collections
import fnmatch
import pathlib
import re
import shutil
import subprocess
import sys

LABEL = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
INSN = re.compile(r"^\s+[0-9a-f]+:\t(?:(?:[0-9a-f]{2} )+|[0-9a-f]{8} )\s*\t?(.*)$")
RELOC = re.compile(r"R_(?:X86_64|AARCH64)_")
BRANCH = re.compile(r"^(?:(?:cs|ds|bnd|notrack|data16|rex\.\w+) )*(?:call|jmp)[lqw]?\b\s*(.*)$")
THUNK = re.compile(r"__x86_indirect_(?:call_|jump_)?thunk_\w+")
# RET meets no landing pad, but where it does not return it is a call: the stubs alone may.
ARM_BRANCH = re.compile(r"^(?:blra|bra|blr|br)\w*\s+\w+|^ret\s+(?!x30)\w+")
ENTRY = re.compile(r"^(?:\[(x86-64|arm64)\]\s+)?(@?[\w*.]+)(?:\s+(\d+))?\s*:\s*\S")
SUFFIX = re.compile(r"\.(?:cold|part\.\d+|isra\.\d+|constprop\.\d+).*$")

# ELF's e_machine: our name, BFD's, the tools that may know it.
MACHINES = {62: ("x86-64", "elf64-x86-64", ("objdump", "x86_64-linux-gnu-objdump")),
            183: ("arm64", "elf64-littleaarch64", ("objdump", "aarch64-linux-gnu-objdump"))}

Call = collections.namedtuple("Call", "func insn symbol")


def machine(path):
    """What a module is built for, an entry of MACHINES; exits if it is no such module."""
    head = pathlib.Path(path).read_bytes()[:20]
    found = MACHINES.get(int.from_bytes(head[18:20], "little")) if head[:4] == b"\x7fELF" else None
    if not found:
        print(f"{path}: expected a module for x86-64 or arm64", file=sys.stderr)
        sys.exit(2)
    return found


def disassemble(path):
    _, form, tools = machine(path)
    for tool in filter(shutil.which, tools):
        res = subprocess.run([tool, "-dr", "-w", path],
                             capture_output=True, text=True, check=False)
        if not res.returncode and form in res.stdout:
            return res.stdout.splitlines()
    print(f"{path}: no objdump here reads {form}: install binutils for it", file=sys.stderr)
    sys.exit(2)


def branches(text):
    """Whether an instruction takes the address to go to from a register or memory."""
    branch = BRANCH.match(text)
    return bool(ARM_BRANCH.match(text) or (branch and branch.group(1).startswith("*")))


def calls(path):
    """Yield every indirect call or jump of the file."""
    func = "?"
    for line in disassemble(path):
        label = LABEL.match(line)
        if label:
            func = SUFFIX.sub("", label.group(1))
            continue
        # -w puts the relocation behind the instruction, after a tab.
        text, *reloc = RELOC.split(line, maxsplit=1)
        symbol = re.sub(r"[+-]0x[0-9a-f]+$", "", reloc[0].split()[-1]) if reloc else ""
        insn = INSN.match(text.rstrip())
        plain = re.sub(r"\s*[0-9a-f]+:$", "", insn.group(1)).strip() if insn else ""
        thunk = BRANCH.match(plain) and THUNK.search(symbol or line)
        if plain and (branches(plain) or thunk):
            yield Call(func, plain.split("#")[0].split("//")[0].strip(), symbol)


def read_allowed(path, arches):
    """Pattern of each entry for these architectures, how many calls it allows in one function."""
    allowed = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        entry = ENTRY.match(line)
        if not entry:
            sys.exit(f"{path}:{number}: not [ARCH] FUNCTION [N]: REASON")
        if not entry[1] or entry[1] in arches:
            allowed[entry[2]] = int(entry[3] or 1)
    return allowed


def check(path, allowed, used):
    """Print what is not allowed; returns how many that are."""
    seen, bad = collections.Counter(), 0
    for call in calls(path):
        if "@" + call.symbol in allowed:
            used.add("@" + call.symbol)
            continue
        seen[call.func] += 1
        keys = [k for k in allowed if fnmatch.fnmatchcase(call.func, k)]
        used.update(keys)
        if seen[call.func] > max((allowed[k] for k in keys), default=0):
            bad += 1
            print(f"{path}: {call.func}: {call.insn} {call.symbol}".rstrip())
    return bad


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--allow", type=pathlib.Path,
                    default=pathlib.Path(__file__).with_name("indirect_allow.txt"))
    ap.add_argument("--stale-fails", action="store_true")
    ap.add_argument("ko", nargs="+")
    args = ap.parse_args()

    arches = {machine(path)[0] for path in args.ko}
    allowed, used = read_allowed(args.allow, arches), set()
    bad = sum(check(path, allowed, used) for path in args.ko)
    stale = sorted(allowed.keys() - used)
    for name in stale:
        print(f"{args.allow}: {name}: no module has such a call any more")
    sys.exit(bool(bad or (stale and args.stale_fails)))


if __name__ == "__main__":
    main()
