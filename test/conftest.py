# SPDX-License-Identifier: GPL-2.0
"""Runs cases over kernels and IOMMU modes; cases that can share a boot do."""

import os

import pytest
from _pytest.runner import runtestprotocol

from lab import build, host, images, kernels, machines, pool
from lab.__main__ import setup

DEFAULT_MODES = ("legacy", "sm-ss", "sm-fs", "amd")
# What does not depend on the mode runs in one of each vendor's on each kernel.
ONCE = {"bookworm": "legacy", "trixie": "sm-ss", "trixie-rt": "sm-fs", "trixie-backports": "sm-fs"}
# The driver of AMD-Vi differs most between these: there it passes each path in a sample, too.
AMD_SAMPLE = ("bookworm", "trixie-backports")
# This kernel's source is trixie's.
SAMPLE_MODES = {"trixie-rt": ("sm-fs", "amd")}
_KEY = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("lab")
    group.addoption("--kernels", default="", help="comma-separated suite keys; every case on each")
    group.addoption("--every", action="store_true", help="every case on every kernel")
    group.addoption("--modes", default="", help="comma-separated IOMMU modes")
    group.addoption("--rounds", type=int, default=10, help="resets of each kind under I/O")
    group.addoption("--long", action="store_true", help="the cases that take minutes, too")


def pytest_configure(config):
    """The chosen kernels are there before the tests are collected."""
    host.check_machine()
    results = host.LAB / "results"
    results.mkdir(exist_ok=True, parents=True)
    if not config.option.xmlpath:
        config.option.xmlpath = str(results / "junit.xml")
    config.is_sample = not config.option.every and not config.option.kernels
    config.option.kernels = config.option.kernels or ",".join(kernels.KEYS)
    unknown = set(config.option.kernels.split(",")) - set(kernels.KEYS)
    if unknown:
        raise pytest.UsageError(f"--kernels: {', '.join(sorted(unknown))} unknown; "
                                f"there are {', '.join(kernels.KEYS)}")
    config.chosen_kernels = setup(config.option.kernels.split(","))
    # The unit tests read the table against every real kernel's types.
    paths = [images.btf(kernel) for kernel in config.chosen_kernels]
    os.environ["RG_BTF_DIR"] = str(paths[0].parent)


def _chosen(definition, marker, default, wanted):
    """What the case's marker (or the default) and the command line both allow."""
    mark = definition.get_closest_marker(marker)
    names = mark.args if mark else default
    return [name for name in names if not wanted or name in wanted]


def _modes(definition, key, once, wanted):
    """The modes of a case on a kernel; for `once` that kernel's own, or the first wanted."""
    vtd_only = definition.get_closest_marker("vtd")
    if not once:
        names = _chosen(definition, "modes", DEFAULT_MODES, wanted)
    else:
        names = [ONCE[key], "amd"]
        if wanted and ONCE[key] not in wanted:
            names[0] = next((name for name in wanted if not machines.is_amd(name)), None)
        names = [name for name in names if name and (not wanted or name in wanted)]
    return [name for name in names if not (vtd_only and machines.is_amd(name))]


def pytest_generate_tests(metafunc):
    """Every case that asks for a VM runs on every kernel in every mode."""
    if "vm_key" not in metafunc.fixturenames:
        return
    option = metafunc.config.option
    keys = _chosen(metafunc.definition, "kernels", kernels.KEYS, option.kernels.split(","))
    wanted = option.modes.split(",") if option.modes else ()
    once = metafunc.definition.get_closest_marker("once")
    machine = metafunc.definition.get_closest_marker("machine")
    boot = metafunc.definition.get_closest_marker("boot")
    fresh = metafunc.definition.get_closest_marker("fresh")
    params = [pool.Key(key, mode, machine.args[0] if machine else "virtio-ats",
                       tuple(sorted(boot.kwargs.items())) if boot else (),
                       metafunc.definition.nodeid if fresh else "")
              for key in keys for mode in _modes(metafunc.definition, key, once, wanted)]
    metafunc.parametrize("vm_key", params, ids=[str(param) for param in params])


def _key(item):
    """The boot a case wants; None if it wants none, or none that was chosen."""
    key = item.callspec.params.get("vm_key") if hasattr(item, "callspec") else None
    return key if isinstance(key, pool.Key) else None


def _in_sample(item):
    """Whether a case runs where nobody asks for every case on a kernel."""
    key, sample = _key(item), item.get_closest_marker("sample")
    if not key:
        return True
    if sample and key.kernel not in sample.args:
        return False
    if (not sample and item.get_closest_marker("once") and machines.is_amd(key.mode)
            and key.kernel not in AMD_SAMPLE):
        return False
    return (key.kernel not in SAMPLE_MODES or key.mode in SAMPLE_MODES[key.kernel]
            or item.get_closest_marker("modes"))


