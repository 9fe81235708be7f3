# SPDX-License-Identifier: GPL-2.0
"""The BTF reader and the target table, on made-up and on real BTF.

RG_BTF_DIR names a folder of *.btf files of the supported kernels; the tests
of real BTF are skipped without it.
"""

import os
import pathlib
import random
import re
import struct
import subprocess
import sys

import pytest

from btfgen import Btf

HERE = pathlib.Path(__file__).resolve().parent
OK, DIFFERS, USAGE, CORRUPT, ABSENT, SEVERAL, LONG = range(7)
REAL = sorted(pathlib.Path(os.environ.get("RG_BTF_DIR", "/nonexistent")).glob("*.btf"))
real = pytest.mark.parametrize(
    "path", REAL or [pytest.param(None, marks=pytest.mark.skip("RG_BTF_DIR has no BTF"))],
    ids=lambda p: p.stem if p else "none")


def basic():
    """A BTF with the usual types; returns it and their IDs by name."""
    btf, ids = Btf(), {}
    ids["int"] = btf.int("int")
    ids["char"] = btf.int("char", 1)
    ids["u16"] = btf.typedef("u16", btf.int("short unsigned int", 2))
    ids["u64"] = btf.typedef("u64", btf.int("long unsigned int", 8))
    ids["bool"] = btf.typedef("bool", btf.int("_Bool", 1))
    ids["dev"] = btf.struct("dev", 4, [("x", ids["int"], 0)])
    ids["dev*"] = btf.ptr(ids["dev"])
    ids["void*"] = btf.ptr(0)
    return btf, ids


def proto_cases():
    yield "int (struct dev *)", lambda b, i: b.proto(i["int"], i["dev*"])
    yield "void (void)", lambda b, i: b.proto(0)
    yield "struct dev *(u16, bool)", lambda b, i: b.proto(i["dev*"], i["u16"], i["bool"])
    yield "int (const char *, ...)", \
        lambda b, i: b.proto(i["int"], b.ptr(b.const(i["char"])), 0)
    yield "void (char *const)", lambda b, i: b.proto(0, b.const(b.ptr(i["char"])))
    yield "void (const char *const *)", lambda b, i: b.proto(
        0, b.ptr(b.const(b.ptr(b.const(i["char"])))))
    yield "int (int (*)(struct dev *, u16, void *), void *)", lambda b, i: b.proto(
        i["int"], b.ptr(b.proto(i["int"], i["dev*"], i["u16"], i["void*"])), i["void*"])
    yield "void (*(int))(void)", lambda b, i: b.proto(b.ptr(b.proto(0)), i["int"])
    yield "void (int (*)[4])", lambda b, i: b.proto(0, b.ptr(b.array(i["int"], 4)))
    yield "void (char **)", lambda b, i: b.proto(0, b.ptr(b.ptr(i["char"])))
    yield "void (union u *, enum e, enum f)", lambda b, i: b.proto(
        0, b.ptr(b.add("fwd", "u", kflag=True)),
        b.add("enum", "e", 4, 1, extra=bytes(8)),
        b.add("enum64", "f", 8, 1, extra=bytes(12)))
    yield "void (volatile int *)", lambda b, i: b.proto(
        0, b.ptr(b.add("volatile", ref=i["int"])))
    yield "void (char *restrict)", lambda b, i: b.proto(
        0, b.add("restrict", ref=b.ptr(i["char"])))
    yield "void (struct dev *)", lambda b, i: b.proto(
        0, b.ptr(b.add("type_tag", "user", i["dev"])))
    yield "double (float)", lambda b, i: b.proto(
        b.add("float", "double", 8), b.add("float", "float", 4))


@pytest.mark.parametrize("text,make", proto_cases(), ids=[c[0] for c in proto_cases()])
def test_prototype_is_rendered_as_c(judge, text, make):
    btf, ids = basic()
    btf.func("f", make(btf, ids))
    if text == "void (*(int))(void)":
        assert judge("--func", "@", "f", data=btf.blob())[0] == OK
        return
    assert judge("--func", "@", "f", data=btf.blob()) == (OK, text)


def test_longer_header_is_accepted(judge):
    btf, ids = basic()
    btf.func("f", btf.proto(ids["int"]))
    assert judge("--func", "@", "f", data=btf.blob(hdr_len=32)) == (OK, "int (void)")


def test_missing_function(judge):
    btf, ids = basic()
    btf.func("f1", btf.proto(ids["int"]))
    assert judge("--func", "@", "f", data=btf.blob())[0] == ABSENT
    assert judge("--func", "@", "int", data=btf.blob())[0] == ABSENT


