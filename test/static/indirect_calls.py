#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Finds every indirect call and jump of built x86-64 modules.

    indirect_calls.py [--allow FILE] [--stale-fails] KO...

With IBT a function whose address the kernel never takes has no landing pad:
an indirect call of it works in most virtual machines and kills a real one.
Such functions are called through static calls, which are direct. Every
function that calls indirectly has to be in the list, with the reason why
what it calls has a landing pad:

    FUNCTION [N]: REASON   at most N indirect calls in it, 1 without a number
    @SYMBOL: REASON        calls through this symbol, in any function

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
import subprocess
import sys

LABEL = re.compile(r"^[0-9a-f]+ <([^>]+)>:$")
INSN = re.compile(r"^\s+[0-9a-f]+:\t(?:[0-9a-f]{2} )+\s*\t?(.*)$")
BRANCH = re.compile(r"^(?:(?:cs|ds|bnd|notrack|data16|rex\.\w+) )*(?:call|jmp)[lqw]?\b\s*(.*)$")
THUNK = re.compile(r"__x86_indirect_(?:call_|jump_)?thunk_\w+")
ENTRY = re.compile(r"^(@?[\w*.]+)(?:\s+(\d+))?\s*:\s*\S")
SUFFIX = re.compile(r"\.(?:cold|part\.\d+|isra\.\d+|constprop\.\d+).*$")

Call = collections.namedtuple("Call", "func insn symbol")


def disassemble(path):
    res = subprocess.run(["objdump", "-dr", "-w", path],
                         capture_output=True, text=True, check=False)
    if res.returncode or "elf64-x86-64" not in res.stdout:
        print(f"{path}: objdump cannot read it as x86-64: {res.stderr.strip()}",
              file=sys.stderr)
        sys.exit(2)
    return res.stdout.splitlines()


def calls(path):
    """Yield every indirect call or jump of the file."""
    func = "?"
    for line in disassemble(path):
        label = LABEL.match(line)
        if label:
            func = SUFFIX.sub("", label.group(1))
            continue
        # -w puts the relocation behind the instruction, after a tab.
        text, _, reloc = line.partition("R_X86_64_")
        symbol = reloc.split()[-1] if reloc else ""
        symbol = re.sub(r"[+-]0x[0-9a-f]+$", "", symbol)
        insn = INSN.match(text.rstrip())
        branch = insn and BRANCH.match(re.sub(r"\s*[0-9a-f]+:$", "", insn.group(1)).strip())
        if not branch:
            continue
        if branch.group(1).startswith("*") or THUNK.search(symbol or line):
            yield Call(func, branch.group().split("#")[0].strip(), symbol)


def read_allowed(path):
    """Pattern of each entry, and how many calls it allows in one function."""
    allowed = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        entry = ENTRY.match(line)
        if not entry:
            sys.exit(f"{path}:{number}: not FUNCTION [N]: REASON")
        allowed[entry[1]] = int(entry[2] or 1)
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

    allowed, used = read_allowed(args.allow), set()
    bad = sum(check(path, allowed, used) for path in args.ko)
    stale = sorted(allowed.keys() - used)
    for name in stale:
        print(f"{args.allow}: {name}: no module has such a call any more")
    sys.exit(bool(bad or (stale and args.stale_fails)))


if __name__ == "__main__":
    main()