def pytest_collection_modifyitems(config, items):
    """Cases of one boot stand together; host tests come first."""
    if config.is_sample:
        left = [item for item in items if not _in_sample(item)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if _in_sample(item)]
    order = list(kernels.KEYS)

    def place(item):
        key = _key(item)
        if key is None:
            return (0,)
        return (1, order.index(key.kernel), list(machines.MODES).index(key.mode), key.machine,
                repr(key.boot), key.fresh)

    items.sort(key=place)
    for item in items:
        item.stash[_KEY] = _key(item)


def pytest_runtest_protocol(item, nextitem):
    """Where the emulated CPU is to blame, and that can be seen (splats.stray_breakpoint()), a case
    is run once more, and the run says so."""
    hook, where = item.ihook, {"nodeid": item.nodeid, "location": item.location}
    hook.pytest_runtest_logstart(**where)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if any(report.failed and "EmulatorFault" in report.longreprtext for report in reports):
        print("\nthe emulated CPU executed a breakpoint that was not there; once more", flush=True)
        item._initrequest()  # pylint: disable=protected-access # as pytest-rerunfailures does
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(**where)
    return True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.get_closest_marker("long") and not item.config.option.long:
        pytest.skip("takes minutes: make soak has it")


def pytest_runtest_teardown(item, nextitem):
    """The last case of a boot also answers for its clean end."""
    following = nextitem.stash[_KEY] if nextitem else None
    if item.stash[_KEY] is not None and item.stash[_KEY] != following:
        item.session.stash[_KEY].close()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    """A failure says why at once: a run that is cut short has no summary."""
    if report.failed and not isinstance(report.longrepr, str):
        why = [line for line in str(report.longrepr).splitlines() if line.startswith("E ")]
        print("\n" + "\n".join(why[:6]), flush=True)


def pytest_sessionstart(session):
    session.stash[_KEY] = pool.Pool()


def pytest_sessionfinish(session):
    session.stash[_KEY].kill()


@pytest.fixture
def kernel(request, vm_key):
    """The case's Kernel."""
    found, = [one for one in request.config.chosen_kernels if one.key == vm_key.kernel]
    return found


@pytest.fixture
def stock_vm(request, vm_key, kernel):
    """A booted guest; resetgate.ko is in /lab (if it builds) but not loaded."""
    guest = request.session.stash[_KEY].get(vm_key, kernel)
    guest.new_case(request.node.name)
    yield guest
    try:
        if guest.alive:
            guest.check_console()
    except Exception:
        # The next case shall not answer for what this one has on the console.
        request.session.stash[_KEY].kill()
        raise
    if not guest.alive:
        request.session.stash[_KEY].kill()


def _unload(guest):
    """resetgate goes, and leaves no trace in ftrace."""
    if guest.loaded("resetgate"):
        guest.sh("rmmod resetgate", timeout=120)
    left = guest.sh("grep -c 'rg_' /sys/kernel/tracing/enabled_functions || true").out.strip()
    assert left in ("0", ""), f"{left} functions are still hooked after rmmod"


@pytest.fixture
def vm(request, stock_vm):
    """A guest with the exerciser loaded; without resetgate unless the case asks for `gate`."""
    if not stock_vm.loaded("rglab"):
        stock_vm.sh("insmod /lab/rglab.ko")
    if "gate" not in request.fixturenames or request.node.get_closest_marker("reload"):
        _unload(stock_vm)
    return stock_vm


# Parameters that can be changed while the module is loaded, and what they are in a case that asks
# for nothing else: the defaults, but for a close's time, which passes while a vCPU stands still.
RUNTIME = {"scope": "ats", "on_failed_reset": "park", "park_timeout_s": "180",
           "close_timeout_ms": "10000"}


@pytest.fixture
def gate(request, vm):
    """Loads resetgate: `gate("scope=all")` gives the VM with exactly these parameters,
    and RUNTIME.

    Cases of one boot share one loaded module, which must be open everywhere after each of
    them; those marked `reload` get it anew and must be able to unload it at their end.
    """
    reload = request.node.get_closest_marker("reload")

    def load(params=""):
        wanted = RUNTIME | dict(word.split("=", 1) for word in params.split())
        if reload or set(wanted) != set(RUNTIME):
            _unload(vm)
        if not vm.loaded("resetgate"):
            vm.sh("insmod /lab/resetgate.ko "
                  + " ".join(f"{name}={value}" for name, value in wanted.items()))
        elif not reload:
            for name, value in wanted.items():
                vm.write(f"/sys/module/resetgate/parameters/{name}", value)
        return vm

    yield load
    if not vm.alive:
        return
    if reload:
        _unload(vm)
        return
    if not vm.loaded("resetgate"):
        return
    closed = [line for line in vm.read("/sys/kernel/resetgate/status").decode().splitlines()
              if line.startswith(("closed: ", "parked: ")) and not line.endswith(" 0")]
    if closed:
        # The next case shall not suffer from it.
        vm.kill()
    assert not closed, f"left closed: {closed}"


@pytest.fixture
def variant(vm, kernel):
    """Puts resetgate.ko of a changed tree in the guest: see build.variant; returns its path."""
    def make(name, *edits):
        path = f"/lab/resetgate-{name}.ko"
        vm.put(path, build.variant(kernel, name, edits))
        return path

    return make
