# SPDX-License-Identifier: GPL-2.0
"""Builds for a kernel in the build root: the module by dkms, the lab's own modules by kbuild.

Everything is cached by the hash of the sources; a copy of the tree is hashed and built, so
somebody editing the tree meanwhile changes nothing.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import threading
from contextlib import contextmanager

from .host import (LAB, TREE, LabError, in_root, lock, log_path, publish, remove_tree, run, say,
                   step)
from .initramfs import read_module

_FORMAT = 3
_NOT_MODULE = re.compile(r"^(debian/|dist/|test/|doc/|src/cli/|\.)|\.md$")
_NOT_SOURCE = re.compile(r"\.(md|o|ko|cmd|mod)$|\.mod\.c$|/rgx$")
LAB_SOURCES = "test/lab"
# The exerciser reads BTF and a traced call's arguments as the module does.
_LAB_NEEDS = (LAB_SOURCES + "/", "src/btf.", "src/compat.h", "src/arch")


def tree_files():
    """Files of the work tree: tracked, or new and not ignored."""
    done = subprocess.run(["git", "-c", "safe.directory=*", "-C", TREE, "ls-files", "-coz",
                           "--exclude-standard"], stdout=subprocess.PIPE, check=False)
    if done.returncode:
        return sorted(str(path.relative_to(TREE)) for path in TREE.rglob("*") if path.is_file())
    return sorted(set(done.stdout.decode().split("\0")) - {""})


def _copy(names, target):
    """Copy files of the tree to `target`, return a hash of names and contents."""
    digest = hashlib.sha256(str(_FORMAT).encode())
    for name in names:
        source = TREE / name
        if not source.is_file():
            continue
        copy = target / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
        digest.update(name.encode() + b"\0" + copy.read_bytes())
    return digest


@contextmanager
def staged(names):
    """A private copy of some files, below the build root's directory; and its hash object."""
    stage = LAB / "stage" / f"{os.getpid()}-{threading.get_ident()}"
    remove_tree(stage)
    stage.mkdir(parents=True)
    try:
        yield stage, _copy(names, stage)
    finally:
        remove_tree(stage)


def _cached(kernel, kind, digest):
    return LAB / "modules" / kernel.name / f"{kind}-{digest.hexdigest()[:16]}"


def module_sources():
    return [name for name in tree_files()
            if not _NOT_MODULE.search(name) and not _NOT_SOURCE.search(name)]


def module(kernel):
    """resetgate.ko from a real install by dkms, or None while the tree has no dkms.conf."""
    names = module_sources()
    if "dkms.conf" not in names:
        return None
    with staged(names) as (stage, digest):
        final = _cached(kernel, "dkms", digest)
        with lock(kernel.root.name, "waiting for another run that uses the build root"):
            if not final.exists():
                _dkms(kernel, stage, final)
    return final / "resetgate.ko"


def _dkms(kernel, stage, final):
    """The module's part of `make install`, as the README has it; the installed module is what the VM gets.

    The root is used for one kernel after another, so every install but the first is over
    a version that dkms already knows.
    """
    version = re.search(r'^PACKAGE_VERSION="?([^"\n]+)', (stage / "dkms.conf").read_text(), re.M)
    if not version:
        raise LabError("dkms.conf has no PACKAGE_VERSION")
    log = log_path(f"dkms-{kernel.key}")
    log.unlink(missing_ok=True)
    _admit(kernel, stage)
    # dkms takes a kernel of another architecture as RELEASE/ARCHITECTURE.
    release = kernel.release + f"/{kernel.arch.uname}" * kernel.arch.foreign
    with step(f"{kernel.key}: make install (dkms) for {kernel.release}", log):
        done = run(in_root(kernel.root.path,
                           ["make", "-C", "/mnt", "install-module", f"KVER={release}"],
                           binds=[(stage, "/mnt")]), log, check=False)
    if done.returncode:
        raise LabError(f"make install for {kernel.release} failed, see {log}:\n"
                       + _make_errors(kernel, version[1], log))
    partial = final.with_name(final.name + ".partial")
    remove_tree(partial)
    partial.mkdir(parents=True)
    (partial / "resetgate.ko").write_bytes(read_module(_installed(kernel)))
    publish(partial, final)


