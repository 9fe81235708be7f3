# SPDX-License-Identifier: GPL-2.0
"""Finds kernel complaints in a console log. The policy is data; it has golden tests."""

import re
from dataclasses import dataclass

# Whatever matches one of these is a failure ...
DENY = (
    r"WARNING: ", r"\bBUG: ", r"kernel BUG at", r"\bOops\b", r"Kernel panic", r"general protection",
    r"possible recursive locking", r"circular locking", r"inconsistent lock state",
    r"suspicious RCU usage", r"rcu: INFO: .*(stall|detected)", r"rcu_(sched|preempt|tasks) .*stall",
    r"blocked for more than \d+ seconds", r"hung task", r"soft lockup", r"hard LOCKUP",
    r"scheduling while atomic", r"sleeping function called from invalid", r"unable to handle",
    r"refcount_t:", r"list_(add|del) corruption", r"Call Trace:", r"stack-protector",
    r"use-after-free", r"DMAR: .*(time-?out|timed out)", r"Invalidation (Queue|Time-?out) Error",
    r"QI.* (error|timeout)", r"missing ENDBR", r"CFI failure", r"Bad page state",
)


@dataclass(frozen=True)
class Allow:
    """An exception: what, why, and when it has to be looked at again."""

    pattern: str
    reason: str
    until: str


# ... unless it matches one of these.
ALLOW = (
    Allow(r"Spectre|Speculative|RETBleed|MDS|MMIO Stale Data|Vulnerab",
          "boot-time notes on mitigations say WARNING on the emulated CPU", "2028-01"),
)


def scan(text, allowed=()):
    """Lines of `text` that are complaints. `allowed`: more patterns, for one case only."""
    deny = re.compile("|".join(DENY))
    allow = re.compile("|".join([entry.pattern for entry in ALLOW] + list(allowed)))
    return [line for line in text.splitlines() if deny.search(line) and not allow.search(line)]


def stray_breakpoint(text):
    """Whether the kernel died of a breakpoint that is not in memory.

    The kernel patches code under CPUs that run it by a breakpoint, and forgets it once each CPU was
    interrupted. QEMU's CPUs, a thread each, now and then keep the translation of one for good: they
    translate what another CPU is about to overwrite. The oops shows the byte that was executed.
    """
    found = re.search(r"\bint3: 0000 .*?Code: [0-9a-f ]*?([0-9a-f]{2}) <", text, re.S)
    return bool(found) and found[1] != "cc"
