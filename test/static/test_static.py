# SPDX-License-Identifier: GPL-2.0
"""The static gates as tests, and tests that the gates do go red."""

import pathlib
import re
import subprocess
import sys
import tomllib

import pytest

HERE = pathlib.Path(__file__).resolve().parent


# What is about the sources, or about the gates themselves, need not be shown twice.
pytestmark = pytest.mark.arch("x86_64")


@pytest.mark.parametrize("gate", ["checkpatch", "rules", "shellcheck", "kernel-doc", pytest.param(
    "indirect", marks=pytest.mark.arch("x86_64", "arm64"))])
def test_gate(gate):
    res = subprocess.run([HERE / "run.sh", gate], capture_output=True, text=True, check=False)
    if res.returncode == 77:
        pytest.skip(res.stdout.strip().replace("\n", "; "))
    assert res.returncode == 0, res.stdout + res.stderr


# Breaks on purpose ------------------------------------------------------------

def test_breaks_fit_the_code():
    """What make check-red replaces is there, once, and so is each case that has to go red."""
    tree, wrong = HERE.parents[1], []
    for one in tomllib.loads((tree / "test/red/breaks.toml").read_text())["break"]:
        if (tree / one["file"]).read_text().count(one["old"]) != 1:
            wrong.append(f"{one['name']}: {one['file']} has other code")
        for case in one["cases"]:
            file, _, name = case.partition("::")
            text = (tree / "test/vm/cases" / file).read_text()
            if name and f"\ndef {name.split('[')[0]}(" not in text:
                wrong.append(f"{one['name']}: no case {case}")
    assert wrong == []


# Paths of one machine --------------------------------------------------------

MACHINE = re.compile(r"/(?:var/tmp|home)/\w")


def test_no_path_of_one_machine():
    """Whatever somebody has beside the tree is not to be asked for in it."""
    tree = HERE.parents[1]
    names = subprocess.run(["git", "-c", "safe.directory=*", "-C", tree, "ls-files", "-z"],
                           capture_output=True, text=True, check=True).stdout.split("\0")
    found = [name for name in filter(None, names) if (tree / name).is_file() and
             MACHINE.search((tree / name).read_text(errors="replace"))]
    assert found == []


def test_path_of_one_machine_is_found():
    assert MACHINE.search("/".join(("", "home", "somebody", "tree")))
    assert not MACHINE.search("/var/cache/resetgate-lab, /root, HOME=/root")


# The gate of indirect calls -------------------------------------------------

def compiled(tmp_path, source, *flags):
    src, obj = tmp_path / "x.c", tmp_path / "x.ko"
    src.write_text(source)
    subprocess.run(["cc", "-O2", "-c", "-fno-pic", "-mcmodel=kernel", *flags, "-o", obj, src],
                   check=True)
    return obj


def indirect(tmp_path, obj, allow="", *args):
    file = tmp_path / "allow.txt"
    file.write_text(allow)
    res = subprocess.run([sys.executable, HERE / "indirect_calls.py", "--allow", file, *args, obj],
                         capture_output=True, text=True, check=False)
    return res.returncode, res.stdout


CALL = "int rg_bad(int (*fn)(int)) { return fn(1) + 1; }\n"
TAIL = "int rg_bad(int (*fn)(int)) { return fn(1); }\n"
MEMORY = "extern int (*rg_fn)(int);\nint rg_bad(void) { return rg_fn(1) + 1; }\n"
DIRECT = "int __SCT__rg(int);\nint rg_good(void) { return __SCT__rg(1) + 1; }\n"
RETPOLINE = ["-mindirect-branch=thunk-extern", "-mindirect-branch-register"]


@pytest.mark.parametrize("flags", [[], RETPOLINE, RETPOLINE + ["-mindirect-branch-cs-prefix"],
                                   ["-fcf-protection=branch"]],
                         ids=["plain", "retpoline", "cs-prefix", "ibt"])
@pytest.mark.parametrize("source", [CALL, TAIL, MEMORY], ids=["call", "tail", "memory"])
def test_indirect_call_is_found(tmp_path, source, flags):
    obj = compiled(tmp_path, source, *flags)
    code, text = indirect(tmp_path, obj)
    assert code == 1 and "rg_bad: " in text
    assert indirect(tmp_path, obj, "rg_bad: a reason\n")[0] == 0
    assert indirect(tmp_path, obj, "rg_b*: a reason\n")[0] == 0
    assert indirect(tmp_path, obj, "rg_other: a reason\n")[0] == 1


