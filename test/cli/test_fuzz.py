# SPDX-License-Identifier: GPL-2.0
"""make fuzz: its targets are built and take their corpus, which is made of what is there."""

import pathlib
import shutil
import subprocess
import sys

import pytest
from imagegen import bzimage, elf, btf_of
from run import BAD

pytestmark = pytest.mark.arch("x86_64")
FUZZ = pathlib.Path(__file__).resolve().parents[1] / "fuzz"
sys.path.insert(0, str(FUZZ))

import corpus  # noqa: E402 # pylint: disable=wrong-import-position


@pytest.fixture(scope="session")
def table():
    return corpus.table()


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A machine without any kernel."""
    monkeypatch.setattr(corpus, "BOOT", tmp_path / "boot")
    monkeypatch.setenv("RESETGATE_LAB", str(tmp_path / "lab"))
    monkeypatch.setenv("RG_IMAGES", "")
    return tmp_path


def image(path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")
    return path


def test_without_a_kernel_there_is_no_corpus(places):
    """In one line, instead of going on with what is made up alone."""
    with pytest.raises(SystemExit) as left:
        corpus.main(places / "corpus")
    assert str(left.value).startswith("resetgate: ") and "RG_IMAGES=" in str(left.value)
    assert "\n" not in str(left.value) and not (places / "corpus").exists()


def test_kernels_are_this_machines_or_the_labs(places, monkeypatch):
    labs = [image(places / "lab/build/boot/vmlinuz-1"),
            image(places / "lab/build-arm64/usr/lib/modules/2/vmlinuz")]
    (places / "lab/build/usr/lib/modules/1").mkdir(parents=True)
    (places / "lab/build/usr/lib/modules/1/vmlinuz").hardlink_to(labs[0])
    found = corpus.kernels()
    assert len(found) == 2 and {path.stat().st_ino for path in found} == {
        path.stat().st_ino for path in labs}
    own = image(places / "boot/vmlinuz-3")
    assert corpus.kernels() == [own]
    named = image(places / "named/vmlinuz")
    monkeypatch.setenv("RG_IMAGES", str(named))
    assert corpus.kernels() == [own, named]


def test_what_is_left_of_a_real_kernel_is_whole(cli, tmp_path, table):
    """Its sections are in it: else the reader stops at the header, and so does the fuzzer.

    Deliberate break: real() yields elf[:4096].
    """
    file = tmp_path / "vmlinuz"
    file.write_bytes(bzimage(elf(btf_of(table), bytes(100000))))
    heads = [data for kind, data in corpus.real(file) if kind == "image"]
    assert len(heads) == 2 and len(heads[1]) < 65536
    (tmp_path / "small").write_bytes(heads[1])
    done = cli("check", "--kernel", tmp_path / "small", root="/nonexistent")
    assert done.rc != BAD and "6.12.9-test" in done.out, done.err


@pytest.fixture(scope="session")
def clang(request, tmp_path_factory):
    """With what it links a fuzzer with; test/vm/run has both installed."""
    folder = tmp_path_factory.mktemp("clang")
    (folder / "try.c").write_text("int LLVMFuzzerTestOneInput(void) { return 0; }\n")
    if shutil.which("clang") and not subprocess.run(
            ["clang", "-fsanitize=fuzzer,address,undefined", "-o", folder / "try", folder / "try.c"],
            stderr=subprocess.DEVNULL, check=False).returncode:
        return "clang"
    why = "clang cannot build a fuzzer here: apt-get install clang libclang-rt-dev"
    if getattr(request.config, "chosen_kernels", ()):
        pytest.fail(why)
    return pytest.skip(why)


@pytest.mark.parametrize("target", ["image", "btf"])
def test_target_takes_its_corpus(clang, tmp_path, table, target):
    """Each file once, which also says that the targets still fit the readers.

    Deliberate break: a source that the readers need is missing in test/fuzz/Makefile.
    """
    corpus.write(tmp_path / "corpus", corpus.made_up(table))
    subprocess.run(["make", "-s", "-C", FUZZ, f"OUT={tmp_path}", f"CLANG={clang}",
                    f"{tmp_path}/fuzz-{target}"], check=True)
    done = subprocess.run([tmp_path / f"fuzz-{target}", "-runs=0", "-timeout=10", "-max_len=65536",
                           "-rss_limit_mb=2048", f"-artifact_prefix={tmp_path}/",
                           tmp_path / "corpus" / target],
                          capture_output=True, text=True, check=False, timeout=300)
    files = len(list((tmp_path / "corpus" / target).iterdir()))
    assert done.returncode == 0 and f"{files} files found" in done.stderr, done.stderr
