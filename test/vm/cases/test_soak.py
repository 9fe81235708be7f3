# SPDX-License-Identifier: GPL-2.0
"""Some of everything at once; make soak has hours of it."""

import pytest
from lab import soak

pytestmark = pytest.mark.machine("scenario")

SECONDS, SEED = 40, 3


def _soak(vm, gate):
    gate()
    try:
        print(soak.soak(vm, SECONDS, SEED))
    except BaseException:
        # Whatever it has left is nothing for others.
        vm.kill()
        raise


@pytest.mark.once
@pytest.mark.kernels("trixie-backports")
def test_soak(vm, gate):
    """I1 to I9: resets of all kinds on a PF, its VFs, two functions below a switch and one by
    itself, with attaches, maps, binds, errors and removals in them. After each step all is open,
    tables and config space are what the kernel believes, and the trace shows no ATC invalidation
    in any reset (on VT-d). A longer case than others, by its nature.

    Deliberate breaks: rg_scope_leave() leaves the first state only; rg_gate_leave() lets a
    bracket of another task keep the window open.
    """
    _soak(vm, gate)


@pytest.mark.vtd
@pytest.mark.once
@pytest.mark.kernels("trixie")
def test_soak_of_the_older(vm, gate):
    """The same on 6.12, whose attach is another; its trace is a judge on VT-d only."""
    _soak(vm, gate)
