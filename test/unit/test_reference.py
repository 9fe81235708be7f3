# SPDX-License-Identifier: GPL-2.0
"""doc/reference.md and the files of modprobe have what the sources have, and nothing else."""

import pathlib
import re

import pytest

pytestmark = pytest.mark.arch("x86_64")
TREE = pathlib.Path(__file__).resolve().parents[2]
SRC = TREE / "src"
LEVELS = {"err": "error", "err_ratelimited": "error", "warn": "warning", "dbg": "debug",
          "debug": "debug"}
LOG = re.compile(r'\b(?:pr|pci|dev)_(\w+)\((?:[^"();]|\([^()]*\))*?"((?:[^"\\]|\\.)*)"')
CONVERSION = re.compile(r"%(?:[-+ #0]*[\d.*]*(?:hh|h|ll|l|z)?[diuxXsc]|%)")


def source(name):
    return (SRC / name).read_text()


def section(title):
    """The text below a heading of the reference."""
    text = (TREE / "doc/reference.md").read_text()
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"doc/reference.md has no section {title}"
    return found[1]


def rows(title):
    """{name: the other cells} of the table in a section; a name stands in it once."""
    found = re.findall(r"^\| `([^`]+)` \|(.*)\|$", section(title), re.M)
    names = [name for name, _ in found]
    assert len(set(names)) == len(names), f"{title}: twice the same: {names}"
    return {name: [cell.strip() for cell in rest.split("|")] for name, rest in found}


def names_in(pattern, name):
    found = re.findall(pattern, source(name), re.M)
    assert found, f"src/{name} has nothing like {pattern}: this test looks in the wrong place"
    return found


def test_parameters():
    """Name, and whether it can be written while the module is loaded."""
    found = names_in(r"^module_param_(?:cb|named)\((\w+),.*?, (0\d+)\);", "params.c")
    modes = {name: "yes" if int(mode, 8) & 0o200 else "no" for name, mode in found}
    assert len(re.findall(r"^module_param", source("params.c"), re.M)) == len(modes)
    assert {name: cells[-2] for name, cells in rows("Parameters").items()} == modes


def limits():
    """[(parameter, least, most, default)] of those that take a number."""
    return names_in(r'"(\w+)", "(?:seconds|milliseconds)", ([\d *]+), ([\d *]+), ([\d *]+),',
                    "params.c")


def choices():
    """{parameter: its words, the default first} of those that take a word."""
    words = {name: re.findall(r'"(\w+)"', text) for name, text in re.findall(
        r"^static const char \*const (\w+)\[\] = \{ (.*), NULL \};", source("params.c"), re.M)}
    return {name: words[array] for name, array in
            re.findall(r'^\t"(\w+)", (rg_\w+_words),', source("params.c"), re.M)}


def parameters():
    return set(names_in(r"^module_param_(?:cb|named)\((\w+),", "params.c"))


def allowed(name, value):
    """Whether the module would take it."""
    for number, least, most, _ in limits():
        if number == name:
            return eval(least) <= int(value) <= eval(most)  # pylint: disable=eval-used
    return value in choices().get(name, [value])


def test_manual_has_all_parameters():
    """Each once, with its words, the default and whether it is a matter of run time."""
    text = source("cli/resetgate.conf.5.scd").split("# DESCRIPTION")[1].split("# EXAMPLE")[0]
    found = re.findall(r"^\*(\w+=\*.*\n(?:\t.*\n)+)", text, re.M)
    items = {item.split("=")[0]: item for item in found}
    assert set(items) == parameters() and len(items) == len(found)
    for name, words in choices().items():
        assert items[name].splitlines()[0] == f"{name}=*{'|'.join(words)}", name
    for name, cells in rows("Parameters").items():
        assert ("Run time" in items[name]) == (cells[-2] == "yes"), name
    for name, _, most, default in limits():
        numbers = set(re.findall(r"\d+", items[name]))
        assert str(eval(default)) in numbers, name  # pylint: disable=eval-used
        assert name == "park_timeout_s" or str(eval(most)) in numbers  # pylint: disable=eval-used


