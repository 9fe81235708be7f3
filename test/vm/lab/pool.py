# SPDX-License-Identifier: GPL-2.0
"""Keeps the one running VM between the cases that can share it."""

from dataclasses import dataclass

from . import build, machines, roots, upstream
from .host import LabError
from .vm import VM, LostVM

# Each kernel boots once from the image as it is shipped, with KASLR.
AS_SHIPPED = ("legacy", "scenario")


@dataclass(frozen=True)
class Key:
    """What a case needs of a boot; equal keys share one."""

    kernel: str
    mode: str
    machine: str
    boot: tuple = ()
    fresh: str = ""

    def __str__(self):
        parts = [self.kernel, self.mode, self.machine]
        return "-".join(parts + [f"{name}={value}" for name, value in self.boot])


class Pool:
    """At most one VM; it belongs to one key. A VM that died is replaced at the next get()."""

    def __init__(self):
        self._key = self._vm = None
        self._failed = {}

    def get(self, key, kernel):
        if self._vm and (self._key != key or not self._vm.alive):
            self.kill()
        if key in self._failed:
            raise LabError(f"it did not boot for the first case either: {self._failed[key]}")
        if not self._vm:
            try:
                self._key, self._vm = key, self._start(key, kernel)
            except (LabError, LostVM) as error:
                self._failed[key] = str(error).splitlines()[0]
                raise
        return self._vm

    @staticmethod
    def _start(key, kernel):
        roots.ensure(roots.QEMU, kernel.arch.qemu_packages)
        files = build.guest_files(kernel)
        if machines.MACHINES[key.machine].selftests:
            files += upstream.guest_files(kernel)
        vm = VM(kernel, key.mode, key.machine, files=files,
                unpacked=(key.mode, key.machine) != AS_SHIPPED, **dict(key.boot))
        return vm.start()

    def close(self):
        """End it cleanly; raises if it does not end so."""
        vm, self._vm = self._vm, None
        if vm and vm.alive:
            vm.close()
        elif vm:
            vm.kill()

    def kill(self):
        vm, self._vm = self._vm, None
        if vm:
            vm.kill()
