# SPDX-License-Identifier: GPL-2.0
"""The kernel's own checkers: checkpatch.pl and kernel-doc, sparse, the compilers' warnings."""

import shutil
from pathlib import Path

from . import build, roots
from .host import in_root, lock, log_path, run, step

# linux-headers has no checkpatch.pl; linux-source of the base suite has.
_SOURCE = "linux-source-6.12"
_SCRIPTS = ("checkpatch.pl", "const_structs.checkpatch", "spelling.txt", "kernel-doc")
_PACKAGES = {"sparse": ("sparse",), "clang": ("clang", "lld", "llvm")}
_CLANG = "/.lab/clang"
_ARGUMENTS = {"gcc": (), "sparse": ("C=2",), "clang": ("LLVM=1", f"CC={_CLANG}")}


def script(name):
    """Path of one of the kernel's scripts; they are fetched on first use."""
    where = roots.BUILD.path / ".lab/scripts"
    with lock("build", "waiting for another run that uses the build root"):
        if not (where / name).exists():
            _fetch(where)
    return where / name


def _fetch(where):
    wanted = " ".join(f"*/scripts/{name}" for name in _SCRIPTS)
    command = (f"cd /var/tmp && rm -f {_SOURCE}_*.deb && apt-get -q download {_SOURCE} && "
               f"dpkg-deb --fsys-tarfile {_SOURCE}_*.deb | "
               f"tar xO ./usr/src/{_SOURCE}.tar.xz | "
               f"tar xJ --strip-components=2 -C /.lab/scripts --wildcards {wanted}; "
               f"rm -f {_SOURCE}_*.deb")
    where.mkdir(parents=True, exist_ok=True)
    log = log_path("checkers")
    with step("the kernel's checkpatch.pl", log):
        run(in_root(roots.BUILD.path, ["sh", "-c", command]), log)


def complaints(kernel, tool):
    """What a build of the module by `tool` says against our files."""
    with lock(kernel.root.name, "waiting for another run that uses the build root"):
        if tool in _PACKAGES:
            roots.install(kernel.root, _PACKAGES[tool], tool)
        shutil.copy(Path(__file__).with_name("clang.sh"), f"{kernel.root.path}{_CLANG}")
    return build.warnings(kernel, tool, ["W=1", *_ARGUMENTS[tool]])
