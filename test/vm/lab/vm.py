# SPDX-License-Identifier: GPL-2.0
"""One virtual machine: boot, run commands in it, ask QEMU, demand a clean end."""

import base64
import itertools
import os
import select
import shlex
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import devicetree, host, images, initramfs, machines, qmp, roots, smmuv3_queue, splats, trace

BOOT_SECONDS = 180
LOOK_SECONDS, SEND_SECONDS = 1, 60
PUT_BYTES = 512 << 10  # in one request; the agent takes a line of 1 MiB
DISK_MIB = 64
KEEP_RUNS = 200
_PANIC = "panic_on_warn=1 oops=panic panic=-1"
_RUNS = itertools.count(1)
# What is below the root ports is found again, by a driver that believes in what QEMU lacks. With a
# device tree so are the ports: up to 6.12 they were found before anybody asked for ACS, and all
# that is below them would be in one group.
_FIND_AGAIN = """insmod /lab/rglab.ko && rgx {} || exit
for function in {}; do
	case $function in *:pcie*) ;; *) echo 1 > $function/remove || exit ;; esac
done
echo 1 > /sys/bus/pci/rescan"""
_PORTS = "/sys/bus/pci/devices/0000:00:1c.*"


class LostVM(Exception):
    """The guest is gone or does not answer."""


class EmulatorFault(LostVM):
    """The emulated CPU did what no CPU does: see splats.stray_breakpoint()."""


class CommandFailed(AssertionError):
    """A command in the guest failed where it must not."""


class Splat(AssertionError):
    """The guest kernel complained on its console."""


@dataclass(frozen=True)
class Result:
    """What a guest command gave."""

    rc: int
    data: bytes

    @property
    def out(self):
        return self.data.decode(errors="replace")

    def __str__(self):
        return self.out.strip()


_GOES_ON = -1  # as rgxagent.c says it


class Background:
    """A command that runs on in the guest."""

    def __init__(self, vm, number, command):
        self._vm, self._number, self._command = vm, number, command
        self._result = None

    def _ended(self, seconds):
        if not self._result:
            answer = self._vm.ask("wait", f"{self._number} {int(seconds * 1000)}", seconds + 10)
            self._result = None if answer.rc == _GOES_ON else answer
        return self._result

    def done(self):
        return self._ended(0) is not None

    def wait(self, timeout=60, check=True):
        """Its Result; with an exit code of -1, or raised, that it has not ended in time."""
        patience = host.Patience(timeout)
        result = self._ended(timeout)
        while not result and not patience.over():
            result = self._ended(1)
        result = result or Result(_GOES_ON, b"")
        if check and result.rc == _GOES_ON:
            raise CommandFailed(f"`{self._command}` has not ended in {timeout} s")
        if check and result.rc:
            raise CommandFailed(f"`{self._command}` gave {result.rc}:\n{result.out}")
        return result


