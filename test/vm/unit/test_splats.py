# SPDX-License-Identifier: GPL-2.0
"""The scanner is itself tested: golden consoles with the number of complaints in the name."""

from pathlib import Path

import pytest

from lab import splats

GOLDEN = sorted(Path(__file__).with_name("golden").glob("*.console"))


@pytest.mark.parametrize("path", GOLDEN, ids=[path.stem for path in GOLDEN])
def test_golden(path):
    """NAME.COUNT.console has COUNT complaints."""
    expected = int(path.stem.rsplit(".", 1)[1])
    found = splats.scan(path.read_text())
    assert len(found) == expected, found


def test_allowed_for_one_case():
    """A case may expect one complaint without hiding the others."""
    text = "DMAR: foo timed out\nBUG: unable to handle page fault\n"
    assert splats.scan(text, ["DMAR: foo timed out"]) == ["BUG: unable to handle page fault"]


def test_policy_is_justified():
    """Every exception says why and when it is looked at again."""
    assert all(entry.reason and entry.until for entry in splats.ALLOW)


OOPS = """[   90.260373] Oops: int3: 0000 [#1] PREEMPT_RT SMP NOPTI
[   90.263210] RIP: 0010:qi_submit_sync+0x5/0x4f0
[   90.264150] Code: 90 90 66 0f 1f 00 {} <d7> 11 98 3e 41 57
[   90.272000] Code: 90 90 66 0f 1f 00 cc <d7> 11 98 3e 41 57
"""


def test_stray_breakpoint():
    """An oops for a breakpoint is the emulator's only where memory has none at that place."""
    assert splats.stray_breakpoint(OOPS.format("e8"))
    assert not splats.stray_breakpoint(OOPS.format("cc"))
    assert not splats.stray_breakpoint(OOPS.format("e8").replace("int3", "invalid opcode"))
    assert not splats.stray_breakpoint("")
