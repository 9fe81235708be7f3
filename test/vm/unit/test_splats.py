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
