# SPDX-License-Identifier: GPL-2.0
"""resetgate check: images made up and real, whole and broken; the machine around them."""

import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import time

import pytest

import imagegen
from imagegen import arm64, btf_of, bzimage, elf, kallsyms, packed, symbols_of, zboot
from run import ABSENT, BAD, NO, OK, PERMISSION, TOOL, USAGE
from madetree import Tree

pytestmark = pytest.mark.arch("x86_64")
HERE = pathlib.Path(__file__).resolve().parent
X86 = ("core", "reset", "bus", "recovery", "native", "endpoint", "vtd", "amd")


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """The table of targets, as rows."""
    out = tmp_path_factory.mktemp("judge")
    subprocess.run(["make", "-s", "-C", HERE.parent / "unit", f"OUT={out}", "SANITIZE="],
                   check=True)
    text = subprocess.run([out / "rg-judge", "--table"], check=True, capture_output=True,
                          text=True).stdout
    return [line.split("\t") for line in text.splitlines()]


@pytest.fixture(scope="session")
def btf(table):
    return btf_of(table)


@pytest.fixture
def check(cli, tmp_path):
    """Judges an image given as bytes; with --json gives the kernel's object."""
    def run(data, *args, root="/nonexistent", **how):
        file = tmp_path / "vmlinuz-test"
        file.write_bytes(data)
        done = cli("check", "--kernel", file, "--json", *args, root=root, **how)
        if done.rc not in (OK, NO):
            return done
        kernel, = json.loads(done.out)["kernels"]
        assert (done.rc == OK) == (kernel["verdict"] == "covered" and kernel["tested"])
        return kernel
    return run


# Formats ----------------------------------------------------------------------

@pytest.mark.parametrize("how", [None, "gzip", "xz", "zstd", "lz4", "bzip2", "lzma", "lzop"])
def test_bzimage(check, table, btf, how):
    if how and not shutil.which(imagegen.PACKERS[how][0]):
        pytest.skip(f"{imagegen.PACKERS[how][0]} is not installed")
    kernel = check(bzimage(elf(btf, kallsyms(symbols_of(table))), how))
    assert kernel["verdict"] == "covered", kernel["reasons"]
    assert kernel["format"] == "bzImage" and kernel["release"] == "6.12.9-test"
    assert kernel["arch"] == "x86_64" and kernel["symbols"] is True
    assert set(kernel["sets"]) >= set(X86) and set(kernel["sets"].values()) == {"on"}


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: packed(e, "gzip"),
                                  lambda e: packed(e, "xz")], ids=["plain", "gzip", "xz"])
def test_vmlinux(check, table, btf, wrap):
    kernel = check(wrap(elf(btf, symtab=symbols_of(table))))
    assert kernel["verdict"] == "covered" and kernel["symbols"] is True, kernel["reasons"]
    assert check(wrap(elf(btf)))["symbols"] is False


@pytest.mark.parametrize("wrap", [lambda e: e, lambda e: packed(e, "gzip"), zboot,
                                  lambda e: zboot(e, "xz")], ids=["Image", "gz", "zboot", "zboot-xz"])
def test_arm64(check, table, btf, wrap):
    kernel = check(wrap(arm64(btf, kallsyms(symbols_of(table), align=4))))
    assert kernel["arch"] == "arm64" and kernel["symbols"] is True
    assert "vtd" not in kernel["sets"] and "amd" not in kernel["sets"]
    assert kernel["sets"]["core"] == "on" and kernel["sets"]["reset"] == "on"


def test_other_architecture(check, btf):
    kernel = check(elf(btf, machine=243))
    assert kernel["arch"] == "another architecture" and kernel["verdict"] == "not covered"
    assert "has no back end" in kernel["why"]


@pytest.mark.parametrize("align", [4, 8])
@pytest.mark.parametrize("before", range(0, 40, 4))
def test_kallsyms_wherever_they_are(check, table, btf, align, before):
    rodata = kallsyms(symbols_of(table, extra=["x" * 200]), align, before=b"\x07" * before)
    assert check(elf(btf, rodata))["symbols"] is True


# Verdicts -----------------------------------------------------------------------

def judged(check, table, **how):
    return check(elf(btf_of(table), kallsyms(symbols_of(table, **how))))


def test_missing_symbol(check, table):
    kernel = judged(check, table, without=["pcie_do_recovery"])
    assert kernel["verdict"] == "in part" and kernel["sets"]["recovery"] == "off"
    reason, = kernel["reasons"]
    assert reason["name"] == "pcie_do_recovery" and reason["found"] == "none"


def test_compiler_variant(check, table):
    kernel = judged(check, table, without=["pcie_flr"], extra=["pcie_flr.isra.0", "pcie_flr.cold"])
    assert kernel["verdict"] == "not covered"
    assert "only pcie_flr.isra.0" in kernel["reasons"][0]["found"]


