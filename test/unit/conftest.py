# SPDX-License-Identifier: GPL-2.0
"""Builds rg-judge once, with the sanitizers."""

import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent


class Judge:
    """Runs rg-judge on a file or a blob; any report of a sanitizer fails."""

    def __init__(self, exe, tmp):
        self.exe, self.tmp = exe, tmp

    def __call__(self, *args, data=None):
        if data is not None:
            blob = self.tmp / "blob.btf"
            blob.write_bytes(data)
            args = [blob if a == "@" else a for a in args]
        res = subprocess.run([self.exe, *map(str, args)], capture_output=True,
                             text=True, errors="replace", timeout=60,
                             check=False)
        assert "Sanitizer" not in res.stderr, res.stderr
        assert "runtime error" not in res.stderr, res.stderr
        assert 0 <= res.returncode <= 6, res
        return res.returncode, res.stdout.rstrip("\n")


@pytest.fixture(scope="session")
def judge(tmp_path_factory):
    tmp = tmp_path_factory.mktemp("judge")
    subprocess.run(["make", "-s", "-C", HERE, f"OUT={tmp}"], check=True)
    return Judge(tmp / "rg-judge", tmp)
