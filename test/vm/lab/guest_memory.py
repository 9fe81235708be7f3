# SPDX-License-Identifier: GPL-2.0
"""Guest-physical memory, read through QEMU's monitor."""

import re

PAGE = ~0xFFF & (1 << 64) - 1


def quads(vm, address, count):
    """Quadwords of guest-physical memory."""
    text = vm.hmp(f"xp /{count}gx {address:#x}")
    words = [int(word, 16) for line in text.splitlines()
             for word in re.findall(r"0x([0-9a-f]+)", line.split(":", 1)[1])]
    if len(words) != count:
        raise LookupError(f"xp at {address:#x} answered {text!r}")
    return tuple(words)


def dword(vm, address):
    """A 32-bit register: one that is read as a part of more may read as nothing."""
    text = vm.hmp(f"xp /1wx {address:#x}")
    found = re.search(r":\s+0x([0-9a-f]+)", text)
    if not found:
        raise LookupError(f"xp at {address:#x} answered {text!r}")
    return int(found[1], 16)


def split(bdf):
    """(bus, devfn) of "01:00.0"."""
    bus, slot, function = re.fullmatch(r"(\w\w):(\w\w)\.(\d)", bdf).groups()
    return int(bus, 16), int(slot, 16) << 3 | int(function)