def test_same_name_same_prototype(judge):
    btf, ids = basic()
    btf.func("f", btf.proto(ids["int"]))
    btf.func("f", btf.proto(ids["int"]))
    assert judge("--func", "@", "f", data=btf.blob()) == (OK, "int (void)")


def test_same_name_other_prototype(judge):
    btf, ids = basic()
    btf.func("f", btf.proto(ids["int"]))
    btf.func("f", btf.proto(0))
    assert judge("--func", "@", "f", data=btf.blob())[0] == SEVERAL


@pytest.mark.parametrize("extra,code", [(0, OK), (1, LONG), (500, LONG)])
def test_longest_prototype(judge, extra, code):
    btf, _ = basic()
    # 255 characters and the NUL fit: "void (" + name + ")".
    param = btf.typedef("t" * (255 - len("void ()") + extra), 1)
    btf.func("f", btf.proto(0, param))
    assert judge("--func", "@", "f", data=btf.blob())[0] == code


def nested():
    btf, ids = basic()
    inner = btf.struct("", 16, [("a", ids["u64"], 0), ("b", ids["u16"], 64)])
    anon = btf.union("", 16, [("", inner, 0), ("c", ids["int"], 0)])
    flush = btf.struct("flush", 16, [("ctx", btf.ptr(btf.proto(0, ids["dev*"])), 0),
                                     ("arr", btf.array(ids["int"], 3), 64)])
    alias = btf.const(btf.typedef("flush_t", flush))
    bits = btf.struct("bits", 4, [("p", ids["int"], 0, 3), ("q", ids["int"], 3, 5),
                                  ("r", ids["int"], 32, 0)], kflag=True)
    btf.struct("outer", 64, [("head", ids["int"], 0), ("", anon, 64),
                             ("flush", alias, 192), ("pf", btf.ptr(flush), 384),
                             ("bits", bits, 448)])
    return btf


@pytest.mark.parametrize("path,code,text", [
    ("head", OK, "0 0 int"),
    ("a", OK, "64 0 u64"),
    ("b", OK, "128 0 u16"),
    ("c", OK, "64 0 int"),
    ("flush", OK, "192 0 const flush_t"),
    ("flush.ctx", OK, "192 0 void (*)(struct dev *)"),
    ("flush.arr", OK, "256 0 int[3]"),
    ("bits.p", OK, "448 3 int"),
    ("bits.q", OK, "451 5 int"),
    ("bits.r", OK, "480 0 int"),
    ("pf.ctx", ABSENT, ""),
    ("head.x", ABSENT, ""),
    ("bits.p.x", ABSENT, ""),
    ("hea", ABSENT, ""),
    ("heads", ABSENT, ""),
    ("flush.", ABSENT, ""),
    (".head", ABSENT, ""),
    ("", ABSENT, ""),
])
def test_member(judge, path, code, text):
    assert judge("--member", "@", "outer", path, data=nested().blob()) == (code, text)


def test_structures_of_one_name(judge):
    for off, code in ((0, OK), (32, SEVERAL)):
        btf, ids = basic()
        btf.struct("s", 8, [("m", ids["int"], 0)])
        btf.struct("s", 8, [("m", ids["int"], off), ("n", ids["int"], 64)])
        assert judge("--member", "@", "s", "m", data=btf.blob())[0] == code
    assert judge("--member", "@", "s", "n", data=btf.blob())[0] == SEVERAL


def test_structure_told_by_a_member(judge):
    """Of two drivers' structures of one name, the one that has `mark`."""
    btf, ids = basic()
    btf.struct("s", 8, [("m", ids["int"], 0)])
    btf.struct("s", 16, [("m", ids["int"], 64), ("mark", ids["int"], 0)])
    btf.struct("s", 16, [("m", ids["int"], 32), ("n", ids["int"], 64)])
    blob = btf.blob()
    assert judge("--member", "@", "s", "m", data=blob)[0] == SEVERAL
    assert judge("--member", "@", "s", "m", "mark", data=blob) == (OK, "64 0 int")
    assert judge("--member", "@", "s", "n", "mark", data=blob)[0] == ABSENT
    assert judge("--member", "@", "s", "m", "other", data=blob)[0] == ABSENT


