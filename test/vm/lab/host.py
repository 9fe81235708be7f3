# SPDX-License-Identifier: GPL-2.0
"""What every part of the lab needs from the machine: paths, commands, locks, progress."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

LAB = Path(os.environ.get("RESETGATE_LAB", "/var/cache/resetgate-lab")).absolute()
TREE = Path(__file__).resolve().parents[3]
BEAT_SECONDS = 5
NEED_FREE_GIB = 8
_BORN = time.monotonic()
_IN_ROOT = "in-lab-root"
_PRINT = threading.Lock()


class LabError(Exception):
    """Something outside the code under test is wrong; the message says what to do."""


def say(text):
    """One line of progress, with the seconds since the start."""
    with _PRINT:
        print(f"[{time.monotonic() - _BORN:5.0f} s] {text}", file=sys.stderr, flush=True)


def check_machine():
    """Fail early and in one line where the lab cannot work at all."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root for chroot and debootstrap: run it with sudo")
    LAB.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(LAB).free >> 30
    if free < NEED_FREE_GIB and not (LAB / "build").exists():
        raise LabError(f"{LAB} has {free} GiB free, {NEED_FREE_GIB} are needed: "
                       "set RESETGATE_LAB to a roomier directory")


def log_path(name):
    path = LAB / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _last_line(path):
    """The end of a growing log, for the heartbeat."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 400))
            lines = file.read().replace(b"\r", b"\n").split(b"\n")
    except OSError:
        return ""
    lines = [line for line in lines if line.strip()]
    return lines[-1].decode(errors="replace").strip()[:90] if lines else ""


def _beat(title, log, done):
    began = time.monotonic()
    while not done.wait(BEAT_SECONDS):
        say(f"{title}: {time.monotonic() - began:.0f} s, {_last_line(log)}")


@contextlib.contextmanager
def step(title, log):
    """A named step that stays visibly alive while its log grows."""
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(title, log, done), daemon=True)
    began = time.monotonic()
    say(f"{title} ...")
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
    say(f"{title}: done in {time.monotonic() - began:.1f} s")


def _cpu_times():
    """(used, stolen) of all CPUs since boot, in ticks."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(map(int, (words[1], words[2], words[3], words[6], words[7]))), int(words[8])


class Patience:
    """A time-out in time that the host really had. Where a hypervisor takes the CPUs away, a guest
    gets only a share of what it asks for, and everything in it takes so much longer.
    """
    MOST = 10

    def __init__(self, seconds):
        self._seconds, self._began, self._times = seconds, time.monotonic(), _cpu_times()

    def share(self):
        """What the host got of what was asked for since then, a tenth at the least."""
        used, stolen = (now - then for now, then in zip(_cpu_times(), self._times))
        return max(1 / self.MOST, used / (used + stolen) if used + stolen else 1)

    def spent(self):
        """Seconds of that time since then."""
        return (time.monotonic() - self._began) * self.share()

    def left(self):
        return self._seconds - self.spent()

    def over(self):
        return self.left() <= 0


def run(argv, log=None, check=True, **kwargs):
    """Run a command; its output goes to `log` (append), or is returned as text."""
    argv = [str(arg) for arg in argv]
    if log is None:
        done = subprocess.run(argv, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, **kwargs)
    else:
        with open(log, "ab") as file:
            file.write(f"\n$ {_shown(argv)}\n".encode())
            file.flush()
            done = subprocess.run(argv, stdout=file, stderr=subprocess.STDOUT, **kwargs)
    if check and done.returncode:
        tail = (done.stderr or done.stdout or "").strip() if log is None else _tail(log)
        raise LabError(f"`{_shown(argv)}` failed with {done.returncode}"
                       + (f", see {log}" if log else "") + f":\n{tail}")
    return done


def _shown(argv):
    """A command as a person would type it, without the wrapping of in_root()."""
    if _IN_ROOT in argv:
        argv = argv[argv.index(_IN_ROOT) + 2:]
    return " ".join(argv)[:200]


def _tail(log, lines=15):
    return "\n".join(Path(log).read_text(errors="replace").splitlines()[-lines:])


def in_root(root, argv, binds=(), env=None):
    """A command line that runs `argv` inside `root`.

    The mounts live in a namespace of their own: they go away with the process, even
    after kill -9, so nothing is ever left mounted and `rm -rf root` is safe.
    """
    mounts = ["mount -t proc proc \"$1/proc\""]
    for source, target in binds:
        mounts.append(f"mkdir -p \"$1{target}\"; mount --bind '{source}' \"$1{target}\"")
    script = "set -e; " + "; ".join(mounts) + "; root=$1; shift; exec chroot \"$root\" \"$@\""
    settings = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
                "DEBIAN_FRONTEND": "noninteractive"}
    settings.update(env or {})
    assignments = [f"{key}={value}" for key, value in settings.items()]
    return ["setpriv", "--pdeathsig", "KILL", "env", "-i", *assignments,
            "unshare", "--mount", "sh", "-c", script, _IN_ROOT, str(root), *map(str, argv)]


@contextlib.contextmanager
def lock(name, wait_message=None):
    """A lock across processes; the kernel drops it when the holder dies."""
    path = LAB / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if wait_message:
                say(wait_message)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def remove_tree(path):
    """Delete a directory of ours, or what an interrupted run left of it."""
    subprocess.run(["rm", "-rf", "--one-file-system", str(path)], check=True)


def publish(partial, final):
    """Make a finished directory appear in one step: a name without .partial is complete."""
    remove_tree(final)
    os.rename(partial, final)