@pytest.mark.parametrize("path", ["dist/modprobe.conf", "src/cli/resetgate.conf.5.scd"])
def test_examples_are_taken(path):
    """Options that the module would refuse keep it from being loaded; dist's shows each."""
    lines = re.findall(r"^#?\s*options resetgate ((?:\w+=\S+ ?)+)", (TREE / path).read_text(), re.M)
    found = [word.split("=", 1) for line in lines for word in line.split()]
    assert found and all(allowed(name, value) for name, value in found), found
    names = {name for name, _ in found}
    assert names <= parameters()
    assert path != "dist/modprobe.conf" or names == parameters()


def test_limits():
    """Of the parameters that take a number: the limits, and the default."""
    for name, *numbers in limits():
        least, most, default = (str(eval(text)) for text in numbers)  # pylint: disable=eval-used
        cells = rows("Parameters")[name]
        assert f"{least} to {most}" in cells[0] and cells[1] == f"`{default}`", name


def test_function_files():
    found = names_in(r"^static DEVICE_ATTR_(R[OW])\((\w+)\);", "status.c")
    assert {name: cells[0] for name, cells in rows("Files of a function").items()} == {
        name: "yes" if kind == "RW" else "no" for kind, name in found}


def test_module_files():
    found = names_in(r"= __ATTR_R[OW]\((\w+)\);", "status.c")
    assert set(rows("Files of the module")) == set(found)


def test_status_lines():
    body = re.search(r"^static ssize_t status_show\(.*?^}", source("status.c"), re.M | re.S)[0]
    found = re.findall(r'(?:"|\\n)(\w+): %', body) + re.findall(r'"(set) %s: %s', source("patch.c"))
    assert set(rows("Lines of status")) == set(found)


def test_sets():
    assert set(rows("Sets")) == set(names_in(r'^\t\[RG_SET_\w+\]\s*= "(\w+)",$', "targets.c"))


def test_reasons():
    assert set(rows("Reasons")) == set(names_in(r'^\t\[RG_WHY_\w+\] = "(\w+)",$', "status.c"))


def test_tracepoints():
    found = names_in(r"^(?:DEFINE_EVENT\(\w+, |TRACE_EVENT\()(\w+),", "trace.h")
    assert set(rows("Tracepoints")) == {f"resetgate:{name}" for name in found}


def test_uevents():
    assert set(rows("Uevents")) == set(names_in(r'"(RESETGATE=\w+)"', "events.c"))


def formats():
    """[(level, pattern of the message)] of all that the module logs."""
    found = []
    for path in [*SRC.glob("*.c"), *SRC.glob("iommu/*.c")]:
        for level, text in LOG.findall(path.read_text()):
            if level not in LEVELS:
                continue
            text = text.replace("\\n", "").replace('\\"', '"')
            pattern = "(?:.+?)".join(map(re.escape, CONVERSION.split(text)))
            found.append((LEVELS[level], pattern))
    return found


def messages():
    """[(level, message)] of the reference: an item begins with `message` (level)."""
    return [(level, " ".join(text.split())) for text, level in
            re.findall(r"^- `([^`]+)`\s+\((\w+)\)", section("Kernel log"), re.M)]


def test_log_is_found():
    """No call is overlooked: as many as a coarser look finds."""
    calls = sum(len(re.findall(rf"\b(?:pr|pci|dev)_(?:{'|'.join(LEVELS)})\(", path.read_text()))
                for path in [*SRC.glob("*.c"), *SRC.glob("iommu/*.c")])
    assert len(formats()) == calls


def test_log():
    """Each message of the module's, with its level, and none that it does not have."""
    known, said = messages(), formats()
    assert [pattern for level, pattern in said if not any(
        level == its and re.fullmatch(pattern, text) for its, text in known)] == []
    assert [text for level, text in known if not any(
        level == its and re.fullmatch(pattern, text) for its, pattern in said)] == []
