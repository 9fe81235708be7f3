# SPDX-License-Identifier: GPL-2.0
"""Functions in the hands of user space: a process that holds them by VFIO, as a VMM does."""

import time

from lab import host, machines, memory, pci

from scenario import IOVA, Endpoint


class Assigned(Endpoint):
    """A function bound to vfio-pci; what hardware shows of it is as of any other."""

    def __init__(self, vm, bdf):  # pylint: disable=super-init-not-called
        self.vm, self.bdf = vm, bdf
        # The first call of its reset methods is not to be in a window.
        # The emulated AMD-Vi remaps no interrupts.
        unsafe = " allow_unsafe_interrupts=1" if machines.is_amd(vm.mode) else ""
        vm.sh(f"modprobe vfio-pci; modprobe vfio_iommu_type1{unsafe}; rgx bind {bdf} vfio-pci; "
              f"cat {pci.sysfs(bdf)}/reset_method")
        self.config = pci.config(vm, bdf)

    def at(self, iova=IOVA):
        """First word of the page that the function's DMA to an address reaches now, or None."""
        page = memory.page(self.vm, self.bdf, iova)
        return None if page is None else memory.quads(self.vm, page, 1)[0]

    def close(self, restored=True):
        """Put everything back; as Endpoint.close() has it."""
        bdf = self.bdf
        self.vm.sh(f"rgx -k unhold {bdf} , mute {bdf} off , " + f"rebind {bdf} , " * restored +
                   "events clear", check=False)


class Process:
    """The process itself; `do` asserts, `errno` gives 0 or -errno."""

    def __init__(self, vm, name):
        self._vm, self.name = vm, name
        self.pid = int(vm.sh(f"rgxvfio {name} start").out)

    def command(self, *words):
        return f"rgxvfio {self.name} " + " ".join(map(str, words))

    def do(self, *words):
        return self._vm.sh(self.command(*words)).out.strip()

    def errno(self, *words):
        result = self._vm.sh(self.command(*words), check=False)
        assert result.rc != 2, f"wrong use of rgxvfio: {result.out}"
        return int(result.out.split()[0])

    def take(self, bdf, pattern):
        """A function with a page of that pattern at IOVA, as a guest's memory."""
        self.do("join", bdf, ",", "open", bdf, ",", "map", hex(IOVA), "0x1000", hex(pattern))

    @property
    def gone(self):
        """Every thread of it: what it had open is closed, and what it had mapped is free."""
        path = f"/proc/{self.pid}"
        return self._vm.sh(f"[ ! -d {path} ] || {{ grep -q 'State:.Z' {path}/status && "
                           f"[ $(ls {path}/task | wc -l) = 1 ]; }}", check=False).rc == 0

    def kill(self):
        self._vm.sh(f"kill -9 {self.pid}", check=False)

    def wait_gone(self, seconds=20):
        patience = host.Patience(seconds)
        while not self.gone:
            assert not patience.over(), f"{self.name} does not end"
            time.sleep(.1)


def pinned(vm):
    """Pages that are pinned for DMA."""
    text = vm.sh("echo 1 > /proc/sys/vm/stat_refresh; grep nr_foll_pin /proc/vmstat").out
    counts = dict(line.split() for line in text.splitlines())
    return int(counts["nr_foll_pin_acquired"]) - int(counts["nr_foll_pin_released"])
