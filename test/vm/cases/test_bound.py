# SPDX-License-Identifier: GPL-2.0
"""Functions with their real drivers, reset under verified I/O."""

import pytest
from lab import pci

from scenario import BLK, FIRST, NVME, SECOND, gate_file, windows

pytestmark = pytest.mark.machine("scenario")

IO = """
dd if=/dev/urandom of=/run/in bs=64k count=32 2>/dev/null
i=0
while [ $i -lt {rounds} ]; do
	i=$((i+1))
	(dd if=/run/in of={disk} bs=64k oflag=direct 2>/dev/null &&
	 dd if={disk} of=/run/out bs=64k count=32 iflag=direct 2>/dev/null) &
	sleep .0$((i % 5))
	echo 1 > {sysfs}/reset || exit 3
	wait $! || exit 4
	cmp /run/in /run/out || exit 5
done
echo verified $i
"""


def io_with_resets(vm, bdf, disk, rounds, timeout=100):
    """Rounds of write, reset in the middle, read back, compare."""
    vm.sh(f"i=0; while [ ! -b {disk} ] && [ $i -lt 100 ]; do i=$((i+1)); sleep .1; done")
    job = vm.bg(IO.format(rounds=rounds, disk=disk, sysfs=pci.sysfs(bdf)))
    result = job.wait(timeout=timeout, check=False)
    return result.rc == 0 and f"verified {rounds}" in result.out


@pytest.mark.once
def test_nvme(vm, gate):
    """20 sysfs resets of a bound nvme, 2 MiB of I/O in each, checksums right.

    Deliberate break: open after the driver's reset_done (its first commands are then lost).
    """
    gate("scope=all")
    vm.sh(f"modprobe nvme; rgx rebind {NVME}")
    rounds, before = 20, windows(vm, NVME)
    assert io_with_resets(vm, NVME, "/dev/nvme0n1", rounds)
    assert windows(vm, NVME) == before + rounds
    assert gate_file(vm, NVME, "state") == "open"
    vm.sh(f"rgx unbind {NVME}")


@pytest.mark.kernels("trixie-backports")
@pytest.mark.once
def test_virtio_blk(vm, gate):
    """20 sysfs resets of a bound virtio_blk with ATS, on a kernel that can do it.

    Deliberate break: ATS is turned on before the table is opened.
    """
    gate()
    vm.sh(f"modprobe virtio_blk; rgx rebind {BLK}")
    rounds, before = 20, windows(vm, BLK)
    assert io_with_resets(vm, BLK, "/dev/vda", rounds)
    assert windows(vm, BLK) == before + rounds
    vm.sh(f"rgx unbind {BLK}")


@pytest.mark.fresh
@pytest.mark.modes("legacy")
@pytest.mark.kernels("trixie")
@pytest.mark.parametrize("with_module", (False, True), ids=("stock", "gated"))
def test_virtio_blk_where_stock_cannot(vm, gate, with_module):
    """virtio_blk of 6.12 hangs after an FLR, with and without the module: no worse, no splat."""
    if with_module:
        gate()
    vm.sh("modprobe virtio_blk")
    assert not io_with_resets(vm, BLK, "/dev/vda", 1, timeout=8)
    assert "vda" in vm.sh("ls /dev").out


PING = """
ip link set {one} up; ip link set {two} up; ip addr add 10.9.0.1/24 dev {one} 2>/dev/null
sleep .3
before=$(cat /sys/class/net/{two}/statistics/rx_packets)
arping -c 3 -w 4 -I {one} 10.9.0.2 > /dev/null 2>&1
after=$(cat /sys/class/net/{two}/statistics/rx_packets)
echo $((after - before))
"""


def passes(vm):
    """How many packets get from the first virtio-net to the second."""
    one, two = (vm.sh(f"ls {pci.sysfs(bdf)}/virtio*/net").out.split()[-1]
                for bdf in (FIRST, SECOND))
    return int(vm.sh(PING.format(one=one, two=two)).out)


@pytest.mark.fresh
@pytest.mark.modes("legacy")
@pytest.mark.kernels("trixie")
@pytest.mark.parametrize("with_module", (False, True), ids=("stock", "gated"))
def test_virtio_net(vm, gate, with_module):
    """virtio_net loses its traffic to an FLR until it is bound again: no worse with the module."""
    if with_module:
        gate()
    vm.sh("modprobe virtio_pci; modprobe virtio_net; "
          f"rgx rebind {FIRST}; rgx rebind {SECOND}")
    assert passes(vm) > 0
    vm.sh(f"echo 1 > {pci.sysfs(FIRST)}/reset")
    assert passes(vm) == 0, "the stock driver has learnt it: expect it of the module too"
    vm.sh(f"rgx rebind {FIRST}")
    assert passes(vm) > 0