def test_cold_part_is_no_variant(check, table):
    assert judged(check, table, extra=["pcie_flr.cold"])["verdict"] == "covered"
    kernel = judged(check, table, without=["pcie_flr"], extra=["pcie_flr.cold"])
    assert kernel["reasons"][0]["found"] == "none"


def test_two_of_one_name(check, table):
    kernel = judged(check, table, extra=["set_dte_entry"])
    assert kernel["verdict"] == "in part" and kernel["sets"]["amd"] == "off"
    assert kernel["reasons"][0]["found"] == "2 of the name"


@pytest.mark.parametrize("name", ["pci_dev_reset_iommu_prepare", "__pci_reset_bus"])
def test_optional_symbol(check, table, name):
    assert judged(check, table, without=[name])["verdict"] == "covered"


@pytest.mark.parametrize("cap,names", [
    ("pri_cap", ["pci_enable_pri", "pci_disable_pri", "pci_reset_pri", "pci_restore_pri_state"]),
    ("pasid_cap", ["pci_enable_pasid", "pci_disable_pasid", "pci_restore_pasid_state",
                   "pci_pasid_features", "pci_max_pasids"])])
def test_capability_that_the_kernel_was_built_without(check, table, cap, names):
    """The functions may be missing where struct pci_dev has no room for it, and there only.

    Deliberate break: rg_target_is_needed() returns !target->optional && !target->with.
    """
    symbols = kallsyms(symbols_of(table, without=names))
    kernel = check(elf(btf_of(table, without=names), symbols))
    assert kernel["verdict"] == "not covered" and kernel["sets"]["endpoint"] == "off"
    assert {reason["name"] for reason in kernel["reasons"]} == set(names)
    without = [*names, f"pci_dev.{cap}"]
    assert check(elf(btf_of(table, without=without), symbols))["verdict"] == "covered"
    assert check(elf(btf_of(table, without=without)))["sets"]["endpoint"] == "on"


def older(table, name, nr):
    """The table as of a kernel that has an older prototype of a function, the newest of those first."""
    proto = [row[3] for row in table if row[0] == "older" and row[1] == name][nr]
    return [[*row[:3], proto, *row[4:]] if row[:2] == ["target", name] else row for row in table]


# (what the kernel's table is, what it lacks, whether that prototype needs it)
NEEDS = [
    (lambda table: table, "dev_update_dte", True),
    (lambda table: older(table, "set_dte_entry", 0), "dev_update_dte", True),
    (lambda table: older(table, "set_dte_entry", 1), "dev_update_dte", False),
    (lambda table: older(table, "set_dte_entry", 1), "iommu_dev_data.iommu_v2", True),
    (lambda table: older(table, "set_dte_entry", 1), "iommu_dev_data.ats.enabled", True),
    (lambda table: table, "iommu_dev_data.iommu_v2", False),
    (lambda table: table, "arm_smmu_cmd.data", True),
    (lambda table: older(table, "arm_smmu_cmdq_issue_cmdlist", 0), "arm_smmu_cmd.data", False),
]


@pytest.mark.parametrize("kernel_of,lacks,needed", NEEDS,
                         ids=[f"{i}-{need[1]}" for i, need in enumerate(NEEDS)])
def test_optional_by_prototype(check, table, kernel_of, lacks, needed):
    """What one prototype of a target does without, another needs: the module looks at the same rows.

    Deliberate break: rg_target_has_need() returns false.
    """
    wrap, align = (arm64, 4) if "smmu" in lacks else (elf, 8)
    there = kernel_of(table)

    def reasons(**how):
        symbols = kallsyms(symbols_of(there, **how), align=align)
        found = check(wrap(btf_of(there, **how), symbols))["reasons"]
        return [reason["name"] for reason in found if lacks in reason["name"]]

    assert reasons() == []
    assert len(reasons(without=[lacks])) == needed


@pytest.mark.parametrize("name,verdict", [
    ("ftrace_location", "not covered"), ("pcie_flr", "not covered"),
    ("pci_enable_ats", "not covered"), ("pcibios_reset_secondary_bus", "in part"),
    ("iommu_context_addr", "in part"), ("intel_iommu.lock", "in part"),
    ("iommu_group.mutex", "not covered"),
])
def test_missing_type(check, table, name, verdict):
    kernel = check(elf(btf_of(table, without=[name]), kallsyms(symbols_of(table))))
    assert kernel["verdict"] == verdict
    assert name in kernel["reasons"][0]["name"]


def test_back_end_that_counts(check, cli, table, tmp_path):
    data = elf(btf_of(table, without=["iommu_context_addr"]), kallsyms(symbols_of(table)))
    assert check(data)["verdict"] == "in part"
    assert check(data, "--iommu", "amd")["verdict"] == "covered"
    assert check(data, "--iommu", "vtd")["verdict"] == "not covered"
    for iommu, verdict in (("ivhd0", "covered"), ("dmar0", "not covered")):
        root = Tree(tmp_path / iommu)
        root.write(f"/sys/class/iommu/{iommu}/x", "")
        root.write("/boot/vmlinuz-6.12.9-test", "")
        (root.root / "boot/vmlinuz-6.12.9-test").write_bytes(data)
        out = cli("check", "--all-installed", "--json", root=root.root).out
        assert json.loads(out)["kernels"][0]["verdict"] == verdict


