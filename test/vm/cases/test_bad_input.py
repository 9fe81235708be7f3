# SPDX-License-Identifier: GPL-2.0
"""Nonsense of every kind: one line that says what to do, the right errno, nothing half-done."""

import errno as codes
import json
import re

import pytest
from lab import build, machines, pci

from scenario import (FIRST, PARAMETERS, PATIENT, dmesg_since, note, rgx, status,
                      table_function, told, windows)

pytestmark = [pytest.mark.machine("scenario"), pytest.mark.reload]
HOOKS = "cut -d' ' -f1 /sys/kernel/tracing/enabled_functions | sort"


def tries(vm, marker):
    """Messages, each once: busybox's insmod tries a second system call where the first one fails."""
    return list(dict.fromkeys(dmesg_since(vm, marker)))


def refused(vm, params, *words, errno="Invalid argument",
            module="/lab/resetgate.ko"):
    """insmod fails with this errno, says why in one line, and leaves nothing behind; returns the
    line.
    """
    hooks = vm.sh(HOOKS).out
    marker = note(vm, f"case: insmod {params[:40]}")
    result = vm.sh(f"insmod {module} {params}", check=False)
    assert result.rc and errno in result.out, f"{params}: {result.out}"
    lines = [line for line in tries(vm, marker) if "resetgate" in line
             and "invalid for parameter" not in line and "taint" not in line]
    found = [line for line in lines if all(word in line for word in words)]
    assert len(found) == 1, f"{words} in one line of {lines}"
    assert vm.sh(HOOKS).out == hooks
    assert not vm.sh("ls -d /sys/module/resetgate /sys/kernel/resetgate", check=False
                     ).out.startswith("/sys")
    return found[0]


@pytest.mark.once
@pytest.mark.core
@pytest.mark.kernels("bookworm", "trixie-backports")
def test_parameters(vm, gate):
    """A malformed value: what was expected, what was found; not loaded.

    Deliberate break: rg_choice_set() takes anything for the default.
    """
    for params, word in (("policy=busi", "policy"), ("policy=", "policy"),
                         ("policy=default", "policy"), ("scope=at", "scope"),
                         ("scope=" + "x" * 200, "scope"), ("on_failed_reset=1", "on_failed"),
                         ("park_timeout_s=soon", "park_timeout_s"),
                         ("park_timeout_s=604801", "park_timeout_s"),
                         ("close_timeout_ms=99", "close_timeout_ms"),
                         ("close_timeout_ms=30001", "close_timeout_ms"),
                         ("close_timeout_ms=1s", "close_timeout_ms"),
                         ("wait_timeout_ms=9", "wait_timeout_ms"),
                         ("wait_timeout_ms=100001", "wait_timeout_ms"),
                         ("disarm=maybe", "disarm"), ("allow_untested=7", "allow_untested")):
        refused(vm, params, word, "expected", "found")


@pytest.mark.once
@pytest.mark.core
@pytest.mark.kernels("bookworm", "trixie-backports")
def test_unknown_parameter(vm, gate):
    """The kernel's own rule: an unknown parameter is a warning, the module loads."""
    marker = note(vm, "case: unknown parameter")
    gate("polici=record")
    assert "unknown parameter 'polici'" in "".join(dmesg_since(vm, marker))