class VM:
    """A guest. Use as a context manager; leaving it cleanly demands the power-off line."""

    boot_seconds = BOOT_SECONDS

    def __init__(self, kernel, mode="legacy", machine="virtio-ats", cmdline="", smp=2,
                 icount=False, files=(), extra=(), name=None, unpacked=False):
        if mode not in machines.modes(kernel.arch):
            raise host.LabError(f"{kernel.key} has no mode {mode}: it has "
                                + ", ".join(machines.modes(kernel.arch)))
        self.kernel, self.arch = kernel, kernel.arch
        self.mode, self.machine = mode, machines.MACHINES[machine]
        self._cmdline, self._smp, self._icount = cmdline, smp, icount
        self._files, self._extra, self._unpacked = list(files), list(extra), unpacked
        stem = name or f"{kernel.key}-{mode}-{machine}"
        self.dir = host.LAB / "runs" / f"{stem}-{os.getpid()}-{next(_RUNS)}"
        self.console_path, self.trace_path = self.dir / "console.log", self.dir / "trace.log"
        self._trace = trace.Reader(self.trace_path, self.complete)
        self._process = self._agent = self.monitor = self._lock = None
        self._buffer, self._sequence = b"", 0
        self.allowed_splats = []

    # -- life ---------------------------------------------------------------------------

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, _trace):
        if kind is None:
            self.close()
        else:
            self.kill()

    def start(self):
        self._lock = host.lock("vm", "waiting for another VM to end")
        self._lock.__enter__()
        try:
            self._launch()
            self._boot()
        except BaseException:
            self.kill()
            raise
        return self

    def _launch(self):
        self._prune()
        self.dir.mkdir(parents=True)
        self._lay_out()
        if self.arch.device_tree:
            devicetree.write(self.arch, self._base_args(), self.dir)
        for disk in self.machine.disks:
            with open(self.dir / disk, "wb") as file:
                file.truncate(DISK_MIB << 20)
        pairs = [socket.socketpair() for _ in range(2)]
        theirs = [pair[1] for pair in pairs]
        with open(self.dir / "qemu.log", "wb") as log:
            self._process = subprocess.Popen(
                host.in_root(roots.QEMU.path, self._arguments(*[end.fileno() for end in theirs]),
                             binds=[(self.dir, "/mnt")]),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[end.fileno() for end in theirs])
        for end in theirs:
            end.close()
        self._agent, self._monitor_socket = pairs[0][0], pairs[1][0]
        self._agent.settimeout(SEND_SECONDS)

    def _lay_out(self):
        """What the guest starts from, in the run's directory."""
        initramfs.write(self.kernel, self.dir / "initrd", self._files)
        shutil.copyfile(images.bootable(self.kernel, self._unpacked), self.dir / "vmlinuz")

    def _start_arguments(self):
        """How QEMU starts that."""
        return ["-kernel", "/mnt/vmlinuz", "-initrd", "/mnt/initrd", "-append", self._command_line()]

    def _command_line(self, *more):
        return " ".join([f"console={self.arch.console}", _PANIC, self.arch.cmdline,
                         machines.MODES[self.mode].cmdline, *more, self._cmdline])

    def _prune(self):
        """Keep the evidence of the last runs only."""
        runs = sorted((host.LAB / "runs").glob("*"), key=lambda path: path.stat().st_mtime)
        for path in runs[:-KEEP_RUNS]:
            host.remove_tree(path)

    def _base_args(self):
        return machines.base_args(self.arch, self.mode, self.machine, self._smp, self._icount)

    def _arguments(self, agent, monitor):
        args = [self.arch.qemu, *self._base_args(), *self._start_arguments(),
                "-chardev", "file,id=console,path=/mnt/console.log", "-serial", "chardev:console",
                "-chardev", f"socket,id=agent,fd={agent}", *machines.AGENT,
                "-chardev", f"socket,id=monitor,fd={monitor}",
                "-mon", "chardev=monitor,mode=control",
                "-D", "/mnt/trace.log", "-msg", "timestamp=on"]
        if self.arch.device_tree:
            args += ["-dtb", f"/mnt/{devicetree.NAME}"]
        for event in machines.TRACE_EVENTS[self.arch]:
            args += ["-trace", event]
        args += [arg.replace("@disk0@", "/mnt/disk0") for arg in self.machine.args]
        return args + self._extra

    def _boot(self):
        try:
            self.monitor = qmp.Monitor(self._monitor_socket)
        except (OSError, qmp.MonitorError) as error:
            raise LostVM(f"QEMU did not start: {self._file_tail('qemu.log')}") from error
        self._answer(0, self.boot_seconds, "boot")
        iommu = machines.MODES[self.mode]
        if (iommu.belief and self.kernel.series >= iommu.since
                and "lab/rglab.ko" in dict(self._files)):
            tree = self.kernel.arch.device_tree
            self.sh(_FIND_AGAIN.format(iommu.belief + " , keepbuses" * tree,
                                       _PORTS if tree else f"{_PORTS}/0000:*"), timeout=60)

    def close(self):
        """Power off; anything but a clean power-off and a quiet console is a failure."""
        try:
            self._request("sync; poweroff -f")
            self._await_end(host.Patience(30))
            console = self.console()
            if "reboot: Power down" not in console:
                raise self._lost("the VM ended without powering off")
            self.check_console()
        finally:
            self.kill()

    def _await_end(self, patience):
        while self._process.poll() is None:
            # Readable at the end, too.
            if select.select([self._agent], [], [], LOOK_SECONDS)[0]:
                if not self._bytes():
                    self._process.wait(10)
            elif patience.over():
                raise LostVM(f"no power-off within 30 s\n{self.console_tail()}")

    def kill(self):
        """End QEMU, whatever state it is in; idempotent."""
        if self._process and self._process.poll() is None:
            self._process.kill()
        if self._process:
            self._process.wait()
        for name in ("initrd", "vmlinuz", *self.machine.disks):
            (self.dir / name).unlink(missing_ok=True)
        if self._lock:
            self._lock.__exit__(None, None, None)
            self._lock = None

    @property
    def alive(self):
        return self._process is not None and self._process.poll() is None

    # -- evidence -----------------------------------------------------------------------

    def console(self):
        try:
            return self.console_path.read_text(errors="replace").replace("\r", "")
        except FileNotFoundError:
            return ""

    def console_tail(self, lines=40):
        return "\n".join(self.console().splitlines()[-lines:])

    def _file_tail(self, name, count=2000):
        return (self.dir / name).read_text(errors="replace")[-count:].strip()

    def check_console(self):
        """Raise if the kernel has complained."""
        found = splats.scan(self.console(), self.allowed_splats)
        if found:
            raise Splat(f"{len(found)} complaints on {self.console_path}:\n" + "\n".join(found[:20]))

    def trace(self):
        """All events of the case so far, as a trace.Trace."""
        return trace.Trace(self._trace.read())

    def complete(self, events):
        """Events of the trace that guest memory has more to say of, if it can still be asked."""
        if not machines.is_smmu(self.mode) or not self.alive:
            return events
        return smmuv3_queue.complete(events, lambda: smmuv3_queue.Queue(self))

    def new_case(self, name):
        """What comes now belongs to another case."""
        self._trace.forget()
        self.write("/dev/kmsg", f"lab: {name}\n")

    # -- the guest ----------------------------------------------------------------------

    def _request(self, command, kind="run"):
        self._sequence += 1
        data = command if isinstance(command, bytes) else command.encode()
        code = base64.b64encode(data).decode()
        self._send(f"{self._sequence} {kind} {code}\n".encode())
        return self._sequence

    def _send(self, data):
        try:
            self._agent.sendall(data)
        except OSError as error:
            raise self._lost(f"the agent's port takes nothing: {error}") from error

    def _lost(self, text, more=""):
        """What to raise now that the guest is gone."""
        kind = EmulatorFault if splats.stray_breakpoint(self.console()) else LostVM
        return kind(f"{text}\n{self.console_tail()}{more}")

    def _bytes(self):
        """What the agent's port has for us; nothing where QEMU is gone."""
        try:
            return self._agent.recv(1 << 20)
        except ConnectionResetError:  # it left a request unread
            return b""

    def _answer(self, sequence, timeout, what):
        patience = host.Patience(timeout)
        prefix = f"RG {sequence} ".encode()
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                start = line.find(prefix)
                if start >= 0:
                    rc, _, text = line[start + len(prefix):].strip().partition(b" ")
                    return Result(int(rc), base64.b64decode(text))
            self._receive(patience, what)

    def _receive(self, patience, what):
        """Wait for more bytes, a dead QEMU or the end of patience."""
        while not select.select([self._agent], [], [], LOOK_SECONDS)[0]:
            if patience.over():
                raise LostVM(f"no answer in time to: {what}\n{self.console_tail()}")
        data = self._bytes()
        if not data:
            self._process.wait()
            raise self._lost(f"the VM died during: {what}",
                             "\n" + self._file_tail("qemu.log", 500))
        self._buffer += data

    def ask(self, kind, text, timeout=30):
        """One request of the agent, see test/lab/rgxagent.c; returns Result(rc, data)."""
        return self._answer(self._request(text, kind), timeout, f"{kind} {text[:200]}")

    def sh(self, command, timeout=30, check=True):
        """Run a shell command; returns Result(rc, out)."""
        result = self.ask("run", command, timeout)
        if check and result.rc:
            raise CommandFailed(f"`{command}` gave {result.rc}:\n{result.out}")
        return result

    def begin(self, command, timeout=30):
        """Send a shell command; what is returned waits for its Result."""
        sequence = self._request(command)
        return lambda: self._answer(sequence, timeout, command.splitlines()[0])

    def bg(self, command):
        """Start a shell command and return at once."""
        return Background(self, int(self._done("job", command).out), command)

    def _done(self, kind, text):
        result = self.ask(kind, text)
        if result.rc:
            raise CommandFailed(f"{kind} {text[:200]}: {os.strerror(-result.rc)}")
        return result

    def read(self, path):
        """What a file holds, as bytes; raises CommandFailed."""
        return self._done("read", path).data

    def write(self, path, text):
        """Write to a file with one call; raises CommandFailed."""
        self._done("write", f"{path} {text}")

    def loaded(self, module):
        """Whether a module is loaded and ready."""
        return self.ask("read", f"/sys/module/{module}/initstate").out.strip() == "live"

    def put(self, path, data, mode="755"):
        """Write a file in the guest; no space in its path."""
        data = data if isinstance(data, bytes) else Path(data).read_bytes()
        quoted = shlex.quote(path)
        self.sh(f"mkdir -p {shlex.quote(os.path.dirname(path))}; : > {quoted}; "
                f"chmod {mode} {quoted}")
        for start in range(0, len(data), PUT_BYTES):
            self._done("append", path.encode() + b" " + data[start:start + PUT_BYTES])

    def mark(self, number):
        """Leave a mark in the trace: see trace.MARK_OFFSET."""
        self.sh(f"rgx mark {trace.MARK_OFFSET} {number}")

    # -- QEMU ---------------------------------------------------------------------------

    def qmp(self, command, **arguments):
        return self.monitor.execute(command, **arguments)

    def trace_event(self, name, on=True):
        """Have QEMU write an event down from now on, or not."""
        self.qmp("trace-event-set-state", name=name, enable=on)

    def hmp(self, line):
        return self.monitor.human(line)