def test_one_more_call_than_allowed(tmp_path):
    obj = compiled(tmp_path, "int rg_bad(int (*f)(int), int (*g)(int)) { return f(1) + g(2); }")
    assert indirect(tmp_path, obj, "rg_bad: a reason\n")[0] == 1
    assert indirect(tmp_path, obj, "rg_bad 2: a reason\n")[0] == 0


@pytest.mark.parametrize("flags", [[], RETPOLINE], ids=["plain", "retpoline"])
def test_direct_call_is_no_matter(tmp_path, flags):
    assert indirect(tmp_path, compiled(tmp_path, DIRECT, *flags)) == (0, "")


def test_call_through_allowed_symbol(tmp_path):
    obj = compiled(tmp_path, MEMORY)
    assert indirect(tmp_path, obj, "@rg_fn: the kernel patches it\n")[0] == 0


def test_stale_entry_is_reported(tmp_path):
    obj = compiled(tmp_path, DIRECT)
    code, text = indirect(tmp_path, obj, "rg_gone: a reason\n")
    assert code == 0 and "rg_gone: no module" in text
    assert indirect(tmp_path, obj, "rg_gone: a reason\n", "--stale-fails")[0] == 1


def test_entry_without_a_reason_is_refused(tmp_path):
    assert indirect(tmp_path, compiled(tmp_path, DIRECT), "rg_bad:\n")[0] == 1


def test_other_files_are_refused(tmp_path):
    text = tmp_path / "x.txt"
    text.write_text("no module")
    assert indirect(tmp_path, text)[0] == 2


# The gate of source rules ---------------------------------------------------

def rules(tmp_path, source, name="x.c"):
    file = tmp_path / "src" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(source)
    res = subprocess.run([sys.executable, HERE / "source_rules.py", file],
                         capture_output=True, text=True, check=False)
    return res.returncode, res.stdout


def body(lines):
    return "{\n" + "\treturn;\n" * lines + "}\n"


@pytest.mark.parametrize("source,what", [
    ("#if LINUX_VERSION_CODE > 1\n#endif\n", "a kernel version"),
    ("int rg_x = KERNEL_VERSION(6, 1, 0);\n", "a kernel version"),
    ("void rg_f(void)\n{\n\tx = *(u64 *)((char *)iommu + 0x18);\n}\n", "moved by a number"),
    ("void rg_f(void)\n{\n\tx = (void *)iommu + 24;\n}\n", "moved by a number"),
    ("void rg_f(void)\n" + body(61), "61 lines"),
    ("int rg_x;\n" * 801, "801 lines"),
    ("static void helper(void)\n" + body(1), "helper does not begin"),
    ("static void\nhelper(int a,\n       int (*fn)(int))\n" + body(1), "helper does not begin"),
    ("int version_show(int a)\n" + body(1), "version_show does not begin"),
    ("void rg_f(void)\n" + body(1), "rg_f lacks kernel-doc"),
    ("/**\n * rg_f - f\n */\nvoid rg_f(void)\n" + body(1), "rg_f lacks Context:"),
    ("/**\n * rg_f - f\n * Context: Any.\n */\nint rg_f(void)\n" + body(1), "lacks Return:"),
], ids=lambda v: v if len(v) < 30 else "")
def test_rule_is_kept(tmp_path, source, what):
    code, text = rules(tmp_path, source)
    assert code == 1 and what in text


@pytest.mark.parametrize("source", [
    "/**\n * rg_f - f\n * Context: Any.\n * Return: 0.\n */\nint rg_f(void)\n" + body(1),
    "/* LINUX_VERSION_CODE and (char *)p + 8 in a comment */\n",
    "static void rg_f(void)\n" + body(60),
    "int rg_x;\n" * 800,
    "static const struct rg_ops rg_ops[] =\n{\n\t1,\n};\n",
    "#define RG_MAKE(name)\t\\\nstatic void name##_f(void)\t\\\n{\t\\\n}\n",
    "static int version_show(int a)\n" + body(1) + "static DEVICE_ATTR_RO(version);\n",
    "static void rg_f(void)\n{\n\tx = (char *)iommu + rg_off[RG_M_VTD_LOCK];\n}\n",
], ids=range(8))
def test_rule_does_not_overshoot(tmp_path, source):
    assert rules(tmp_path, source) == (0, "")


def test_versions_are_for_compat(tmp_path):
    assert rules(tmp_path, "#if LINUX_VERSION_CODE > 1\n#endif\n", "compat.h") == (0, "")