def _admit(kernel, stage):
    """A suite moves on to a series that the module refuses, as it should. What it does there is
    tested all the same, and whoever reads the run is told.
    """
    path = stage / "src/compat.h"
    line = re.search(r"^#define RG_TESTED_SERIES .*", path.read_text(), re.M)[0]
    series = f'"{kernel.series[0]}.{kernel.series[1]}."'
    if series in line:
        return
    say(f"{kernel.key} has {kernel.release}: no series in RG_TESTED_SERIES of src/compat.h; "
        "tested as if it were there")
    path.write_text(path.read_text().replace(line, f"{line}, {series}"))


def _make_errors(kernel, version, log):
    """The compiler's complaints from dkms's make.log, else the end of our own log."""
    make_log = kernel.root.path / f"var/lib/dkms/resetgate/{version}/build/make.log"
    path = make_log if make_log.exists() else log
    lines = path.read_text(errors="replace").splitlines()
    wanted = [line for line in lines if re.search(r"error|ERROR|undefined|\*\*\*", line)]
    return "\n".join((wanted or lines)[-20:])


def _installed(kernel):
    found = sorted(kernel.modules.glob("updates/dkms/resetgate.ko*"))
    if not found:
        raise LabError(f"dkms install for {kernel.release} left no resetgate.ko in updates/dkms")
    return found[0]


def variant(kernel, name, edits=(), make_args=()):
    """resetgate.ko of a changed copy of the tree.

    `edits` are (file, old, new); `old` must occur exactly once. This is how a case breaks an
    invariant on purpose, to see that the check for it goes red. make check-red has one for
    every module that a case builds.
    """
    if "RESETGATE_EDIT" in os.environ:
        edits = (tuple(json.loads(os.environ["RESETGATE_EDIT"])), *edits)
    with staged(module_sources()) as (stage, digest):
        for file, old, new in edits:
            text = (stage / file).read_text()
            if text.count(old) != 1:
                raise LabError(f"variant {name}: {file} has {text.count(old)} times {old!r}, "
                               "one is needed: the code has changed, change the case")
            (stage / file).write_text(text.replace(old, new))
        if "src/compat.h" not in [file for file, _, _ in edits]:
            _admit(kernel, stage)
        digest.update(repr((tuple(edits), tuple(make_args))).encode())
        final = _cached(kernel, f"variant-{name}", digest)
        with lock(kernel.root.name, "waiting for another run that uses the build root"):
            if not final.exists():
                _kbuild(kernel, stage, ".", final, make_args, f"variant {name}")
    return final / "resetgate.ko"


def _kbuild(kernel, stage, directory, final, make_args, title):
    """make modules in stage/directory, keep the .ko files."""
    log = log_path(f"kbuild-{kernel.key}")
    jobs = f"-j{os.cpu_count()}"
    with step(f"{kernel.key}: build {title}", log):
        run(in_root(kernel.root.path,
                    ["make", jobs, "-C", f"/lib/modules/{kernel.release}/build",
                     f"M=/mnt/{directory}", *make_args, "modules"], binds=[(stage, "/mnt")]), log)
        built = sorted((stage / directory).glob("*.ko"))
        # As dkms does: what is loaded over and over need not carry what gdb would like.
        # With the build root's tools: whoever runs the demo needs none of their own.
        if built:
            run(in_root(kernel.root.path,
                        ["strip", "--strip-debug", *(f"/mnt/{directory}/{path.name}"
                                                     for path in built)],
                        binds=[(stage, "/mnt")]), log)
    partial = final.with_name(final.name + ".partial")
    remove_tree(partial)
    partial.mkdir(parents=True)
    for path in built:
        shutil.copy(path, partial)
    publish(partial, final)


