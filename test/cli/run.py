# SPDX-License-Identifier: GPL-2.0
"""Runs the command, and knows its exit codes."""

import os
import subprocess
import tempfile

(OK, NO, USAGE, ABSENT, UNLOADED, PERMISSION, BAD, TOOL, REFUSED, SYSTEM) = range(10)


# In a process of its own: others of the tests' end whenever they like, and count as its children.
MEASURE = """import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w", encoding="ascii") as file:
    print(used.ru_utime + used.ru_stime, used.ru_maxrss >> 10, file=file)
sys.exit(code)"""


class Result:
    """What a run printed, and how it ended."""

    def __init__(self, done):
        self.rc, self.out, self.err = done.returncode, done.stdout, done.stderr

    def fails(self, code, *parts):
        """It ended with this code, one line on stderr that has all parts, and nothing else."""
        assert self.rc == code, (self.rc, self.out, self.err)
        lines = self.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("resetgate: "), self.err
        for part in parts:
            assert part in lines[0], (part, lines[0])
        assert self.out == ""
        return True


class Cli:
    """Runs the command below a root; any report of a sanitizer fails."""

    def __init__(self, exe):
        self.exe = exe

    def __call__(self, *args, root=None, stdin=None, env=None, prefix=()):
        variables = dict(os.environ, LC_ALL="C", TERM="xterm", **(env or {}))
        variables.pop("RESETGATE_ROOT", None)
        if root is not None:
            variables["RESETGATE_ROOT"] = str(root)
        done = subprocess.run([*prefix, self.exe, *map(str, args)], capture_output=True, text=True,
                              env=variables, input=stdin, timeout=60, errors="replace", check=False)
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        assert 0 <= done.returncode <= SYSTEM, done
        return Result(done)

    def measured(self, *args, **how):
        """(Result, seconds of CPU time, MiB at the most) of it and of what it waited for."""
        with tempfile.NamedTemporaryFile("r") as file:
            done = self(*args, prefix=("/usr/bin/python3", "-c", MEASURE, file.name), **how)
            seconds, mib = file.read().split()
        return done, float(seconds), int(mib)
