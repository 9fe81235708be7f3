# SPDX-License-Identifier: GPL-2.0
"""Runs cases over kernels and IOMMU modes; cases that can share a boot do."""

import contextlib
import os
import threading

import pytest
from _pytest.runner import runtestprotocol

from lab import arch, build, disk, host, images, kernels, machines, pool
from lab.__main__ import setup
from lab.vm import LostVM

DEFAULT_MODES = ("legacy", "sm-ss", "sm-fs", "amd", "smmu", "smmu-s2")
# What does not depend on the mode runs in one of each vendor's on each kernel.
ONCE = {"bookworm": ("legacy", "amd"), "trixie": ("sm-ss", "amd"), "trixie-rt": ("sm-fs", "amd"),
        "trixie-backports": ("sm-fs", "amd"), "arm64-trixie": ("smmu",),
        "arm64-trixie-rt": ("smmu",), "arm64-trixie-cloud": ("smmu",),
        "arm64-trixie-backports": ("smmu",)}
# The driver of AMD-Vi differs most between these: there it passes each path in a sample, too.
AMD_SAMPLE = ("bookworm", "trixie-backports")
# These kernels' source is trixie's.
SAMPLE_MODES = {"trixie-rt": ("sm-fs", "amd"), "arm64-trixie-rt": ("smmu",),
                "arm64-trixie-cloud": ("smmu",)}
# Takes what is the same in each mode only where a case says so.
SPARE = ("arm64-trixie-rt", "arm64-trixie-cloud")
# Another's source, with less of it built: only the cases that say so.
FEW = ("arm64-trixie-cloud",)
# The same in one mode, whose driver has passed the others on the kernel that this one's source is of.
FEW_MODES = {"trixie-rt": ("amd",)}
# What is sampled elsewhere runs on at least one of these suites' kernels here.
ARM_SAMPLE = ("trixie", "trixie-backports")
_KEY = pytest.StashKey()


def pytest_addoption(parser):
    group = parser.getgroup("lab")
    group.addoption("--arch", default=arch.X86_64.name, choices=sorted(arch.ARCHES),
                    help="the guests' architecture, for kernels that are not named")
    group.addoption("--kernels", default="", help="comma-separated suite keys; every case on each")
    group.addoption("--every", action="store_true", help="every case on every kernel")
    group.addoption("--modes", default="", help="comma-separated IOMMU modes")
    group.addoption("--rounds", type=int, default=6, help="resets of each kind under I/O")
    group.addoption("--long", action="store_true", help="the cases that take minutes, too")


def pytest_configure(config):
    """The chosen kernels are there before the tests are collected."""
    host.check_machine()
    results = host.LAB / "results"
    results.mkdir(exist_ok=True, parents=True)
    if not config.option.xmlpath:
        name = "junit" if config.option.arch == arch.X86_64.name else f"junit-{config.option.arch}"
        config.option.xmlpath = str(results / f"{name}.xml")
    config.is_sample = not config.option.every and not config.option.kernels
    config.option.kernels = (config.option.kernels
                             or ",".join(kernels.keys(arch.ARCHES[config.option.arch])))
    unknown = set(config.option.kernels.split(",")) - set(kernels.KEYS)
    if unknown:
        raise pytest.UsageError(f"--kernels: {', '.join(sorted(unknown))} unknown; "
                                f"there are {', '.join(kernels.KEYS)}")
    config.chosen_kernels = setup(config.option.kernels.split(","))
    # The unit tests read the table against every real kernel's types.
    paths = [images.btf(kernel) for kernel in config.chosen_kernels]
    os.environ["RG_BTF_DIR"] = str(paths[0].parent)


def _names(definition, marker, default):
    mark = definition.get_closest_marker(marker)
    return mark.args if mark else default


def _keys(definition, chosen):
    """The chosen kernels that the case's marker allows; it names their suites."""
    suites = _names(definition, "kernels", None)
    return [key for key in chosen if suites is None or kernels.suite_of(key) in suites]


def _once(key, wanted):
    """A kernel's own mode of each vendor's, or where another of that vendor's is wanted, that."""
    for own in ONCE[key]:
        same = [name for name in wanted if machines.vendor(name) == machines.vendor(own)]
        yield same[0] if same and own not in same else own


def _modes(definition, key, once, wanted):
    """The modes of a case on a kernel, of those that are wanted."""
    names = _once(key, wanted) if once else _names(definition, "modes", DEFAULT_MODES)
    if definition.get_closest_marker("vtd"):
        names = [name for name in names if machines.vendor(name) == "vtd"]
    there = machines.modes(kernels.arch_of(key))
    names = [name for name in names if name in there and (not wanted or name in wanted)]
    return names[:1] if definition.get_closest_marker("core") else names


def pytest_generate_tests(metafunc):
    """Every case that asks for a VM runs on every kernel in every mode."""
    if "vm_key" not in metafunc.fixturenames:
        return
    option = metafunc.config.option
    keys = _keys(metafunc.definition, option.kernels.split(","))
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


def _sampled(key, suites):
    """Whether a case that names these suites runs on a kernel."""
    if kernels.arch_of(key.kernel) is arch.ARM64 and not set(suites) & set(ARM_SAMPLE):
        suites = (*suites, ARM_SAMPLE[0])
    return kernels.suite_of(key.kernel) in suites


def _in_sample(item):
    """Whether a case runs where nobody asks for every case on a kernel."""
    key, sample = _key(item), item.get_closest_marker("sample")
    if not key:
        return True
    once = not sample and item.get_closest_marker("once")
    if sample and not _sampled(key, sample.args):
        return False
    if key.mode in FEW_MODES.get(key.kernel, ()):
        return bool(item.get_closest_marker("few"))
    if key.kernel in FEW:
        return bool(item.get_closest_marker("few")) and key.mode in SAMPLE_MODES[key.kernel]
    if once and (key.kernel in SPARE or machines.is_amd(key.mode) and key.kernel not in AMD_SAMPLE):
        return False
    return (key.kernel not in SAMPLE_MODES or key.mode in SAMPLE_MODES[key.kernel]
            or key.kernel not in SPARE and item.get_closest_marker("modes"))


def _of_arch(item):
    """Whether what needs no guest is about the architecture of the chosen kernels, or about all."""
    mark = item.get_closest_marker("arch")
    return not mark or item.config.chosen_kernels[0].arch.name in mark.args


def _leave_out(config, items, wanted):
    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = [item for item in items if wanted(item)]


def pytest_collection_modifyitems(config, items):
    """Cases of one boot stand together; host tests come first."""
    _leave_out(config, items, _of_arch)
    if config.is_sample:
        _leave_out(config, items, _in_sample)
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


def _rehearse():
    # Whoever needs it finds out what is wrong.
    with contextlib.suppress(Exception):
        disk.rehearsed()


def pytest_collection_finish(session):
    """The disks that apt and dkms take minutes for are made while what needs no guest runs."""
    option = session.config.option
    if (not option.collectonly and "trixie" in option.kernels.split(",") and
            any({"rehearsed", "upgraded"} & set(item.fixturenames) for item in session.items)):
        threading.Thread(target=_rehearse, daemon=True).start()


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
    try:
        guest.new_case(request.node.name)
    except LostVM:
        # The next case shall not wait for it once more.
        request.session.stash[_KEY].kill()
        raise
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
RUNTIME = {"policy": "record", "scope": "ats", "on_failed_reset": "park",
           "park_timeout_s": "180", "close_timeout_ms": "10000", "wait_timeout_ms": "70000"}


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
