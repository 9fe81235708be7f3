# SPDX-License-Identifier: GPL-2.0
"""Two functions behind a PCIe-to-PCI bridge: all their DMA carries one requester ID."""

import contextlib

import pytest
from lab import memory

from scenario import IOVA, OLD, gate_file, rgx

# In scalable mode the driver makes no entry for an alias.
pytestmark = [pytest.mark.machine("scenario"), pytest.mark.modes("legacy")]
ONE, TWO, ALIAS = "07:01.0", "07:02.0", "07:00.0"


@pytest.fixture
def group(vm):
    """Both in one domain, in the exerciser's hands."""
    vm.sh("echo 0000:06:00.0 > /sys/bus/pci/devices/0000:06:00.0/driver/unbind", check=False)
    vm.sh(f"rgx bind {ONE} , bind {TWO} , claim {ONE} , domain new d {ONE} , map d {IOVA:#x} 0x1000 {OLD} , "
          f"attach {ONE} d")
    yield
    if vm.alive:
        vm.sh(f"rgx -k unhold {ONE} , unhold {TWO} , detach {ONE} , release {ONE} , "
              f"domain free d , unbind {ONE} , unbind {TWO}", check=False)


@contextlib.contextmanager
def window(vm, bdf):
    rgx(vm, "hold", bdf, "pm")
    # Not pci_reset_function(): that locks the bridge above both.
    job = vm.bg(f"rgx reset {bdf} __locked")
    try:
        rgx(vm, "waitreset", bdf)
        yield
    finally:
        rgx(vm, "unhold", bdf)
        job.wait()


def alias(vm):
    return memory.context_entry(vm, ALIAS)


def test_shared_requester_id(vm, gate, group):
    """I2: the alias stays open while a sibling lives, is blocked once the last sharer is in
    reset, and opens with the first.

    Deliberate breaks: rg_gate_block() takes a shared requester ID with its first sharer; or
    forgets the aliases.
    """
    gate("scope=all")
    before = alias(vm)
    assert before.present
    with window(vm, ONE):
        assert gate_file(vm, ONE, "state") == "closed"
        assert alias(vm).present, "its sibling lives"
        with window(vm, TWO):
            assert not alias(vm).present, "both are in reset"
            rgx(vm, "detach", ONE)
            rgx(vm, "attach", ONE, "d")
            assert not alias(vm).present
        assert alias(vm).present, "one of them is back"
    assert alias(vm).pointer == before.pointer
    assert gate_file(vm, ONE, "state") == gate_file(vm, TWO, "state") == "open"