@pytest.mark.once
@pytest.mark.core
@pytest.mark.kernels("bookworm", "trixie-backports")
def test_writes(vm, gate, endpoint):
    """Nonsense in every writable file gives -EINVAL, says in one line what was expected and what
    was found, for a function's with its address, and changes nothing.

    Deliberate breaks: state_store() returns count for any text; mode_store() does not say what
    it expected.
    """
    def refuses(path, text, *words):
        marker = note(vm, f"case: a write to {path}")
        result = vm.sh(f"echo {text} > {path}", check=False)
        assert result.rc and "nvalid argument" in result.out, f"{path}, {text[:20]}: {result.out}"
        lines = [line for line in dmesg_since(vm, marker) if "expected" in line]
        assert len(lines) == 1 and all(word in lines[0] for word in ("found", *words)), \
            f"{path}, {text[:20]}: {lines}"

    gate()
    one = endpoint()
    base = f"{pci.sysfs(FIRST)}/resetgate"
    parameters = " ".join(f"{PARAMETERS}/{name}" for name in
                          ("policy", "scope", "on_failed_reset", "park_timeout_s",
                           "close_timeout_ms", "wait_timeout_ms"))
    before = vm.sh(f"cat {base}/* {parameters}").out
    for name in ("state", "mode", "policy"):
        for text in ("x", "closed", "parked", "OPEN", "open ", "autoo", "1", "a" * 4000):
            refuses(f"{base}/{name}", f"-n '{text}'", FIRST, f"resetgate/{name}", text[:16])
    refuses(f"{base}/state", "open", FIRST, "parked", "open already")
    for path in parameters.split():
        for text in ("x", "", "record2", "-1"):
            refuses(path, f"'{text}'", path.rsplit("/", 1)[1], f"'{text}'")
    assert vm.sh(f"cat {base}/* {parameters}").out == before
    read_only = vm.sh(f"for f in {base}/*; do [ -w $f ] || :; stat -c '%a %n' $f; done").out
    writable = {line.split()[1].rsplit("/", 1)[1] for line in read_only.splitlines()
                if int(line.split()[0], 8) & 0o222}
    assert writable == {"state", "mode", "policy"}
    with one.window():
        assert not one.context.present


# A vendor's set, and what the machine does without beside it: the other vendor's.
SETS = {"vtd": ("vtd", "amd"), "amd": ("amd", "vtd"), "smmu": ("smmuv3", None)}


@pytest.mark.parametrize("function, name", [
    ("pcie_flr", "reset"), ("pci_enable_ats", "endpoint"), ("the table's", "its own"),
    ("pci_reset_bus", "bus"), ("pcie_do_recovery", "recovery"),
])
@pytest.mark.sample("bookworm")
@pytest.mark.once
def test_held_by_another_patcher(vm, gate, endpoint, function, name):
    """Another ops has IPMODIFY on a target: that set is off whole, named, and status says so; where
    the rest is of use without it, it works. The command names it before the module is loaded.

    Deliberate breaks: rg_patch_settle() does not name the holder; the command does not look for the
    flag of IPMODIFY.
    """
    one = endpoint()
    vm.put("/lab/resetgate", build.command(vm.kernel))
    vendor, _ = SETS[machines.vendor(vm.mode)]
    if name == "its own":
        function, name = table_function(vm), vendor
    hooks = vm.sh(HOOKS).out.split()
    rgx(vm, "ipmodify", function, "on")
    marker = note(vm, f"case: {function} is held")
    try:
        asked = json.loads(vm.sh("/lab/resetgate check --json", check=False).out)
        assert asked["machine"]["patchers"] == [function]
        loaded = vm.sh(f"insmod /lab/resetgate.ko {PATIENT}", check=False).rc == 0
        line = [line for line in tries(vm, marker) if f"{name} off" in line]
        assert len(line) == 1 and function in line[0] and "expected" in line[0]
        now = set(vm.sh(HOOKS).out.split()) - set(hooks) - {function}
        if not loaded:
            assert not now
            assert name not in ("bus", "recovery"), "the rest is of use without it"
        else:
            sets = {key: value for key, value in status(vm).items() if key.startswith("set ")}
            assert [key for key, value in sets.items() if value == "off"] == [f"set {name}"], sets
            assert name in ("bus", "recovery"), "loaded without what it cannot do without"
            with one.window():
                assert not one.context.present and not one.ats_on
    finally:
        vm.sh("[ ! -d /sys/module/resetgate ] || rmmod resetgate")
        rgx(vm, "ipmodify", function, "off")
    assert vm.sh(HOOKS).out.split() == hooks
    gate()
    with one.window():
        assert not one.context.present


