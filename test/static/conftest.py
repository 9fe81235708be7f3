# SPDX-License-Identifier: GPL-2.0
"""What the gates need of the lab: the kernel's scripts, the module built for each kernel."""

import os

import pytest

from lab import build, checkers


@pytest.fixture(scope="session", autouse=True)
def gate_environment(request):
    """run.sh finds its tools through these."""
    os.environ["RG_CHECKPATCH"] = str(checkers.script("checkpatch.pl"))
    os.environ["RG_KERNEL_DOC"] = str(checkers.script("kernel-doc"))
    modules = [build.module(kernel) for kernel in request.config.chosen_kernels]
    os.environ["RG_KO"] = " ".join(map(str, modules))
