# SPDX-License-Identifier: GPL-2.0
"""Functions with their real drivers, reset under verified I/O and traffic.

Ten rounds of each here, fifty in make soak: option --rounds; twice as many from sysfs under I/O.
"""

import contextlib
import time

import pytest
from lab import aer, memory, pci
from lab.soak import stuck_tasks

from scenario import BLK, FIRST, NVME, SECOND, gate_file, note, windows

pytestmark = pytest.mark.machine("scenario")

IGB = FIRST  # of machine "igb"
# How each is reset, and where QEMU injects its errors.
SYSFS, BUS, ERROR = "sysfs", "bus", "error"
PORTS = {NVME: "rp3", BLK: "rp4", FIRST: "rp0"}

IO = """
dd if=/dev/urandom of=/run/in bs=64k count=32 2>/dev/null
i=0 under=0
while [ $i -lt {rounds} ]; do
	i=$((i+1))
	(dd if=/run/in of={disk} bs=64k oflag=direct 2>/dev/null &&
	 dd if={disk} of=/run/out bs=64k count=32 iflag=direct 2>/dev/null) &
	sleep .0$((i % 5))
	kill -0 $! 2>/dev/null && under=$((under+1))
	{reset} || exit 3
	wait $! || exit 4
	cmp /run/in /run/out || exit 5
done
echo verified $i under $under
"""

# The same without an end, for resets that come from outside of the guest.
IO_ON = """
dd if=/dev/urandom of=/run/in bs=64k count=32 2>/dev/null
i=0
while [ ! -e /run/stop ]; do
	dd if=/run/in of={disk} bs=64k oflag=direct 2>/dev/null || exit 3
	dd if={disk} of=/run/out bs=64k count=32 iflag=direct 2>/dev/null || exit 4
	cmp /run/in /run/out || exit 5
	i=$((i+1)); echo $i > /run/rounds.new; mv /run/rounds.new /run/rounds
done
"""
MORE = "n=$(cat /run/rounds); i=0; until [ $(cat /run/rounds) -gt $n ]; do " \
       "i=$((i+1)); [ $i -lt 250 ] || exit 1; sleep .1; done"


@pytest.fixture
def rounds(request):
    return request.config.option.rounds


def command(bdf, way):
    return f"rgx reset {bdf} hot" if way == BUS else f"echo 1 > {pci.sysfs(bdf)}/reset"


def there(vm, disk):
    vm.sh(f"i=0; while [ ! -b {disk} ] && [ $i -lt 250 ]; do i=$((i+1)); sleep .1; done")


def io_with_resets(vm, bdf, disk, rounds, way=SYSFS, timeout=None):
    """Rounds of write, reset in the middle, read back, compare; in most of them it was there."""
    there(vm, disk)
    job = vm.bg(IO.format(rounds=rounds, disk=disk, reset=command(bdf, way)))
    result = job.wait(timeout=timeout or 30 + 5 * rounds, check=False)
    said = result.out.split()[-4:]
    return result.rc == 0 and said[:2] == ["verified", str(rounds)] and int(said[3]) > rounds // 2


def recovered(vm, bdf, number):
    """Inject a fatal error; the kernel's verdict on its recovery."""
    marker = note(vm, f"case: error {number} of {bdf}")
    aer.inject(vm, f"{PORTS[bdf]} DLP")
    return vm.sh(aer.over(marker)).out.split()[-1]


def parks(vm, bdf):
    """The kernel says that a recovery has failed just before it is over."""
    deadline = time.monotonic() + 5
    while gate_file(vm, bdf, "state") != "parked":
        assert time.monotonic() < deadline, gate_file(vm, bdf, "state")


def io_with_errors(vm, bdf, disk, rounds):
    """Verified I/O all the time, and fatal errors that the driver has to get over."""
    there(vm, disk)
    vm.sh("rm -f /run/stop; echo 0 > /run/rounds")
    job = vm.bg(IO_ON.format(disk=disk))
    try:
        for number in range(rounds):
            assert recovered(vm, bdf, number) == "successful"
            vm.sh(MORE)
    finally:
        vm.sh("touch /run/stop")
        result = job.wait(timeout=30, check=False)
        vm.sh("rm /run/stop")
    return result.rc == 0


def reset_all(vm, bdf, disk, rounds, way):
    """All the rounds of one way; each closed the gate once, and nobody is stuck."""
    before = windows(vm, bdf)
    rounds *= 2 if way == SYSFS else 1
    if way == ERROR:
        assert io_with_errors(vm, bdf, disk, rounds)
    else:
        assert io_with_resets(vm, bdf, disk, rounds, way)
    assert windows(vm, bdf) == before + rounds
    assert gate_file(vm, bdf, "state") == "open"
    assert stuck_tasks(vm) == ""


