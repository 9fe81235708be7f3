# SPDX-License-Identifier: GPL-2.0
"""What a soak says when something is wrong."""

from types import SimpleNamespace

import pytest
from lab import soak
from lab.vm import LostVM

GUEST = SimpleNamespace(kernel=SimpleNamespace(series=(6, 12), key="trixie"), mode="sm-fs",
                        dir="/evidence")
LAST = 12


@pytest.mark.parametrize("error", (AssertionError, KeyError, LostVM, soak.SoakFailed))
def test_report(monkeypatch, error):
    """Whatever went wrong, the report has the seed, what was wrong, how to have it again, and the
    last steps in their order, the failed one at their end.

    Deliberate breaks: no seed in Soak._report(); `_recent` gets a step once it is done.
    """
    one, done = soak.Soak(GUEST, 4711), []

    def do(step):
        done.append(str(step))
        if step.number == LAST:
            raise error("this was wrong")

    monkeypatch.setattr(one, "_do", do)
    with pytest.raises(soak.SoakFailed) as failure:
        one.run(60)
    lines = str(failure.value).splitlines()
    assert len(done) == LAST
    assert all(word in lines[0] for word in ("seed 4711", "trixie", "sm-fs", f"step {LAST}:",
                                             "this was wrong"))
    assert [line.strip() for line in lines[2:-1]] == done[-soak.RECENT:]
    assert "--seed 4711 --kernels trixie --modes sm-fs" in lines[-1] and "/evidence" in lines[-1]
