#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Checks the C sources for the project's own rules; prints FILE:LINE: what.

- Kernel versions appear in compat.h alone.
- No pointer is moved by a number: offsets in private structures come from BTF.
- A function has at most 60 lines, a file at most 800.
- A function of the module begins with rg_, unless a macro of sysfs names it.
- One that is not static has kernel-doc with Context: and, if it returns, Return:.
Exits with 1 if anything was printed.
"""

import pathlib
import re
import sys

FUNC_MAX, FILE_MAX = 60, 800
VERSION = re.compile(r"\bLINUX_VERSION_CODE\b|\bKERNEL_VERSION\s*\(")
OFFSET = re.compile(r"\(\s*(?:const\s+)?(?:void|char|u8|unsigned char)\s*\*\s*\)"
                    r"[\s(&\w>.-]*\)?\s*[+-]\s*(?:0[xX][0-9a-fA-F]+|[0-9]+)\b")
CALLED = re.compile(r"(\w+)\s*\(")
ATTRIBUTE = re.compile(r"__(printf|must_hold|acquires|releases|attribute__|section|alias)$")


def blank_comments(text):
    """Comments become spaces; lines stay where they are."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())
    return re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.S)


def blank_macros(lines):
    """Bodies of macros become empty lines."""
    inside = False
    for line in lines:
        starts = inside or line.startswith("#define")
        inside = starts and line.endswith("\\")
        yield "" if starts else line


def named_by_sysfs(name, text):
    """DEVICE_ATTR_RO(x) and its like choose the name x_show themselves."""
    stem = re.sub(r"_(show|store)$", "", name)
    return stem != name and re.search(rf"_ATTR_(RO|RW|WO)\({stem}\)", text)


def functions(lines):
    """Yield (name, first line, lines of the body); kernel style is relied upon."""
    start = None
    for i, line in enumerate(lines):
        if line.startswith("{") and start is not None:
            name = function_name(" ".join(lines[start:i]))
            end = next((j for j in range(i, len(lines)) if lines[j].startswith("}")), i)
            if name:
                yield name, start + 1, end - i - 1
            start = None
        elif re.match(r"[A-Za-z_]", line):
            if start is None or lines[i - 1].rstrip().endswith((";", "}")) or \
                    not lines[i - 1].strip():
                start = i
        elif not line.strip() or line.startswith(("#", "}")):
            start = None


def function_name(signature):
    """The first name before a parenthesis that is not inside another."""
    depth, flat = 0, ""
    for char in signature:
        depth -= char == ")"
        if not depth:
            flat += char
        depth += char == "("
    names = [n for n in CALLED.findall(flat) if not ATTRIBUTE.match(n)]
    return names[0] if names and "=" not in flat else None


def undocumented(name, line, lines):
    """What the kernel-doc before a function that others can call lacks."""
    if any(re.match(r"static\b", l) for l in lines[line - 1:line + 1]):
        return None
    doc = []
    for above in reversed(lines[:line - 1]):
        doc.insert(0, above)
        if above.startswith("/*") or not above.startswith(" *"):
            break
    doc = "\n".join(doc)
    if not re.match(rf"/\*\*\n \* {name}\b", doc):
        return "kernel-doc"
    if "\n * Context: " not in doc:
        return "Context: in its kernel-doc"
    if "\n * Return: " not in doc and not re.match(r"(notrace )?void\b", lines[line - 1]):
        return "Return: in its kernel-doc"
    return None


def check(path, module):
    text = path.read_text()
    lines = text.splitlines()
    code = blank_comments(text).splitlines()
    if len(lines) > FILE_MAX:
        yield 1, f"{len(lines)} lines, at most {FILE_MAX}"
    if path.suffix not in (".c", ".h"):
        return
    for i, line in enumerate(code, 1):
        if VERSION.search(line) and path.name != "compat.h":
            yield i, "a kernel version outside compat.h"
        if OFFSET.search(line):
            yield i, "a pointer moved by a number"
    for name, line, length in functions(list(blank_macros(code))):
        if length > FUNC_MAX:
            yield line, f"{name} has {length} lines, at most {FUNC_MAX}"
        if module and path.suffix == ".c" and not name.startswith("rg_") and \
                name != "main" and not name.isupper() and \
                not named_by_sysfs(name, text):
            yield line, f"{name} does not begin with rg_"
        lacks = module and path.suffix == ".c" and undocumented(name, line, lines)
        if lacks:
            yield line, f"{name} lacks {lacks}"


def main(args):
    bad = 0
    for arg in args:
        path = pathlib.Path(arg)
        for line, what in check(path, "src" in path.parts):
            print(f"{path}:{line}: {what}")
            bad += 1
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
