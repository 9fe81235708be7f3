# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the scenario cases."""

import pytest

import scenario


@pytest.fixture
def endpoint(vm):
    """endpoint(bdf) takes a function; all are given back at the end."""
    taken = []

    def take(bdf=scenario.FIRST, **kwargs):
        taken.append(scenario.Endpoint(vm, bdf, **kwargs))
        return taken[-1]

    yield take
    if vm.alive:
        for one in taken:
            one.close()