@pytest.mark.parametrize("way", (SYSFS, BUS, ERROR))
@pytest.mark.once
def test_nvme(vm, gate, rounds, way):
    """A bound nvme with 2 MiB of I/O in each reset: from sysfs, of its bus, and in the recovery
    from a fatal error of its port. Checksums are right.

    Deliberate break: open after the driver's reset_done (its first commands are then lost).
    """
    gate("scope=all")
    vm.sh(f"modprobe nvme; rgx rebind {NVME}")
    reset_all(vm, NVME, "/dev/nvme0n1", rounds, way)
    vm.sh(f"rgx unbind {NVME}")


@pytest.mark.parametrize("way", (SYSFS, BUS))
@pytest.mark.kernels("trixie-backports")
@pytest.mark.once
def test_virtio_blk(vm, gate, rounds, way):
    """A bound virtio_blk with ATS, on a kernel whose driver can do it.

    Deliberate break: the driver is told of the end a tenth of a second before it is open.
    """
    gate()
    vm.sh(f"modprobe virtio_blk; rgx rebind {BLK}")
    reset_all(vm, BLK, "/dev/vda", rounds, way)
    vm.sh(f"rgx unbind {BLK}")


def mended(vm, bdf):
    """What nobody does for virtio after a recovery that failed: its BARs, and a new start."""
    vm.sh(f"rgx busmaster {bdf} on , rebind {bdf}")


def blk_with_errors(vm, rounds, in_between):
    """virtio_pci has no error_detected: recovery fails, and a new bind mends it."""
    vm.sh(f"modprobe virtio_blk; rgx rebind {BLK}")
    for number in range(rounds):
        there(vm, "/dev/vda")
        assert vm.sh(IO.format(rounds=1, disk="/dev/vda", reset=":")).out.split()[-1] == "1"
        assert recovered(vm, BLK, number) == "failed"
        in_between()
        mended(vm, BLK)
    there(vm, "/dev/vda")
    assert vm.sh(IO.format(rounds=1, disk="/dev/vda", reset=":")).out.split()[-1] == "1"
    assert stuck_tasks(vm) == ""
    vm.sh(f"rgx unbind {BLK}")


@pytest.mark.kernels("trixie-backports")
@pytest.mark.once
def test_stock_virtio_blk_errors(vm, rounds):
    """Without the module: the recovery fails, and the IOMMU goes on translating for the function
    that nobody has restored."""
    def open_wide():
        assert memory.context_entry(vm, BLK).present

    blk_with_errors(vm, rounds, open_wide)


@pytest.mark.kernels("trixie-backports")
@pytest.mark.once
def test_virtio_blk_errors(vm, gate, rounds):
    """With it: the same, but the function is parked, blocked, until its driver lets go of it.

    Deliberate break: rg_recovery_end() does not call rg_scope_fail().
    """
    gate()

    def parked():
        parks(vm, BLK)
        assert not memory.context_entry(vm, BLK).present

    blk_with_errors(vm, rounds, parked)
    assert gate_file(vm, BLK, "state") == "open"


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
    if with_module:
        assert windows(vm, BLK) == 1 and gate_file(vm, BLK, "state") == "open"


# One end of a hub is the function under test, the other is in a network namespace of its own.
OTHER_END = """
unshare -n sleep 100000 > /dev/null 2>&1 &
echo $! > /run/ns; rm -f /run/wait; mkfifo /run/wait
i=0; until [ "$(readlink /proc/$(cat /run/ns)/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do
	i=$((i+1)); [ $i -lt 250 ] || exit 1; sleep .1
done
ip link set {two} netns $(cat /run/ns)
nsenter -n -t $(cat /run/ns) sh -c 'ip addr add 10.9.0.2/24 dev {two}; ip link set {two} up'
dd if=/dev/urandom of=/run/net.in bs=64k count=8 2>/dev/null
"""
THIS_END = """
ip addr add 10.9.0.1/24 dev {one} 2>/dev/null; ip link set {one} up
i=0; until [ "$(cat /sys/class/net/{one}/carrier)" = 1 ]; do
	i=$((i+1)); [ $i -lt 250 ] || exit 1; sleep .1
done
"""
# Half a megabyte by TCP, compared; the FIFO keeps the listener's input open. Nobody can be
# connected to before the listener listens, and it takes one connection only.
TRANSFER = """
timeout 20 nsenter -n -t $(cat /run/ns) nc -l -p 7 > /run/net.out 2>/dev/null <> /run/wait &
i=0; until timeout 20 nc 10.9.0.2 7 < /run/net.in 2>/dev/null; do
	i=$((i+1)); [ $i -lt 50 ] || break; usleep 100000
done
wait $!
cmp /run/net.in /run/net.out
"""