# What is changed in the kernel's BTF, words of the line that is expected.
MUTANTS = (
    ("func pcie_flr", ("reset off", "pcie_flr", "expected", "found")),
    ("member iommu_group mutex", ("off", "mutex", "expected", "found")),
    ("magic", ("BTF", "cannot be read")),
    ("cut", ("BTF", "cannot be read")),
    ("func pci_reset_bus", ("bus off", "pci_reset_bus", "expected", "found")),
    ("func pcie_do_recovery", ("recovery off", "pcie_do_recovery", "expected", "found")),
)
MUTANTS_OF = {
    "x86_64": (
        ("func iommu_context_addr", ("vtd off", "iommu_context_addr", "expected", "found")),
        ("func qi_submit_sync", ("vtd off", "qi_submit_sync", "expected", "found")),
        ("rename iommu_context_addr", ("vtd off", "iommu_context_addr", "expected")),
        ("loop iommu_context_addr", ("vtd off", "expected")),
        ("func set_dte_entry", ("amd off", "set_dte_entry", "expected", "found")),
        ("func __iommu_queue_command_sync", ("amd off", "__iommu_queue_command_sync", "expected")),
        ("member protection_domain lock",
         ("amd off", "protection_domain.lock", "expected", "found"))),
    "arm64": (
        ("func arm_smmu_write_entry", ("smmuv3 off", "arm_smmu_write_entry", "expected", "found")),
        ("func arm_smmu_cmdq_issue_cmdlist",
         ("smmuv3 off", "arm_smmu_cmdq_issue_cmdlist", "expected", "found")),
        ("rename arm_smmu_write_entry", ("smmuv3 off", "arm_smmu_write_entry", "expected")),
        ("loop arm_smmu_write_entry", ("smmuv3 off", "expected")),
        ("member arm_smmu_master smmu",
         ("smmuv3 off", "arm_smmu_master.smmu", "expected", "found"))),
}
# Without these the rest is of use; and without the other vendor's.
SPARE = ("bus", "recovery")


# One of each kind: the command is asked what it says of that kernel, too.
JUDGED = ("magic", "func pci_reset_bus", "member ", "rename ", "loop ")


def verdict(vm):
    """(exit code, sets that are off) of the command, for the kernel with the changed BTF."""
    real = "/sys/kernel/btf/vmlinux"
    done = vm.sh(f"mount --bind /run/btf {real} || exit 100; /lab/resetgate check --json; rc=$?; "
                 f"umount {real}; exit $rc", check=False, timeout=60)
    if done.rc == 6:
        return done.rc, []
    sets = json.loads(done.out)["kernels"][0]["sets"]
    return done.rc, [name for name, state in sets.items() if state == "off"]


@pytest.mark.once
@pytest.mark.core
@pytest.mark.kernels("bookworm", "trixie-backports")
def test_other_kernels(vm, kernel, gate, endpoint):
    """A kernel whose BTF differs: the set that needs it is off whole, or the load is refused;
    one line names the target, what was expected and what was found; status shows what is off. The
    command says the same of it beforehand.

    Deliberate breaks: rg_target_judge() answers RG_MATCH; rg_judge_all() leaves the members out.
    """
    vm.put("/lab/resetgate", build.command(kernel))
    one = endpoint()
    spare = (*SPARE, SETS[machines.vendor(vm.mode)][1])
    hooks = vm.sh(HOOKS).out
    for change, words in (*MUTANTS, *MUTANTS_OF[vm.kernel.arch.name]):
        vm.sh(f"rgxbtf /sys/kernel/btf/vmlinux /run/btf {change}", timeout=60)
        marker = note(vm, f"case: BTF {change}")
        result = vm.sh(f"insmod /lab/resetgate.ko btf=/run/btf {PATIENT}", check=False, timeout=60)
        said = tries(vm, marker)
        lines = [line for line in said if all(word in line for word in words)]
        assert len(lines) == 1, f"{change}: {words} in one line of {said}"
        off, = re.findall(r"(\w+) off|$", lines[0])[:1]
        if change.startswith(JUDGED):
            # The other vendor's is not this machine's.
            assert verdict(vm) == ((int(off != spare[-1]), [off]) if off else (6, [])), change
        assert (result.rc == 0) == (off in spare), f"{change}: {result.out}"
        if result.rc == 0:
            sets = {key: value for key, value in status(vm).items() if key.startswith("set ")}
            assert [key for key, value in sets.items() if value == "off"] == [f"set {off}"], sets
            with one.window():
                assert not one.context.present and not one.ats_on
            vm.sh("rmmod resetgate")
        assert vm.sh(HOOKS).out == hooks, change
        assert one.context.present and one.ats_on
    # busybox's words for ENOENT.
    refused(vm, "btf=/nowhere", "/nowhere", errno="unknown symbol in module")
    vm.sh("rm -f /run/btf")