def test_several_structures_have_the_member(judge):
    for off, code in ((64, OK), (32, SEVERAL)):
        btf, ids = basic()
        btf.struct("s", 8, [("m", ids["int"], 0)])
        btf.struct("s", 16, [("mark", ids["int"], 0), ("m", ids["int"], 64)])
        btf.struct("s", 16, [("mark", ids["int"], 0), ("m", ids["int"], off)])
        assert judge("--member", "@", "s", "m", "mark", data=btf.blob())[0] == code


# Corrupt input ------------------------------------------------------------

def sample():
    btf = nested()
    btf.func("f", btf.proto(1, 2, 3))
    return btf.blob()


def poke(data, at, fmt, value):
    out = bytearray(data)
    struct.pack_into(fmt, out, at, value)
    return bytes(out)


@pytest.mark.parametrize("at,fmt,value", [
    (0, "<H", 0x9FEB), (2, "<B", 2), (4, "<I", 0), (4, "<I", 23),
    (4, "<I", 0xFFFFFFFF), (8, "<I", 0xFFFFFFF0), (12, "<I", 0xFFFFFFFF),
    (12, "<I", 13), (16, "<I", 0x7FFFFFFF), (20, "<I", 0), (20, "<I", 0xFFFFFFFF),
], ids=str)
def test_bad_header(judge, at, fmt, value):
    assert judge("@", data=poke(sample(), at, fmt, value))[0] == CORRUPT


def test_truncation_is_always_an_error(judge):
    data = sample()
    for size in range(0, len(data), 7):
        assert judge("@", data=data[:size])[0] == CORRUPT, size


def test_unterminated_strings(judge):
    assert judge("@", data=sample()[:-1] + b"x")[0] == CORRUPT


@pytest.mark.parametrize("kind", [0, 20, 31, 127])
def test_unknown_kind(judge, kind):
    btf = Btf()
    btf.add(kind)
    assert judge("@", data=btf.blob())[0] == CORRUPT


def test_name_out_of_bounds(judge):
    btf = Btf()
    btf.types.append(struct.pack("<III", 0xFFFF, 2 << 24, 0))
    assert judge("@", data=btf.blob())[0] == CORRUPT


def test_huge_vlen(judge):
    btf = Btf()
    btf.add("struct", "s", 4, vlen=0xFFFFFF)
    assert judge("@", data=btf.blob())[0] == CORRUPT


def loops():
    def ptr(b):
        b.func("f", b.proto(0, len(b.types) + 3))
        b.ptr(len(b.types) + 1)

    def const(b):
        b.func("f", b.proto(0, len(b.types) + 3))
        b.const(len(b.types) + 1)

    def array(b):
        b.func("f", b.proto(0, len(b.types) + 3))
        b.array(len(b.types) + 1, 3)

    def proto(b):
        me = len(b.types) + 1
        b.func("f", b.proto(me, me, me))

    def func(b):
        b.func("f", len(b.types) + 1)

    def far(b):
        b.func("f", b.proto(0, 0xFFFFFFFF, 1))
    return [ptr, const, array, proto, func, far]


@pytest.mark.parametrize("make", loops(), ids=lambda f: f.__name__)
def test_reference_that_leads_nowhere(judge, make):
    btf, _ = basic()
    make(btf)
    assert judge("--func", "@", "f", data=btf.blob())[0] == CORRUPT


def test_structure_inside_itself_ends(judge):
    btf = Btf()
    btf.struct("s", 8, [("", 1, 0)] * 500)
    assert judge("--member", "@", "s", "m", data=btf.blob())[0] == CORRUPT


def test_offset_overflow(judge):
    btf = Btf()
    btf.struct("s", 8, [("", 2, 0xFFFFFFFF)])
    btf.struct("", 8, [("m", 3, 0xFFFFFFFF)])
    btf.int("int")
    assert judge("--member", "@", "s", "m", data=btf.blob())[0] == CORRUPT


def test_random_damage(judge):
    rnd = random.Random(1)
    good = sample()
    for _ in range(150):
        data = bytearray(good)
        for _ in range(rnd.randint(1, 4)):
            data[rnd.randrange(4, len(data))] = rnd.choice((0, 1, 0xFF, rnd.randrange(256)))
        judge("--func", "@", "f", data=bytes(data))
        judge("--member", "@", "outer", "flush.arr", data=bytes(data))


# The table ----------------------------------------------------------------

def table(judge):
    code, text = judge("--table")
    assert code == OK
    return [line.split("\t") for line in text.splitlines()]