def test_untested_series(check, table, btf):
    kernel = check(elf(btf, kallsyms(symbols_of(table)), release=b"5.4.0-test"))
    assert kernel["verdict"] == "covered" and kernel["tested"] is False


# Bad input ----------------------------------------------------------------------

@pytest.mark.parametrize("data,part", [
    (b"", "no kernel image"), (b"#!/bin/sh\n" * 100, "no kernel image"),
    (bytes(5000), "no kernel image"), (b"\x7fELF", "cut short"),
    (b"\x7fELF\x01\x01" + bytes(100), "no 64-bit"),
    (b"\x7fELF\x02\x01" + bytes(100), "without sections"),
    (elf(None), "no type information"), (bzimage(elf(None)), "no type information"),
    (elf(b"damaged"), "damaged or of a newer kind"), (elf(b"", release=b"x"), "no kernel image"),
    (bzimage(b"nothing known", None), "packed in a way"),
    (packed(b"a text file\n", "gzip"), "no kernel image"),
    (arm64(b""), "no type information"),
    (elf(None, symtab=[]).replace(b"\x01\0\0\0", b"\x02\0\0\0"), "vmlinuz-test"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_no_kernel(check, data, part):
    assert check(data).fails(BAD, "vmlinuz-test", part)


def test_truncated_at_any_place(check, table, btf):
    """Each is told, by one line; none is judged.

    Deliberate break: rg_image_lacks_sections() returns false.
    """
    image = arm64(btf, kallsyms(symbols_of(table), align=4))
    for whole in (bzimage(elf(btf, kallsyms(symbols_of(table))), "xz"),
                  elf(btf, kallsyms(symbols_of(table))), image, zboot(image)):
        for part in (0.001, 0.05, 0.3, 0.6, 0.9, 0.99):
            assert check(whole[:int(len(whole) * part)]).fails(BAD, "vmlinuz-test")
    for whole in (image, zboot(image)):
        for size in (0x100, 0x1f0, len(whole) // 2, len(whole) - 16, len(whole) - 1):
            assert check(whole[:size]).fails(BAD, "vmlinuz-test", "is cut short")


def test_arm64_without_an_efi_stub_has_no_sections(check, table, btf):
    assert check(arm64(btf, kallsyms(symbols_of(table), align=4), efi=False))["symbols"] is True


@pytest.mark.parametrize("at,size,value,cut", [
    (0x3c, 4, 0xffffffff, True), (0x3c, 4, 0, False), (0x46, 2, 0xffff, True),
    (0x54, 2, 0xffff, True), (0x108, 4, 0xffffffff, True), (0x10c, 4, 0xffffffff, True),
], ids=["header", "no-header", "sections", "optional", "size", "place"])
def test_pe_header_that_lies(check, btf, at, size, value, cut):
    """Each number as large as it can be, and the header where there is none."""
    data = bytearray(arm64(btf))
    data[at:at + size] = value.to_bytes(size, "little")
    if cut:
        assert check(bytes(data)).fails(BAD, "is cut short")
    else:
        assert check(bytes(data))["arch"] == "arm64"


def test_section_that_ends_behind_the_file(check, btf):
    data = bytearray(elf(btf))
    table, = struct.unpack_from("<Q", data, 0x28)
    struct.pack_into("<Q", data, table + 64 + 0x20, len(data))
    assert check(bytes(data)).fails(BAD, "cut short")


def test_damage_anywhere_is_survived(check, table, btf):
    rnd = random.Random(1)
    whole = elf(btf, kallsyms(symbols_of(table)))
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rnd.randint(1, 6)):
            data[rnd.randrange(len(data))] = rnd.choice((0, 1, 0xff, rnd.randrange(256)))
        check(bytes(data))


def test_payload_that_unpacks_to_another_size(check, btf):
    data = bytearray(bzimage(elf(btf), "xz"))
    at = len(data) - len(b"signature") - 4
    struct.pack_into("<I", data, at, struct.unpack_from("<I", data, at)[0] + 1)
    assert check(bytes(data)).fails(BAD, "cut short or damaged")


def test_packed_in_itself(check):
    data = b"x"
    for _ in range(6):
        data = packed(data, "gzip")
    assert check(data).fails(BAD, "packed in itself")


def test_missing_tool_is_named(check, btf, tmp_path):
    (tmp_path / "empty").mkdir()
    done = check(bzimage(elf(btf), "xz"), env={"PATH": str(tmp_path / "empty")})
    assert done.fails(TOOL, "packed with xz, which is not installed", "apt-get install xz-utils")


def test_file_that_is_not_there_or_not_ours(cli, tmp_path, bound):
    assert cli("check", "--kernel", tmp_path / "none").fails(ABSENT, "none", "No such file")
    assert cli("check", "--kernel", tmp_path).fails(BAD, "directory")
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    secret.chmod(0)
    assert cli("check", "--kernel", secret, prefix=bound).fails(PERMISSION, "run it as root")
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert cli("check", "--kernel", fifo).fails(BAD, "no kernel image")


def test_file_that_is_too_long(fast_cli, tmp_path):
    """By its length at once; what has none is read no further than a kernel may be long.

    Deliberate break: no look at st_size, and room doubles without a limit.
    """
    file = tmp_path / "long"
    with open(file, "wb") as out:
        out.truncate((1 << 30) + 1)
    for name, most, seconds in ((file, 100, 1), ("/dev/zero", 1100, 60)):
        done, spent, mib = fast_cli.measured("check", "--kernel", name)
        assert done.fails(BAD, "longer than any kernel image", "strip --strip-debug")
        assert spent < seconds and mib < most, f"{spent} s, {mib} MiB"


def test_name_with_control_characters_stays_in_its_line(cli, tmp_path):
    file = tmp_path / "a\nb\033[31m"
    file.write_bytes(b"no kernel")
    assert cli("check", "--kernel", file).fails(BAD, "a?b?[31m")


EVIL = "\x1b[2J\nverdict covered\r\x9b\x7f"


def test_image_and_signer_cannot_write_to_the_terminal(cli, installed, machine, table, btf):
    first = next(row[1] for row in table if row[0] == "target")
    image = machine.root / "boot/vmlinuz-6.12.9-test"
    image.write_bytes(elf(btf, symtab=symbols_of(table, without=(first,), extra=(f"{first}.{EVIL}",))))
    for words in (["--kernel", image], ["--all-installed"]):
        done = installed(cli, EVIL, *words)
        assert done.rc == NO and f"only {first}.?[2J?verdict covered" in " ".join(done.out.split())
        assert all(" " <= letter <= "~" or letter == "\n" for letter in done.out), done.out
        assert not done.out.count("\nverdict covered")


def test_too_many_symbols_claimed(check, btf):
    """A header that claims millions must not take minutes."""
    rodata = bytearray(kallsyms([f"s{i}" for i in range(600)]))
    struct.pack_into("<I", rodata, 0, 0xffffff)
    start = time.monotonic()
    assert check(elf(btf, bytes(rodata)))["symbols"] is False
    assert time.monotonic() - start < 10


def bare_elf(symbols, names, sections=1):
    """As many symbol tables, which share symbols and names: names without an end."""
    def section(kind, at, size, link):
        return struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, at, size, link, 0, 0, 0)
    count = 2 + sections
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 0, 64, 0, 64, 0, 0, 64, count, 1)
    at = 64 + 64 * count
    table = struct.pack("<IBBHQQ", 1, 0x12, 0, 1, 0, 0) * symbols
    return head + section(0, 0, 0, 0) + section(3, at + len(table), len(names), 0) + section(
        2, at, len(table), 1) * sections + table + names


@pytest.mark.parametrize("data", [
    lambda btf: bare_elf(400000, b"\1" * 8000000), lambda btf: bare_elf(400000, b"\1" * 8000000 + b"\0"),
    lambda btf: bare_elf(100000, b"\1" * 20000 + b"\0", sections=1000),
    lambda btf: bare_elf(100000, b"ab\0", sections=60000),
    lambda btf: arm64(btf, bytes(32 << 20) + imagegen.tokens(2000)),
], ids=["no-end", "far-end", "many-tables", "more-tables", "token-tables"])
def test_made_up_image_ends(fast_cli, tmp_path, btf, data):
    """What would take hours takes seconds, and is told."""
    file = tmp_path / "vmlinuz-test"
    file.write_bytes(data(btf))
    done, spent, _ = fast_cli.measured("check", "--kernel", file, root="/nonexistent")
    assert done.fails(BAD, "vmlinuz-test") and spent < 10


# What stands around -------------------------------------------------------------

@pytest.fixture
def machine(tmp_path, table, btf):
    """A root with three installed kernels: good, one without BTF, one of a series unknown."""
    root = Tree(tmp_path / "machine")
    boot = root.root / "boot"
    boot.mkdir(parents=True)
    good = kallsyms(symbols_of(table))
    (boot / "vmlinuz-6.12.9-test").write_bytes(bzimage(elf(btf, good)))
    (boot / "vmlinuz-6.12.10-nobtf").write_bytes(bzimage(elf(None, release=b"6.12.10-nobtf")))
    (boot / "vmlinuz-5.4.0-test").write_bytes(bzimage(elf(btf, good, release=b"5.4.0-test")))
    root.write("/boot/config-6.12.9-test", "\n".join(
        f"{option}=y" for option in options()) + "\nCONFIG_MODULE_SIG_FORCE=y")
    root.write("/boot/config-5.4.0-test",
               "CONFIG_X86_64=y\nCONFIG_PCI_ATS=y\n# CONFIG_KPROBES is not set")
    return root


def options():
    text = (HERE.parents[1] / "dkms.conf").read_text()
    return text.split('BUILD_EXCLUSIVE_CONFIG="')[1].split('"')[0].split()


def test_all_installed(cli, machine):
    done = cli("check", "--all-installed", root=machine.root)
    assert done.rc == NO
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["5.4.0-test", "6.12.9-test",
                                                      "vmlinuz-6.12.10-nobtf"]
    assert "covered" in lines[2] and "unreadable" in lines[3]
    assert "has no type information" in done.err and len(done.err.splitlines()) == 1
    assert "CONFIG_KPROBES" in done.out and all(len(line) <= 80 or line[0] == "/" for line in lines)
    kernels = {k["file"].rsplit("/", 1)[1]: k for k in json.loads(
        cli("check", "--all-installed", "--json", root=machine.root).out)["kernels"]}
    assert kernels["vmlinuz-6.12.9-test"]["config_lacks"] == ""
    assert kernels["vmlinuz-6.12.9-test"]["signed_modules_only"] is True
    # The last is of x86_64 alone, and the first kernel's configuration does not say what it is of.
    assert kernels["vmlinuz-5.4.0-test"]["config_lacks"].split() == [
        option for option in options() if option != "CONFIG_PCI_ATS"] + [
        "CONFIG_HAVE_STATIC_CALL_INLINE"]
    assert kernels["vmlinuz-6.12.10-nobtf"]["verdict"] == "unreadable"
    assert "no type information" in kernels["vmlinuz-6.12.10-nobtf"]["why"]


SERIAL, KEY_ID = bytes(range(0xe0, 0xf4)), bytes(range(20))


def certificate(serial=SERIAL, key_id=KEY_ID):
    """What the command looks at of one, in DER: the version, the serial number, the key's number."""
    number = b"\0" * (serial[0] > 0x7f) + serial
    body = b"\xa0\3\2\1\2" + b"\2" + bytes([len(number)]) + number + b"\x30\x0d" + bytes(300)
    if key_id:
        body += b"\6\3\x55\x1d\x0e\4" + bytes([len(key_id) + 2, 4, len(key_id)]) + key_id
    body += b"\x30\x0c\6\3\x55\x1d\x23" + bytes(40)
    inner = b"\x30\x82" + struct.pack(">H", len(body)) + body
    return b"\x30\x82" + struct.pack(">H", len(inner)) + inner


def key(name, number):
    """A line of /proc/keys."""
    return (f"2ef2a2d1 I------     1 perm 1f030000     0     0 asymmetri {name}: {number.hex()}: "
            f"X509.rsa {number.hex()[-8:]} []\n")


KEYS = key("Debian Secure Boot CA", bytes(20)) + (
    "0ef2a2d1 I--Q---     1 perm 1f030000     0     0 keyring   DKMS module signing key: 1\n")
MOK = key("DKMS module signing key", KEY_ID)
OTHER = key("DKMS module signing key", KEY_ID[::-1])


def modinfo(folder, signer, serial=SERIAL):
    fake_tool(folder, "modinfo", f'case $2 in signer) echo "{signer}" ;; '
              f'sig_key) echo {serial.hex(":").upper()} ;; *) echo 0.1.0 ;; esac\n')


@pytest.fixture
def installed(machine, tmp_path):
    """installed(signer or None for no module, words) judges the good kernel, with Secure Boot on."""
    boot = machine.root / "boot"
    for other in ("5.4.0-test", "6.12.10-nobtf"):
        (boot / f"vmlinuz-{other}").unlink()
    machine.write("/boot/config-6.12.9-test", "\n".join(f"{option}=y" for option in options()))
    machine.write("/boot/initrd.img-6.12.9-test", "x")
    efi = machine.write("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "")

    def run(cli, signer, *words, secure=1, lockdown="none", keys=None, shim=None):
        efi.write_bytes(bytes((6, 0, 0, 0, secure)))
        if shim:
            machine.write("/sys/firmware/efi/efivars/MokSBStateRT-605dab50-e046-4300-abb6-3dd810dd8b23",
                          "").write_bytes(bytes(shim))
        machine.write("/sys/kernel/security/lockdown", "none integrity confidentiality".replace(
            lockdown, f"[{lockdown}]"))
        base = "/lib/modules/6.12.9-test"
        machine.write(f"{base}/modules.dep", "updates/dkms/resetgate.ko:" if signer is not None else "")
        machine.write(f"{base}/updates/dkms/resetgate.ko", "x")
        if keys is not None:
            machine.write("/proc/keys", keys)
        modinfo(tmp_path / "bin", signer)
        machine.write("/var/lib/dkms/mok.pub", "").write_bytes(certificate())
        fake_tool(tmp_path / "bin", "lsinitramfs", "echo usr/lib/modules/x/updates/other.ko.xz\n")
        return cli("check", *words, root=machine.root,
                   env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"})
    return run


@pytest.mark.parametrize("how", ["--all-installed", "--kernel"])
@pytest.mark.parametrize("signer,where,rc,loads,part", [
    (None, {}, NO, False, "none is installed for this kernel"),
    ("", {}, NO, False, "takes signed modules only, so it will not load"),
    ("", {"secure": 0}, OK, True, ""),
    ("", {"secure": 0, "lockdown": "integrity"}, NO, False, "takes signed modules only"),
    ("Somebody", {"keys": "KEYS"}, NO, False, "the kernel does not have, so it will not load"),
    ("DKMS module signing key", {"keys": "MOK"}, OK, True, ""),
    ("DKMS module signing key", {"keys": "OTHER"}, NO, False,
     "the kernel does not have, so it will not load"),
], ids=["none", "unsigned", "no-secure-boot", "lockdown", "not-enrolled", "enrolled", "namesake"])
def test_module_of_an_installed_kernel(cli, installed, machine, how, signer, where, rc, loads, part):
    if "keys" in where and os.geteuid():
        pytest.skip("the kernel's keys are root's")
    if "keys" in where:
        where = where | {"keys": KEYS + {"MOK": MOK, "OTHER": OTHER, "KEYS": ""}[where["keys"]]}
    words = [how] + ([machine.root / "boot/vmlinuz-6.12.9-test"] if how == "--kernel" else [])
    done = installed(cli, signer, *words, **where)
    text = " ".join(done.out.split())
    assert done.rc == rc and part in text, done.out
    assert f"secure boot {'on' if where.get('secure', 1) else 'off'}" in text
    assert f"lockdown {where.get('lockdown', 'none')}" in text and "nitramfs" in text.lower()
    assert all(len(line) <= 80 or "/" in line for line in done.out.splitlines())
    if how == "--all-installed":
        row = done.out.splitlines()[1].split()
        assert row[0] == "6.12.9-test" and row[-2:] == ["yes" if loads else "no", "no"]
    kernel, = json.loads(installed(cli, signer, "--json", *words, **where).out)["kernels"]
    assert (kernel["installed"], kernel["loads"], kernel["initramfs"]) == (True, loads, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="the kernel's keys are root's")
@pytest.mark.parametrize("place,cert,key_line,enrolled", [
    ("dkms/mok.pub", certificate(), MOK, True), ("dkms/mok.pub", certificate(), OTHER, False),
    ("shim-signed/mok/MOK.der", certificate(), MOK, True),
    ("dkms/mok.pub", certificate(serial=SERIAL[::-1]), MOK, None), ("none", b"", MOK, None),
    ("dkms/mok.pub", certificate(key_id=b""), key("DKMS module signing key", SERIAL), True),
    ("dkms/mok.pub", certificate(key_id=b""), MOK, False),
    ("dkms/mok.pub", certificate()[:16], MOK, None), ("dkms/mok.pub", b"", MOK, None),
    ("dkms/mok.pub", certificate().replace(b"\x16\4\x14", b"\x16\4\xff"), MOK, False),
    ("dkms/mok.pub", b"-----BEGIN CERTIFICATE-----\n", MOK, None),
], ids=["same", "other", "ubuntu", "other-certificate", "no-certificate", "no-id", "no-id-other",
        "cut", "empty", "damaged", "pem"])
def test_key_is_known_by_more_than_its_name(cli, machine, tmp_path, place, cert, key_line, enrolled):
    """All of dkms's have one name; one that was made anew is not the one that was enrolled.

    Deliberate break: rg_signature_find() sets enrolled = namesake.
    """
    base, bin_ = "/lib/modules/6.12.9-test", tmp_path / "bin"
    machine.write(f"{base}/modules.dep", "resetgate.ko:")
    machine.write(f"{base}/resetgate.ko", "x")
    machine.write("/proc/keys", KEYS + key_line)
    machine.write(f"/var/lib/{place}", "").write_bytes(cert)
    modinfo(bin_, "DKMS module signing key")
    words = ["check", "--kernel", machine.root / "boot/vmlinuz-6.12.9-test"]
    env = {"PATH": f"{bin_}:{os.environ['PATH']}"}
    kernel, = json.loads(cli(*words, "--json", root=machine.root, env=env).out)["kernels"]
    assert kernel["module"]["enrolled"] is enrolled and kernel["loads"] is enrolled
    text = " ".join(cli(*words, root=machine.root, env=env).out.split())
    assert ("it loads if it is this one" in text) == (enrolled is None), text


SHIM_OFF = (6, 0, 0, 0, 1)


@pytest.mark.parametrize("shim,secure,lockdown,rc", [
    (SHIM_OFF, 1, "none", OK), (SHIM_OFF, 1, "integrity", NO), ((6, 0, 0, 0, 0), 1, "none", NO),
    ((7, 0, 0, 0, 1), 1, "none", NO), ((6, 0, 0, 1), 1, "none", NO), (SHIM_OFF, 0, "none", OK),
], ids=["off", "lockdown", "on", "not-volatile", "short", "no-secure-boot"])
def test_shim_that_checks_no_signatures(cli, installed, shim, secure, lockdown, rc):
    """Then the kernel wants none, by a variable that only this boot's shim can have set.

    Deliberate break: rg_machine_shim_off() does not look at volatile_only, or returns false.
    """
    where = {"shim": shim, "secure": secure, "lockdown": lockdown}
    done = installed(cli, "", "--all-installed", **where)
    off = shim == SHIM_OFF and secure == 1
    assert done.rc == rc and ("shim checks no signatures" in done.out) == off, done.out
    machine = json.loads(installed(cli, "", "--all-installed", "--json", **where).out)["machine"]
    assert (machine["secure_boot"], machine["shim_off"]) == (bool(secure), off)


def test_module_of_the_running_kernel_is_loaded(cli, installed, machine):
    """Then it loads, whatever its file is."""
    machine.load(release="6.12.9-test")
    assert installed(cli, None, "--all-installed").rc == OK


def test_several_named(cli, machine, tmp_path):
    boot = machine.root / "boot"
    done = cli("check", "--kernel", boot / "vmlinuz-6.12.9-test", "--kernel",
               boot / "vmlinuz-6.12.10-nobtf", root=machine.root)
    assert done.rc == NO and "unreadable" in done.out and "6.12.9-test" in done.out
    done = cli("check", "--kernel", boot / "vmlinuz-6.12.9-test", "--kernel", boot / "none",
               root=machine.root)
    assert done.rc == NO and "unreadable" in done.out and "No such file" in done.err


def test_more_images_than_there_is_room_for(cli, tmp_path):
    words = ["--kernel", tmp_path / "none"] * 257
    assert cli("check", *words).fails(USAGE, "more than 256")


def test_nothing_installed(cli, tmp_path):
    assert cli("check", "--all-installed", root=tmp_path).fails(ABSENT, "/boot", "--kernel FILE")


def test_folder_of_images_that_may_not_be_read(cli, machine, bound):
    """It is not empty, for all that is known."""
    (machine.root / "boot").chmod(0)
    done = cli("check", "--all-installed", root=machine.root, prefix=bound)
    (machine.root / "boot").chmod(0o755)
    assert done.fails(PERMISSION, "/boot: Permission denied; run it as root")


@pytest.fixture
def running(tmp_path, table, btf):
    """A running kernel that has all, on a machine with VT-d."""
    root = Tree(tmp_path / "running")
    root.write("/proc/sys/kernel/osrelease", "6.12.9-test")
    root.write("/proc/sys/kernel/ftrace_enabled", "1")
    root.write("/proc/kallsyms", "\n".join(f"0000000000000000 t {name}"
                                           for name in symbols_of(table))
               + "\n0000000000000000 d some_data"
               + "\n0000000000000000 t pcie_flr\t[some_module]")
    root.write("/sys/kernel/btf/vmlinux", "")
    (root.root / "sys/kernel/btf/vmlinux").write_bytes(btf)
    root.write("/sys/class/iommu/dmar0/x", "")
    root.write("/sys/kernel/tracing/enabled_functions",
               "pcie_flr (1) R I     tramp: 0xffffffffc0 (klp_ftrace_handler)\n"
               "schedule (1) R I     tramp: 0x0\npci_enable_ats (1) R   D   ")
    root.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality")
    root.write("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c", "")
    (root.root / "sys/firmware/efi/efivars/"
     "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c").write_bytes(b"\6\0\0\0\1")
    return root


def test_running_kernel(cli, running):
    done = cli("check", root=running.root)
    assert done.rc == OK, done.out
    for part in ("covered", "secure boot on", "lockdown    integrity", "IOMMU       vtd",
                 "pcie_flr is redirected by somebody else", "pci_enable_ats is called directly",
                 "in charge   no: the module is not loaded"):
        assert part in done.out, (part, done.out)
    assert "schedule" not in done.out
    data = json.loads(cli("check", "--json", root=running.root).out)
    assert data["machine"]["patchers"] == ["pcie_flr", "pci_enable_ats"]
    assert data["machine"]["secure_boot"] is True and data["kernels"][0]["running"] is True


def test_function_that_ftrace_cannot_reach(cli, running, table):
    names = [row[1] for row in table if row[0] == "target"]
    file = "/sys/kernel/tracing/available_filter_functions"
    running.write(file, "\n".join(names))
    assert cli("check", root=running.root).rc == OK
    running.write(file, "\n".join(set(names) - {"pcie_do_recovery"}) + "\npcie_do_recovery [other]")
    kernel, = json.loads(cli("check", "--json", root=running.root).out)["kernels"]
    assert kernel["verdict"] == "in part"
    assert kernel["reasons"][0]["found"] == "one that ftrace cannot reach"


def test_running_with_the_module_armed(cli, running):
    running.load(targets="pcie_flr reset found armed 12\npci_enable_ats endpoint found armed 0\n"
                         "pcie_do_recovery recovery found - 0\n")
    running.write("/sys/kernel/tracing/enabled_functions",
                  "pcie_flr (1) R I     tramp: 0x0\npci_enable_ats (1) R I D   \n"
                  "pcie_do_recovery (1) R I   M  tramp: 0x0 (klp_ftrace_handler)\n")
    data = json.loads(cli("check", "--json", root=running.root).out)
    assert data["machine"]["patchers"] == ["pci_enable_ats", "pcie_do_recovery"]
    assert data["machine"]["loaded"] and not data["machine"]["in_charge"]
    assert data["machine"]["why_not"] == "recovery is off"


def test_running_without_btf(cli, running):
    (running.root / "sys/kernel/btf/vmlinux").unlink()
    assert cli("check", root=running.root).fails(BAD, "6.12.9-test has no type information")


def test_the_rest_unknown(cli, tmp_path, running):
    for name in ("sys/kernel/tracing", "sys/kernel/security", "sys/firmware"):
        shutil.rmtree(running.root / name)
    done = cli("check", root=running.root)
    assert "secure boot unknown" in done.out and "lockdown    unknown" in done.out
    assert "patchers    unknown" in done.out


def fake_tool(folder, name, text):
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)


@pytest.mark.skipif(subprocess.run(["unshare", "-m", "true"], stderr=subprocess.DEVNULL,
                                   check=False).returncode != 0, reason="no mount namespaces here")
def test_tools_are_found_where_others_than_root_do_not_look(cli, running, tmp_path):
    """In /usr/sbin, which their PATH does not have."""
    base = "/lib/modules/6.12.9-test"
    running.write(f"{base}/modules.dep", "resetgate.ko:")
    running.write(f"{base}/resetgate.ko", "x")
    fake_tool(tmp_path / "sbin", "modinfo", "echo of-sbin\n")
    (tmp_path / "empty").mkdir()
    prefix = ("unshare", "-m", "/bin/sh", "-c",
              f'/bin/mount --bind "{tmp_path}/sbin" /usr/sbin && PATH={tmp_path}/empty exec "$@"', "sh")
    out = cli("check", "--json", root=running.root, prefix=prefix).out
    assert json.loads(out)["kernels"][0]["module"]["version"] == "of-sbin"


@pytest.mark.parametrize("signer,keys,part", [
    ("DKMS module signing key", KEYS + MOK, "signing key, whose key the kernel has"),
    ("DKMS module signing key", KEYS, "the kernel does not have, so it will not load; enrol it"),
    ("DKMS module signing key", None, "it loads if that key is enrolled"),
    ("", KEYS, "not signed: this machine takes signed modules only"),
], ids=["enrolled", "not-enrolled", "unknown", "unsigned"])
def test_module_and_its_signature(cli, running, tmp_path, signer, keys, part):
    base = "/lib/modules/6.12.9-test"
    running.write(f"{base}/modules.dep", "kernel/x.ko:\nupdates/dkms/resetgate.ko.xz:")
    running.write(f"{base}/updates/dkms/resetgate.ko.xz", "x")
    running.write("/boot/initrd.img-6.12.9-test", "x")
    if keys and not os.geteuid():
        running.write("/proc/keys", keys)
    modinfo(tmp_path / "bin", signer)
    running.write("/var/lib/dkms/mok.pub", "").write_bytes(certificate())
    fake_tool(tmp_path / "bin", "lsinitramfs", "echo usr/lib/modules/x/updates/resetgate.ko.xz\n")
    env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    out = " ".join(cli("check", root=running.root, env=env).out.split())
    assert part in out and "initramfs has the module" in out
    kernel, = json.loads(cli("check", "--json", root=running.root, env=env).out)["kernels"]
    assert kernel["module"]["signed"] is bool(signer) and kernel["initramfs"] is True
    assert kernel["module"]["enrolled"] == (MOK in keys if keys and signer else None)


# Real kernels ---------------------------------------------------------------------

def real_kernels():
    """Images of the kernels that the lab has; RG_IMAGES for whoever runs this alone."""
    return os.environ.get("RG_IMAGES", "").split()


@pytest.fixture(scope="session")
def images(request):
    chosen = getattr(request.config, "chosen_kernels", ())
    found = [str(kernel.vmlinuz) for kernel in chosen] or real_kernels()
    if not found:
        pytest.skip("no kernel images: test/vm/run check has them, or RG_IMAGES")
    return found


def test_real_kernels_are_covered_in_time(fast_cli, images):
    for image in images:
        done, spent, _ = fast_cli.measured("check", "--kernel", image, "--json",
                                           root="/nonexistent")
        kernel, = json.loads(done.out)["kernels"]
        assert kernel["verdict"] == "covered" and kernel["symbols"] is True, (image, done.out)
        assert spent < 2, f"{image}: {spent:.1f} s"


def test_real_kernels_truncated(cli, images, tmp_path):
    data = pathlib.Path(images[0]).read_bytes()
    short = tmp_path / "short"
    for part in (0.001, 0.5, 0.98):
        short.write_bytes(data[:int(len(data) * part)])
        assert cli("check", "--kernel", short).fails(BAD, "short")