@pytest.mark.sample("bookworm")
@pytest.mark.once
def test_ftrace_off(vm, kernel, gate, endpoint):
    """kernel.ftrace_enabled=0. Before loading: refused with one line, nothing half-done (7.x does
    not turn it off any more). Once it is loaded, in a window as well, it is the other way round.

    Deliberate break: no FTRACE_OPS_FL_PERMANENT.
    """
    switch = "/proc/sys/kernel/ftrace_enabled"
    if kernel.series < (7, 0):
        vm.sh(f"echo 0 > {switch}")
        try:
            refused(vm, "", "ftrace_enabled=1", errno="resource busy")
        finally:
            vm.sh(f"echo 1 > {switch}")
    gate()
    one = endpoint()

    def refuses():
        return vm.sh(f"echo 0 > {switch}", check=False).rc and vm.sh(f"cat {switch}").out == "1\n"

    assert refuses(), "ftrace was turned off under the gate"
    with told(vm, one) as story, one.storm(), one.window():
        assert refuses(), "ftrace was turned off under a window"
        assert not one.context.present and not one.ats_on
        one.rounds(50)
    assert story[0].in_window().dev_tlb(FIRST) == []
    assert len(story[0].withheld()) > 20
    assert one.context.present and one.ats_on


OUTSIDE, PORT = "41:00.0", "40:00.0"


@pytest.mark.machine("bypass")
@pytest.mark.modes("legacy")
@pytest.mark.kernels("trixie", "trixie-backports")  # 6.1 itself stumbles over such a machine
def test_no_back_end(vm, gate, endpoint):
    """A function with no IOMMU of ours before it: it has no resetgate/, and is reset as without the
    module, by each method and with its bus; nobody else is closed for it, and the reason is said
    when asked for.

    Deliberate break: rg_registry_add() does not say why it leaves a function out.
    """
    marker = note(vm, "case: load without a back end for all")
    gate("scope=all dyndbg=+p")
    lines = [line for line in dmesg_since(vm, marker) if "an IOMMU with a back end, found none" in line]
    assert len([line for line in lines if OUTSIDE in line]) == 1, lines
    vm.write("/proc/dynamic_debug/control", "module resetgate -p\n")
    one, path = endpoint(), pci.sysfs(OUTSIDE)
    assert not vm.sh(f"ls -d {path}/iommu_group {path}/resetgate", check=False).out.startswith("/")
    config = pci.config(vm, OUTSIDE)
    before = windows(vm, FIRST), status(vm)
    marker = note(vm, "case: no back end")
    with told(vm, one) as story, one.storm():
        for method in ("flr", "pm", "bus"):
            vm.sh(f"echo {method} > {path}/reset_method && echo 1 > {path}/reset")
        vm.sh(f"rgx reset {PORT} secondary")
    assert len(story[0].all.flr_start(OUTSIDE, config.express)) == 1
    assert len(story[0].all.bus_reset_start(PORT)) == 2
    assert story[0].blocks() == [] and len(story[0].all.dev_tlb(FIRST)) > 20
    assert (windows(vm, FIRST), status(vm)) == before
    assert not [line for line in dmesg_since(vm, marker) if "resetgate" in line]
    with one.window():
        assert not one.context.present and not one.ats_on


@pytest.mark.once
@pytest.mark.core
@pytest.mark.kernels("trixie", "trixie-backports")
def test_no_btf(vm, variant):
    """A kernel without types of its own: refused with one line, and nothing is hooked.

    Deliberate break: rg_patch_resolve() does not say why.
    """
    path = variant("no-btf", ("src/patch.c", '("__start_BTF")', '("__start_NONE")'))
    said = refused(vm, "", "BTF", "expected", "found none", errno="not supported", module=path)
    assert "CONFIG_DEBUG_INFO_BTF" in said


