# SPDX-License-Identifier: GPL-2.0
"""Fixtures of the scenario cases."""

import types

import pytest
from lab import pci

import scenario
import vmm


@pytest.fixture
def endpoint(vm):
    """endpoint(bdf) takes a function; all are given back at the end."""
    taken = []

    def take(bdf=scenario.FIRST, **kwargs):
        taken.append(scenario.Endpoint(vm, bdf, **kwargs))
        return taken[-1]

    yield take
    if vm.alive:
        for one in taken:
            one.close()


@pytest.fixture
def vfio(vm):
    """vfio.function(bdf) binds one to vfio-pci, vfio.process(name) starts one that can hold it;
    all are gone at the end."""
    functions, processes = [], []

    def function(bdf):
        functions.append(vmm.Assigned(vm, bdf))
        return functions[-1]

    def process(name="vmm"):
        processes.append(vmm.Process(vm, name))
        return processes[-1]

    yield types.SimpleNamespace(function=function, process=process)
    if not vm.alive:
        return
    vm.sh(" ; ".join(["true"] + [f"rgx unhold {one.bdf}" for one in functions]), check=False)
    for one in processes:
        one.kill()
    for one in processes:
        one.wait_gone()
    for one in functions:
        one.close()


@pytest.fixture
def contain(vm):
    """contain(port): the kernel finds DPC in that port; at the end it finds none."""
    taken = []

    def scan_again(port):
        vm.sh(f"echo 1 > {pci.sysfs(port)}/remove; echo 1 > /sys/bus/pci/rescan", timeout=60)

    def take(port):
        scenario.rgx(vm, "dpc", port, "on")
        taken.append(port)
        scan_again(port)

    yield take
    for port in taken if vm.alive else ():
        vm.sh(f"rgx -k linger off , vote need_reset recovered , dpc {port} release , "
              f"link {port} up", check=False)
        # What comes back by hotplug does so before the next removal.
        vm.sh("echo 1 > /sys/bus/pci/rescan", timeout=60)
        scenario.rgx(vm, "dpc", port, "off")
        scan_again(port)