def test_every_prototype_is_c(judge, tmp_path):
    """The compiler accepts each one as the type of a function."""
    protos = [r[3] for r in table(judge) if r[0] in ("target", "older") and r[3] != "-"]
    assert len(protos) > 20
    tags = sorted(set(re.findall(r"struct \w+", " ".join(protos))))
    src = ["typedef unsigned char u8;", "typedef unsigned short u16;",
           "typedef unsigned int u32;", "typedef unsigned long u64;",
           "typedef u64 phys_addr_t;", "typedef u64 __le64;", "typedef _Bool bool;",
           "typedef unsigned int pci_ers_result_t;",
           "typedef unsigned int pci_channel_state_t;", "typedef unsigned int ioasid_t;",
           "typedef unsigned long size_t;", "typedef long ssize_t;"]
    src += [tag + ";" for tag in tags]
    src += [f"typedef __typeof__({p}) t{i};" for i, p in enumerate(protos)]
    file = tmp_path / "protos.c"
    file.write_text("\n".join(src) + "\n")
    subprocess.run(["cc", "-fsyntax-only", "-Wall", "-Werror", file], check=True)


def test_every_loss_is_a_sentence(judge):
    for row in table(judge):
        if row[0] == "target":
            assert re.fullmatch(r"[A-Z].{20,}\.", row[4]), row


def test_empty_kernel_is_refused(judge):
    code, text = judge("@", data=basic()[0].blob())
    assert code == DIFFERS
    assert "absent   core     ftrace_location" in text


@real
def test_real_kernel_matches(judge, path):
    code, text = judge(path)
    assert code == OK, "\n".join(l for l in text.splitlines() if not l.startswith("match"))


def mutate(path, out, *args):
    subprocess.run([sys.executable, HERE / "btf_mutate.py", path, out, *args], check=True)


def test_rows_of_another_architecture(judge):
    """Only the file's own are judged: arm64's registers have a pstate."""
    btf, ids = basic()
    btf.struct("pt_regs", 8, [("pstate", ids["u64"], 0)])
    for blob, here, elsewhere in ((btf.blob(), "smmuv3", "vtd"),
                                  (basic()[0].blob(), "vtd", "smmuv3")):
        text = judge("@", data=blob)[1]
        assert re.search(rf"^absent +{here} ", text, re.M)
        assert not re.search(rf"^\w+ +{elsewhere} ", text, re.M)


X86, ARM64 = "x86", "arm64"


@real
@pytest.mark.parametrize("arch,args,verdict", [
    (X86, ["--func", "iommu_context_addr"], "differs  vtd      iommu_context_addr"),
    (X86, ["--func", "qi_submit_sync", "--param", "3"], "differs  vtd      qi_submit_sync"),
    (None, ["--func", "pcie_flr", "--remove"], "absent   reset    pcie_flr"),
    (X86, ["--member", "intel_iommu.lock"], "differs  vtd      intel_iommu.lock"),
    (X86, ["--member", "intel_iommu.ecap", "--remove"], "absent   vtd      intel_iommu.ecap"),
    (X86, ["--member", "qi_desc.qw2", "--move", "8"], "differs  vtd      qi_desc.qw2"),
    (ARM64, ["--func", "arm_smmu_write_entry"], "differs  smmuv3   arm_smmu_write_entry"),
    (ARM64, ["--func", "arm_smmu_cmdq_issue_cmdlist", "--param", "3"],
     "differs  smmuv3   arm_smmu_cmdq_issue_cmdlist"),
    (ARM64, ["--member", "arm_smmu_ste_writer.sid", "--move", "8"],
     "differs  smmuv3   arm_smmu_ste_writer.sid"),
    (ARM64, ["--member", "arm_smmu_master.smmu", "--remove"],
     "absent   smmuv3   arm_smmu_master.smmu"),
], ids=lambda v: v[1] if isinstance(v, list) else "")
def test_changed_kernel_is_noticed(judge, tmp_path, path, arch, args, verdict):
    found = judge("--member", path, "pt_regs", "pstate")[0]
    if arch not in (None, ARM64 if found == OK else X86):
        pytest.skip(f"not of {arch}")
    out = tmp_path / "mutated.btf"
    mutate(path, out, *args)
    assert out.stat().st_size == path.stat().st_size
    code, text = judge(out)
    assert code == DIFFERS
    assert verdict in text


@real
def test_real_kernel_truncated(judge, tmp_path, path):
    data = path.read_bytes()
    short = tmp_path / "short.btf"
    for part in (0.01, 0.3, 0.6, 0.999):
        short.write_bytes(data[:int(len(data) * part)])
        assert judge(short)[0] == CORRUPT
