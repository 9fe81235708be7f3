# SPDX-License-Identifier: GPL-2.0
"""Builds the command once with the sanitizers and once without, runs it on made-up trees."""

import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "src/cli"
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=all"

sys.path.insert(0, str(HERE.parent / "unit"))  # btfgen

from run import Cli  # noqa: E402 # pylint: disable=wrong-import-position


def _build(folder, *settings):
    subprocess.run(["make", "-s", "-C", SOURCE, f"OUT={folder}", *settings], check=True)
    return folder / "resetgate"


@pytest.fixture(scope="session")
def cli(tmp_path_factory):
    return Cli(_build(tmp_path_factory.mktemp("cli"), f"SANITIZE={SANITIZE}", "CFLAGS=-O1 -g"))


@pytest.fixture(scope="session")
def fast_cli(tmp_path_factory):
    """As it is installed, for what is timed."""
    return Cli(_build(tmp_path_factory.mktemp("fast")))


@pytest.fixture
def bound():
    """Words before a command that leave it only what a file's mode allows its owner."""
    return ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if not os.geteuid() else ()
