# SPDX-License-Identifier: GPL-2.0
"""The compilers and sparse have nothing to say about the module."""

import pytest

from lab import checkers


def _kernel(request, key):
    for kernel in request.config.chosen_kernels:
        if kernel.key == key:
            return kernel
    return pytest.skip(f"{key} was not chosen")


def test_gcc(request):
    """W=1 with the distribution's compiler, against the oldest headers."""
    assert checkers.complaints(_kernel(request, "bookworm"), "gcc") == []


def test_sparse(request):
    """The same against the newest, and C=2 with sparse."""
    assert checkers.complaints(_kernel(request, "trixie-backports"), "sparse") == []


def test_clang(request):
    """W=1 with clang and lld."""
    assert checkers.complaints(_kernel(request, "trixie"), "clang") == []
