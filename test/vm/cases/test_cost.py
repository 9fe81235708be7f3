# SPDX-License-Identifier: GPL-2.0
"""What the module costs, within its limits. `make bench` measures all kernels."""

import pytest
from lab import bench

pytestmark = [pytest.mark.machine(bench.MACHINE), pytest.mark.modes("legacy", "smmu"),
              pytest.mark.kernels("trixie", "trixie-backports"), pytest.mark.boot(icount=True)]


@pytest.fixture
def costs(vm):
    """The bench, in a guest whose time counts instructions."""
    one = bench.Bench(vm)
    yield one
    if vm.alive:
        one.close()


def _judge(rows):
    judged = [row for row in rows if row.passed is not None]
    assert judged and all(row.passed for row in judged), "\n" + bench.table(rows)


def test_idle_cost(costs):
    """I7: a map+unmap pair costs the same with the module loaded, and after its unloading.

    Deliberate break: arm the invalidation valve at load (a pair then costs 5 % more).
    """
    _judge(bench.idle(costs))


def test_attach_cost(costs):
    """An attach in a window is no dearer than outside, by itself and with its detach.

    Deliberate break: in the table valve's replacement spin for 20 us.
    """
    _judge(bench.attaches(costs))


def test_window_cost(costs):
    """Close and open together: next to nothing against the 100 ms of an FLR, also where something
    was unmapped in it and the opening has to wait and to flush.

    Deliberate breaks: disarm the valve as soon as the gate opens (every close then arms it); spin
    in rg_opening_flush().
    """
    _judge(bench.resets(costs))
