# SPDX-License-Identifier: GPL-2.0
"""The compilers and sparse have nothing to say about the module."""

import pytest

from lab import checkers, kernels

OLDEST = {"x86_64": "bookworm", "arm64": "trixie"}


def _kernel(request, suite):
    for kernel in request.config.chosen_kernels:
        if kernels.suite_of(kernel.key) == suite:
            return kernel
    return pytest.skip(f"{suite} was not chosen")


def test_gcc(request):
    """W=1 with the distribution's compiler, against the oldest headers."""
    oldest = OLDEST[request.config.chosen_kernels[0].arch.name]
    assert checkers.complaints(_kernel(request, oldest), "gcc") == []


def test_sparse(request):
    """The same against the newest, and C=2 with sparse."""
    assert checkers.complaints(_kernel(request, "trixie-backports"), "sparse") == []


def test_clang(request):
    """W=1 with clang and lld."""
    assert checkers.complaints(_kernel(request, "trixie"), "clang") == []