class Traffic:
    """A network function of the guest and the one at the other end of the hub."""

    def __init__(self, vm, bdf, names):
        self._vm, self._bdf, self._names = vm, bdf, names
        # IPv6 joins groups whenever it likes, and virtio_net then spins until its function, which
        # may have been reset just before, has answered.
        vm.sh("echo 1 | tee /proc/sys/net/ipv6/conf/*/disable_ipv6")
        vm.sh(f"rgx rebind {bdf} , rebind {SECOND}")
        two = vm.sh(f"ls {pci.sysfs(SECOND)}/virtio*/net").out.split()[-1]
        vm.sh(OTHER_END.format(two=two))
        self.up()

    def up(self):
        """This end has an address and a carrier."""
        one = self._vm.sh(f"ls {pci.sysfs(self._bdf)}/{self._names}").out.split()[-1]
        self._vm.sh(THIS_END.format(one=one))

    def passes(self):
        """Half a megabyte arrives as it was sent."""
        return self._vm.sh(TRANSFER, timeout=50, check=False).rc == 0

    def hears(self):
        """A ping is answered."""
        return self._vm.sh("ping -c 2 -W 1 10.9.0.2", check=False).rc == 0

    @contextlib.contextmanager
    def flowing(self):
        """Packets in both directions all the time."""
        self._vm.sh("ping -A -s 1400 10.9.0.2 > /dev/null 2>&1 & echo $! > /run/ping")
        yield
        # It gives up by itself where the network goes away under it.
        self._vm.sh("kill $(cat /run/ping)", check=False)

    def close(self):
        self._vm.sh("kill $(cat /run/ns) $(cat /run/ping); rm -f /run/wait; sleep .5; "
                    "rmmod virtio_net", check=False)


@pytest.fixture
def traffic(vm):
    """traffic(bdf, names): its driver is there; given back at the end."""
    made = []

    def make(bdf, names="virtio*/net"):
        made.append(Traffic(vm, bdf, names))
        return made[-1]

    yield make
    if vm.alive:
        for one in made:
            one.close()


def net_with_resets(vm, net, rounds, way, in_between=lambda: None):
    """virtio_net has no reset_prepare, virtio_pci no error_detected: a new bind mends it."""
    assert net.passes()
    for number in range(rounds):
        with net.flowing():
            if way == ERROR:
                assert recovered(vm, FIRST, number) == "failed"
                in_between()
            else:
                vm.sh(command(FIRST, way))
        assert number or not net.hears(), "the stock driver has learnt it: expect it here, too"
        mended(vm, FIRST)
        net.up()
        assert net.passes(), f"{way}, round {number}"
    assert stuck_tasks(vm) == ""


@pytest.mark.parametrize("way", (SYSFS, BUS, ERROR))
@pytest.mark.kernels("trixie", "trixie-backports")
@pytest.mark.sample("trixie-backports")
@pytest.mark.once
def test_stock_virtio_net_traffic(vm, traffic, way):
    """virtio_net loses its traffic to each kind of reset until it is bound again, without the
    module, too: the case below does as much about it, no more."""
    vm.sh("modprobe virtio_pci; modprobe virtio_net")
    net_with_resets(vm, traffic(FIRST), 1, way,
                    lambda: memory.context_entry(vm, FIRST).present or pytest.fail("blocked"))


@pytest.mark.parametrize("way", (SYSFS, BUS, ERROR))
@pytest.mark.kernels("bookworm", "trixie", "trixie-backports")
@pytest.mark.once
def test_virtio_net_traffic(vm, kernel, gate, traffic, rounds, way):
    """virtio_net with ATS under traffic, bound again after each reset: data arrives as sent.

    Deliberate break: rg_gate_rebound() does nothing (a failed recovery stays parked).
    """
    if way == ERROR and kernel.series < (6, 11):
        pytest.skip("6.1's driver spins on its control queue for ever once its function is gone")
    gate()
    vm.sh("modprobe virtio_pci; modprobe virtio_net")

    before = windows(vm, FIRST)
    net_with_resets(vm, traffic(FIRST), rounds, way, lambda: parks(vm, FIRST))
    assert windows(vm, FIRST) == before + rounds
    assert gate_file(vm, FIRST, "state") == "open"


@pytest.mark.machine("igb")
@pytest.mark.kernels("trixie-rt")
@pytest.mark.once
def test_igb_traffic(vm, gate, traffic, rounds):
    """igb under traffic through fatal errors: it recovers by itself. (From other resets it does
    not, on no kernel: it has no reset_prepare, and warns of what it reads.)

    Deliberate break: rg_recovery_failed() takes what has recovered for what has failed.
    """
    gate("scope=all")
    vm.sh("modprobe igb; modprobe virtio_pci; modprobe virtio_net")
    net, before = traffic(IGB, "net"), windows(vm, IGB)
    assert net.passes()
    for number in range(rounds):
        with net.flowing():
            assert recovered(vm, IGB, number) == "successful"
            net.up()
        assert net.passes(), f"round {number}"
    assert windows(vm, IGB) == before + rounds
    assert stuck_tasks(vm) == ""
    vm.sh("rmmod igb")
