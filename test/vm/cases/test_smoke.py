# SPDX-License-Identifier: GPL-2.0
"""The lab itself, on stock kernels: needs neither the module nor the exerciser."""

import pytest
from lab import host, machines, memory, pci, trace
from lab.vm import CommandFailed, LostVM

pytestmark = pytest.mark.machine("scenario")

BDF = "01:00.0"


@pytest.mark.once
def test_commands(stock_vm, kernel):
    """The agent runs commands, gives their exit code and output, and survives a failing one."""
    assert stock_vm.sh("uname -r").out.strip() == kernel.release
    assert stock_vm.sh("echo out; echo err >&2; exit 7", check=False).rc == 7
    job = stock_vm.bg("sleep .5; echo late; exit 3")
    assert not job.done()
    result = job.wait(check=False)
    assert (result.rc, result.out) == (3, "late\n") and job.done()
    with pytest.raises(CommandFailed, match="has not ended"):
        stock_vm.bg("sleep 5").wait(timeout=.1)
    assert stock_vm.sh("rgx", check=False).rc == 2, "without a shell"
    stock_vm.write("/run/text", "two words\n")
    assert stock_vm.read("/run/text") == b"two words\n"
    with pytest.raises(CommandFailed, match="No such file"):
        stock_vm.read("/run/nothing")
    stock_vm.put("/run/blob", bytes(range(256)) * 200)
    assert stock_vm.sh("wc -c < /run/blob").out.strip() == "51200"


def test_mode(stock_vm, kernel):
    """The IOMMU runs in the mode that was asked for, seen in its own tables."""
    stock_vm.sh("modprobe virtio_net")
    entry = memory.context_entry(stock_vm, BDF)
    assert entry.present and entry.device_tlb
    # Of SMMUv3's, stage 1 is behind the entry, stage 2 is in it.
    assert entry.scalable == (stock_vm.mode in ("sm-ss", "sm-fs", "smmu"))
    if machines.vendor(stock_vm.mode) == "vtd" and entry.scalable:
        stage = memory.pasid_entry(stock_vm, BDF).translation
        assert stage == {"sm-ss": 2, "sm-fs": 1}[stock_vm.mode]


@pytest.mark.once
def test_reset_in_trace(stock_vm):
    """An FLR is seen in the trace, between the marks, in order; ATS is restored after it."""
    stock_vm.sh("modprobe virtio_net")
    config = pci.config(stock_vm, BDF)
    stock_vm.mark(1)
    stock_vm.sh(f"echo flr > {pci.sysfs(BDF)}/reset_method; echo 1 > {pci.sysfs(BDF)}/reset")
    stock_vm.mark(2)
    window = stock_vm.trace().between(1, 2)
    start, = window.flr_start(BDF, config.express)
    assert [on for _, on in window.after(start).ats_writes(BDF, config.ats)][-1:] == [True]
    assert machines.vendor(stock_vm.mode) != "vtd" or stock_vm.trace().of(trace.RootSet)


@pytest.mark.parametrize("end", ("killed", "panic"))
@pytest.mark.fresh
@pytest.mark.once
@pytest.mark.kernels("trixie")
def test_lost(stock_vm, end):
    """A VM that dies in the middle of a request is a failure that says so, and of the next request
    as well; nobody waits for an answer until time is up.

    Deliberate break: VM._answer() takes a dead QEMU for an empty answer.
    """
    if end == "panic":
        stock_vm.bg("sleep 2; echo c > /proc/sysrq-trigger")
    answer = stock_vm.begin("sleep 100", timeout=120)
    assert stock_vm.alive
    if end == "killed":
        stock_vm.kill()
    patience = host.Patience(60)
    with pytest.raises(LostVM, match="the VM died during: sleep 100"):
        answer()
    assert not patience.over() and not stock_vm.alive
    with pytest.raises(LostVM):
        stock_vm.sh("true")