@pytest.mark.once
@pytest.mark.kernels("trixie-backports")
def test_native_held(vm, gate, endpoint):
    """Another ops has IPMODIFY on the kernel's own gate: it cannot be told to stand aside. Both
    close, so the window is as silent as ever, and an attach in it is refused by the kernel's, as
    without the module. One line says so, and status.

    Deliberate break: rg_patch_settle() does not name the holder.
    """
    function = "pci_dev_reset_iommu_prepare"
    one = endpoint()
    rgx(vm, "ipmodify", function, "on")
    marker = note(vm, f"case: {function} is held")
    try:
        vm.sh(f"insmod /lab/resetgate.ko {PATIENT}")
        lines = [line for line in tries(vm, marker) if "native off" in line]
        assert len(lines) == 1 and function in lines[0] and "expected" in lines[0], lines
        assert [line for line in tries(vm, marker) if " off: " in line] == lines
        sets = {key: value for key, value in status(vm).items() if key.startswith("set ")}
        assert [key for key, value in sets.items() if value == "off"] == ["set native"], sets
        with told(vm, one) as story, one.storm(), one.window():
            assert not one.context.present and not one.ats_on
            one.rounds(30)
        # Few: the kernel's has detached it by the time of its FLR.
        assert story[0].in_window().dev_tlb(FIRST) == [] and story[0].withheld()
        with one.window():
            assert one.errno("detach") == 0 and one.errno("attach", one.b) == -codes.EBUSY
            assert not one.context.present and not one.ats_on
        assert one.errno("attach", one.a) == 0 and one.context.present and one.ats_on
    finally:
        vm.sh("[ ! -d /sys/module/resetgate ] || rmmod resetgate")
        rgx(vm, "ipmodify", function, "off")
    gate()
    with one.window():
        assert not one.context.present
        assert one.errno("detach") == 0 and one.errno("attach", one.a) == 0
    assert one.context.present and one.ats_on


@pytest.mark.modes("noiommu")
@pytest.mark.kernels("bookworm", "trixie-backports")
def test_no_iommu(vm, gate):
    """A machine without an IOMMU of ours: refused with one line."""
    wanted = {"x86_64": "expected Intel VT-d", "arm64": "expected Arm SMMUv3"}
    refused(vm, "", "no IOMMU", wanted[vm.kernel.arch.name], errno="No such device")


@pytest.mark.once
@pytest.mark.core
@pytest.mark.kernels("trixie")
def test_self_test(vm, variant):
    """A patch engine that does not redirect what it says it does: found out before anything of the
    kernel's is touched, with one line.

    Deliberate break: rg_selftest() returns 0.
    """
    path = variant("blind", ("src/patch.c", "\t\trg_compat_set_ip(fregs, to);\n", ""))
    refused(vm, "", "self-test", "expected", "found", errno="Input/output error", module=path)


@pytest.mark.once
@pytest.mark.core
@pytest.mark.kernels("bookworm", "trixie-backports")
def test_untested_series(vm, kernel, gate, variant):
    """A kernel nobody has tested: refused, unless allow_untested=1; disarm=1 loads anywhere.

    Deliberate break: rg_main_check_kernel() returns 0.
    """
    listed = '#define RG_TESTED_SERIES "6.1.", "6.12.", "7.3."'
    path = variant("untested", ("src/compat.h", listed, '#define RG_TESTED_SERIES "5.9."'))
    marker = note(vm, "case: untested")
    assert vm.sh(f"insmod {path}", check=False).rc
    assert f"kernel {kernel.release}: expected a tested series" in "".join(dmesg_since(vm, marker))
    for params in ("allow_untested=1", "disarm=1"):
        vm.sh(f"insmod {path} {params}")
        assert "untested" in vm.sh("cat /sys/kernel/resetgate/kernel").out
        vm.sh("rmmod resetgate")
