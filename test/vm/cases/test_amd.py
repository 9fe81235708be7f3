# SPDX-License-Identifier: GPL-2.0
"""What is AMD-Vi's own: device table entries to the bit, page tables that grow, v2 tables."""

import pytest
from lab import memory, pci

from scenario import EDU, FIRST, IOVA, NVME, rgx, window

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.modes("amd")]
IOTLB = 1 << 32
HIGH, PATTERN = 1 << 39, 0x4444  # what a table of three levels does not reach


def entry(vm, bdf):
    return memory.context_entry(vm, bdf)


@pytest.mark.few
def test_entry(vm, gate, endpoint):
    """The device table entry is the blocked one for as long as the window is, whatever the driver
    is asked for meanwhile, and to the bit what the same calls make it without a reset.

    Deliberate breaks: rg_amd_blocked() finds none; on 6.1 rg_amd_divert_set() passes all; blocking
    keeps the IOTLB bit.
    """
    gate()
    one = endpoint()
    wanted = {"same": one.context.words}
    one.rgx("detach")
    detached = one.context
    wanted["detached"] = detached.words
    one.rgx("attach", one.b)
    wanted["other"] = one.context.words
    one.rgx("detach")
    one.rgx("attach", one.a)
    assert len(set(wanted.values())) == 3
    # 6.1 detaches to an empty domain. From then on the entry is cleared, up to 6.12 but for the bit
    # that lets translated requests pass, which blocking has cleared.
    if not detached.present:
        words = detached.words
        wanted["detached"] = (words[0], words[1] & ~IOTLB, *words[2:])
    calls = {"same": (), "detached": ("detach",), "other": ("detach", f"attach {one.b}")}
    for name, commands in calls.items():
        with one.window():
            assert one.context.blocked, name
            for command in commands:
                what, *words = command.split()
                one.rgx(what, *words)
                assert one.context.blocked, f"{name}: {command}"
        assert one.context.words == wanted[name], name
        if name == "other":
            one.rgx("detach")
        if commands:
            one.rgx("attach", one.a)


def test_interrupts(vm, gate):
    """The entry's interrupt fields stay as they are: a function's interrupts go on.

    Deliberate break: rg_amd_write_blocked() clears the third quadword, too.
    """
    gate("scope=all")
    vm.sh("modprobe nvme; i=0; until [ -b /dev/nvme0n1 ] || [ $i = 100 ]; do i=$((i+1)); "
          "usleep 50000; done; dd if=/dev/nvme0n1 of=/dev/null bs=64k count=4 iflag=direct 2>&1")
    before = entry(vm, NVME)
    remapped = "Interrupt remapping enabled" in vm.sh("dmesg").out
    assert bool(before.interrupts[0]) == remapped
    with window(vm, NVME):
        assert entry(vm, NVME).blocked and entry(vm, NVME).interrupts == before.interrupts
    assert entry(vm, NVME).words == before.words
    vm.sh("dd if=/dev/nvme0n1 of=/dev/null bs=64k count=4 iflag=direct 2>&1")


def test_growth(vm, gate, endpoint):
    """A page table gets one more level in the window: the entry stays blocked, and after the
    window the new level is in force.

    Deliberate break: rg_amd_divert_set() passes all.
    """
    gate()
    one = endpoint()
    before = one.context
    with one.window():
        rgx(vm, "map", one.a, hex(HIGH), "0x1000", hex(PATTERN))
        assert one.context.blocked
    after = one.context
    assert after.mode > before.mode and after.pointer != before.pointer
    for iova, pattern in ((HIGH, PATTERN), (IOVA, one.data(one.a))):
        page = memory.page(vm, FIRST, iova)
        assert page and memory.quads(vm, page, 1)[0] == pattern, hex(iova)
    rgx(vm, "unmap", one.a, hex(HIGH), "0x1000")


@pytest.mark.boot(cmdline="iommu=pt")
@pytest.mark.sample("bookworm", "trixie-backports")
def test_pass_through(vm, gate):
    """A function in the identity domain: blocked in the window, let through after it.

    Deliberate break: rg_amd_write_open() does not call the driver.
    """
    gate("scope=all")
    rgx(vm, "bind", FIRST)
    before = entry(vm, FIRST)
    assert before.present and not before.mode and not before.guest
    with window(vm, FIRST):
        assert entry(vm, FIRST).blocked
    assert entry(vm, FIRST).words == before.words
    rgx(vm, "rebind", FIRST)


@pytest.fixture
def v2(vm):
    """edu is found again by a driver that gives new default domains v2 tables."""
    def find_again(tables):
        rgx(vm, "amdtables", tables)
        vm.sh(f"echo 1 > {pci.sysfs(EDU)}/remove; echo 1 > /sys/bus/pci/rescan")

    find_again("v2")
    yield
    if vm.alive:
        find_again("v1")


def test_v2_tables(vm, gate, v2):
    """With a GCR3 table: the window blocks all of it, and what is attached anew in the window is
    what the entry leads to afterwards.

    Deliberate break: rg_amd_write_blocked() leaves GV as it was.
    """
    gate("scope=all")
    before, root = entry(vm, EDU), memory.table_root(vm, EDU)
    assert before.present and before.guest and root[0]
    with window(vm, EDU, "bus"):
        assert entry(vm, EDU).blocked
    assert entry(vm, EDU).words == before.words
    with window(vm, EDU, "bus"):
        rgx(vm, "claim", EDU)
        assert entry(vm, EDU).blocked
        rgx(vm, "release", EDU)
        assert entry(vm, EDU).blocked
    after = entry(vm, EDU)
    assert after.present and after.guest and memory.table_root(vm, EDU)[0] == root[0]
