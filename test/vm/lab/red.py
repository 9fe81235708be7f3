# SPDX-License-Identifier: GPL-2.0
"""Breaks the module on purpose, one way at a time, and wants the named cases to go red.

A case that stays green with its invariant broken tests nothing. The breaks are data, in
test/red/breaks.toml.
"""

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass

from . import build, host, kernels
from .host import TREE

BREAKS = TREE / "test/red/breaks.toml"
# pytest's exit codes: tests failed; everything else but that is no verdict.
_FAILED = 1


@dataclass(frozen=True)
class Break:
    """One way to break the module."""

    name: str
    invariant: str
    file: str
    old: str
    new: str
    cases: tuple
    kernel: str = "trixie"
    mode: str = "legacy"


def load():
    """All breaks of the file."""
    data = tomllib.loads(BREAKS.read_text())
    return [Break(**{**entry, "cases": tuple(entry["cases"])}) for entry in data["break"]]


def _run(one, module):
    """(went red, pytest's closing line) of the break's cases with that module."""
    argv = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "--rootdir", ".", "-q", "-x",
            "--kernels", one.kernel, "--modes", one.mode,
            f"--junitxml={host.LAB}/results/red-{one.name}.xml",
            *[f"vm/cases/{case}" for case in one.cases]]
    log = host.log_path(f"red-{one.name}")
    with open(log, "w", encoding="utf-8") as file:
        done = subprocess.run(argv, cwd=TREE / "test", stdout=file, stderr=file, check=False,
                              env={**os.environ, "RESETGATE_KO": str(module),
                                   "RESETGATE_EDIT": json.dumps([one.file, one.old, one.new])})
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    # A case that could not even be set up shows nothing.
    red = done.returncode == _FAILED and any(line.startswith("FAILED") for line in lines)
    return red, (lines or ["nothing was printed"])[-1].strip("= ")


def arguments(parser):
    """The command's options."""
    parser.add_argument("names", nargs="*", help="only these breaks, of any architecture")


def main(args):
    """Try every break; exit code 1 if one goes unnoticed."""
    from .__main__ import setup
    chosen = [one for one in load() if one.name in args.names
              or not args.names and kernels.arch_of(one.kernel).name == args.arch]
    unknown = set(args.names) - {one.name for one in chosen}
    if unknown:
        raise host.LabError(f"no such break: {', '.join(sorted(unknown))}; see {BREAKS.name}")
    found = {key: setup([key])[0] for key in sorted({one.kernel for one in chosen})}
    green = []
    for one in chosen:
        module = build.variant(found[one.kernel], one.name, [(one.file, one.old, one.new)])
        red, closing = _run(one, module)
        print(f"{'red  ' if red else 'GREEN'} {one.name:26} {one.invariant}: {closing}", flush=True)
        if not red:
            green.append(one.name)
    print(f"{len(chosen) - len(green)} passed, {len(green)} failed")
    return 1 if green else 0