def warnings(kernel, name, make_args):
    """Lines that a build with these arguments says of our own files; nothing is kept."""
    with staged(module_sources()) as (stage, _):
        with lock(kernel.root.name, "waiting for another run that uses the build root"):
            done = run(in_root(kernel.root.path,
                               ["make", "-s", f"-j{os.cpu_count()}", "-C",
                                f"/lib/modules/{kernel.release}/build", "M=/mnt", *make_args,
                                "modules"], binds=[(stage, "/mnt")]),
                       check=False)
    said = done.stdout + done.stderr
    if done.returncode:
        raise LabError(f"{name} build for {kernel.release} failed:\n{said[-2000:]}")
    return [line for line in said.splitlines()
            if re.match(r"(/mnt/)?src/\S+:\d+", line) and "warning" in line]


def _of_lab(kernel, kind, make):
    """{name in the guest: path} of what `make(kernel, stage, target)` builds of test/lab."""
    names = [name for name in tree_files()
             if name.startswith(_LAB_NEEDS) and not _NOT_SOURCE.search(name)]
    with staged(names) as (stage, digest):
        final = _cached(kernel, kind, digest)
        with lock(kernel.root.name, "waiting for another run that uses the build root"):
            if not final.exists():
                partial = final.with_name(final.name + ".partial")
                remove_tree(partial)
                partial.mkdir(parents=True)
                make(kernel, stage, partial)
                publish(partial, final)
    return {path.name: path for path in sorted(final.iterdir())}


def _lab_modules(kernel, stage, target):
    """Every directory in test/lab with a Kbuild gives modules."""
    for kbuild in sorted((stage / LAB_SOURCES).rglob("Kbuild")):
        directory = kbuild.parent.relative_to(stage)
        built = target.with_name(target.name + ".part")
        _kbuild(kernel, stage, directory, built, (), str(directory))
        for path in built.iterdir():
            shutil.move(path, target / path.name)
        remove_tree(built)


def _lab_programs(kernel, stage, target):
    """Every rgx*.c in test/lab, or below it for this architecture, gives a static program."""
    log = log_path(f"kbuild-{kernel.key}")
    for source in sorted((*(stage / LAB_SOURCES).glob("rgx*.c"),
                          *(stage / LAB_SOURCES / kernel.arch.name).glob("rgx*.c"))):
        name = source.relative_to(stage)
        run(in_root(kernel.root.path,
                    [kernel.arch.compiler, "-O2", "-Wall", "-static", "-pthread",
                     "-o", f"/mnt/{source.stem}", f"/mnt/{name}"], binds=[(stage, "/mnt")]), log)
        shutil.copy(stage / source.stem, target)


def _programs(kernel):
    return _of_lab(kernel, "programs", _lab_programs)


def lab(kernel):
    """The exerciser: {name in the guest: path}."""
    return {**_of_lab(kernel, "lab", _lab_modules), **_programs(kernel)}


_CLI_NEEDS = ("src/cli/", "src/btf.", "src/targets.", "src/compat.h", "dkms.conf")


def command(kernel):
    """resetgate, the command, as a static program for a guest: it has no C library."""
    names = [name for name in tree_files()
             if name.startswith(_CLI_NEEDS) and not _NOT_SOURCE.search(name)]
    with staged(names) as (stage, digest):
        final = LAB / "modules/command" / f"{kernel.arch.name}-{digest.hexdigest()[:16]}"
        with lock(kernel.root.name, "waiting for another run that uses the build root"):
            if not final.exists():
                run(in_root(kernel.root.path,
                            ["make", "-s", "-C", "/mnt/src/cli", f"CC={kernel.arch.compiler}",
                             "OUT=/mnt", "LDFLAGS=-static"], binds=[(stage, "/mnt")]),
                    log_path("command"))
                final.mkdir(parents=True)
                shutil.move(stage / "resetgate", final / "resetgate")
    return final / "resetgate"


def guest_files(kernel, module_path=None):
    """Everything a guest gets in /lab, as initramfs.write() wants it."""
    files = [(f"lab/{name}", path) for name, path in lab(kernel).items()]
    # make check-red runs the cases with a module that is broken on purpose.
    path = module_path or os.environ.get("RESETGATE_KO") or module(kernel)
    if path:
        files.append(("lab/resetgate.ko", path))
    return files


def agent(kernel):
    """What even a guest without anything else of ours needs to be spoken with."""
    return [("lab/rgxagent", _programs(kernel)["rgxagent"])]
