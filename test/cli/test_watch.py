# SPDX-License-Identifier: GPL-2.0
"""resetgate watch and report; the completion; that what is documented is what there is."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from run import ABSENT, BAD, OK, PERMISSION, REFUSED, SYSTEM, UNLOADED
from madetree import Tree

pytestmark = pytest.mark.arch("x86_64")
HERE = pathlib.Path(__file__).resolve().parent
DOC = HERE.parents[1] / "doc/command.md"
TRACE = """\
# tracer: nop
#           TASK-PID     CPU#  |||||  TIMESTAMP  FUNCTION
             rgx-812     [001] .....    71.099000: reset_begin: 0000:01:00.0 reason=flr
             rgx-812     [001] .....    71.100000: close: 0000:01:00.0 reason=function_reset
 a: open: x y-813     [001] .....    71.100500: record: 0000:01:00.0
          kworker-9       [000] d..1.    71.100600: drop: 0000:01:00.0
          kworker-9       [000] d..1.    71.100700: drop: 0000:01:00.0
             rgx-812     [001] .....    71.150000: pcie_flr: unrelated: 1
             rgx-812     [001] .....    71.190000: reset_end: 0000:01:00.0
CPU:1 [LOST 12 EVENTS]
             rgx-812     [001] .....    71.204321: open: 0000:01:00.0 window_us=104321
 perf 812 [001] 72.5: resetgate:park: 0000:02:00.0 reason=silent
"""


def test_watch_from_a_recorded_trace(cli):
    done = cli("watch", "--from", "-", stdin=TRACE)
    assert done.rc == OK and done.out.splitlines() == [
        "71.100000 0000:01:00.0 closed by function_reset",
        "71.190000 the kernel had no room for 12 events",
        "71.204321 0000:01:00.0 opened after 104.321 ms: 1 recorded, 2 dropped",
        "72.500000 0000:02:00.0 parked by silent"]


def test_lost_before_any_event(cli):
    out = cli("watch", "--from", "-", stdin="CPU:1 [LOST 12 EVENTS]\n").out
    assert out == "0.000000 the kernel had no room for 12 events\n"


def test_watch_each_and_count(cli, tmp_path):
    file = tmp_path / "trace.txt"
    file.write_text(TRACE)
    lines = cli("watch", "--each", "--from", file).out.splitlines()
    assert lines[0] == "71.099000 0000:01:00.0 reset-began by flr"
    assert [line.split()[2] for line in lines if "room" not in line] == [
        "reset-began", "closed", "recorded", "dropped", "dropped", "reset-ended", "opened", "parked"]
    assert [json.loads(line)["event"] for line in
            cli("watch", "--each", "--json", "--from", file).out.splitlines()][5] == "reset-ended"
    assert len(cli("watch", "--count", "1", "--from", file).out.splitlines()) == 1


def test_watch_json_has_one_object_a_line(cli):
    events = [json.loads(line) for line in
              cli("watch", "--json", "--from", "-", stdin=TRACE).out.splitlines()]
    assert [event["event"] for event in events] == ["closed", "lost", "opened", "parked"]
    assert events[1]["lost"] == 12
    assert events[2]["window_us"] == 104321 and events[2]["dropped"] == 2
    assert events[3]["reason"] == "silent" and "window_us" not in events[3]


@pytest.mark.parametrize("text", [
    "", "nothing\n", "x-1 [0] 1.0: close: 0000:01:00.0\n", "x-1 [0] 1.0: open: 0000:01:00.0 a=b\n",
    "x-1 [0] 1.0: close: 0000:01:00.9 reason=flr\n", "x-1 [0] 1.0: close:\n", ": close: \n",
])
def test_text_without_an_event(cli, text):
    assert cli("watch", "--from", "-", stdin=text).fails(BAD, "no event of resetgate")


def test_watch_from_no_file(cli, tmp_path):
    assert cli("watch", "--from", tmp_path / "none").fails(ABSENT, "none")


@pytest.fixture(scope="session")
def preload(tmp_path_factory):
    """What stands for the kernel, as a library."""
    out = tmp_path_factory.mktemp("preload") / "tracefs.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-Wall", "-Werror", "-O1", "-o", out,
                    HERE / "tracefs.c", "-ldl"], check=True)
    return out


@pytest.fixture
def live(fast_cli, preload, tree):
    """live(words, a file for trace_pipe) starts a watch; what it leaves is killed."""
    runs = []

    def start(*words, pipe="/dev/null", tracefs="/sys/kernel/tracing", **env):
        if tracefs:
            (tree.root / f"{tracefs.lstrip('/')}/instances").mkdir(parents=True, exist_ok=True)
        env = dict(os.environ, RESETGATE_ROOT=str(tree.root), LD_PRELOAD=str(preload),
                   RG_TRACE_PIPE=str(pipe), LC_ALL="C", **env)
        runs.append(subprocess.Popen([fast_cli.exe, "watch", *words], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True, env=env))
        return runs[-1]
    yield start
    for run in runs:
        run.kill()
        run.communicate()


def test_uevents_that_are_lost_are_told(live):
    """Others than root, or where there is no tracefs: the kernel says only that it was."""
    out, err = live("--seconds", "1", tracefs=None, RG_NO_BUFFER="1").communicate(timeout=10)
    assert out.endswith(" the kernel had no room for events: some were lost\n")
    assert out.count("\n") == 1 and "tracefs" in err
    event, = live("--json", "--seconds", "1", tracefs=None, RG_NO_BUFFER="1").communicate(
        timeout=10)[0].splitlines()
    assert json.loads(event)["event"] == "lost" and json.loads(event)["lost"] is None


@pytest.mark.parametrize("how,part", [
    ({"tracefs": None}, "tracefs is not mounted (mount -t tracefs"),
    ({"RG_NO_EVENTS": "1"}, "tracefs does not have the module's events"),
    ({"RG_LOCKED": ""}, "locked down" if not os.geteuid() else "without root"),
    ({"RG_LOCKED": "no file"}, "locked down" if not os.geteuid() else "without root"),
], ids=["absent", "no-events", "no-instance", "locked-down"])
def test_why_there_is_no_tracefs(live, how, part):
    _, err = live("--seconds", "1", **how).communicate(timeout=10)
    assert part in err and err.count("\n") == 1 and "are not shown" in err


def test_tracefs_where_older_systems_have_it(live):
    run = live("--seconds", "1", pipe=FLOOD, tracefs="/sys/kernel/debug/tracing")
    assert run.communicate(timeout=10) == ("", "") and run.returncode == OK


FLOOD = "/dev/zero"  # each read gives as much as it may


def test_flood_ends_in_time(live):
    _, err = live("--seconds", "1", pipe=FLOOD).communicate(timeout=10)
    assert err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT],
                         ids=lambda number: number.name)
def test_flood_ends_by_a_signal_and_leaves_nothing(live, tree, number):
    run = live(pipe=FLOOD)
    folder = tree.root / "sys/kernel/tracing/instances"
    while not list(folder.glob("resetgate-*/trace_pipe")):
        time.sleep(.01)
    time.sleep(.3)
    run.send_signal(number)
    _, err = run.communicate(timeout=10)
    assert run.returncode == OK and err == ""
    assert [one.name for one in folder.iterdir()] == [f"resetgate-{run.pid}.gone"]


def test_instances_of_the_dead_are_removed(live, tree):
    dead = subprocess.Popen(["true"])
    dead.wait()
    folder = tree.root / "sys/kernel/tracing/instances"
    for name in (f"resetgate-{dead.pid}", f"resetgate-{os.getpid()}", "resetgate-x", "somebody"):
        (folder / name).mkdir(parents=True)
    live("--seconds", "1", pipe="/dev/null").communicate(timeout=10)
    names = {one.name for one in folder.iterdir() if not one.name.endswith(".gone")}
    assert names == {f"resetgate-{os.getpid()}", "resetgate-x", "somebody"}


# report -------------------------------------------------------------------------

SECRETS = ["rd.luks.name=1234-abcd", "systemd.setenv=TOKEN=hunter2", "ip=192.0.2.1", "root=UUID=77",
           "hostname=tower"]


@pytest.fixture
def tree(tmp_path):
    made = Tree(tmp_path / "root")
    made.function("0000:01:00.0")
    made.write("/sys/bus/pci/devices/0000:01:00.0/vendor", "0x8086")
    made.write("/proc/cmdline", " ".join(["intel_iommu=on", *SECRETS, "pci=noats"]))
    made.write("/proc/sys/kernel/osrelease", "6.12.118+deb13-amd64")
    return made.load()


def test_report_has_what_helps_and_no_secret(cli, tree):
    done = cli("report", root=tree.root)
    assert done.rc == OK
    for part in ("intel_iommu=on", "pci=noats", "(5 more words", "set recovery: off",
                 "0000:01:00.0 open mode=auto", "vendor=0x8086", "6.12.118+deb13-amd64",
                 "== check", "policy: record"):
        assert part in done.out, part
    for secret in SECRETS:
        assert secret not in done.out and secret.split("=", 1)[1] not in done.out
    assert not re.search(rf"\b{os.uname().nodename}\b", done.out.split("== kernel")[1]) \
        or os.uname().nodename in ("localhost", "debian")
    titles = [section["title"] for section in
              json.loads(cli("report", "--json", root=tree.root).out)["sections"]]
    assert titles == re.findall(r"^== (.*)", done.out, re.M)


LOG = """\
<6>[    0.1] Command line: resetgate: root=UUID=77 token=hunter2
<6>[    0.201] DMAR: DRHD base: 0x000000fed90000 flags: 0x0
<6>[    0.202] AMD-Vi: Interrupt remapping enabled
<6>[    0.203] arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x1)
<6>[    0.204] iommu: Default domain type: Translated
<6>[    0.205][    T1] pci 0000:01:00.0: Adding to iommu group 3
<4>[    0.206] pcieport 0000:00:1c.0: AER: Uncorrected (Fatal) error
<4>[    0.207] vfio-pci 0000:01:00.0: resetting
<4>[    0.208] nvme 0000:02:00.0: resetgate: parked on tower.example.org, 10000:ff:1f.7 is not
<4>[    0.209] resetgate: built for 6.12.118 at 00:1b:21:aa:bb:cc 192.0.2.7 fe80::21b:21ff:feaa:bbcc
<4>[    0.210] resetgate: 00-1B-21-AA-BB-CC enx001b21aabbcc ::ffff:192.0.2.8 2001:db8:0:1:2:3:4:5, Tower!
<4>[    1.1] usb 1-1: reset high-speed USB device, serial 4711
<4>[    1.2] tcp-reset: SRC=198.51.100.7 host=tower
<4>[    1.3] my-daemon[7]: iommu vfio resetgate: passwd=hunter2
<4>[    1.4] nvme 0000:02:00.0: reset of customer-disk
<4>[    1.5] pci passwd=hunter2
<4>[    1.6] vfio_virqfd: DMAR: hunter2
"""


def test_report_takes_of_the_log_what_it_knows_by_its_beginning(cli, tree):
    tree.write("/proc/kmsg", LOG)
    tree.write("/proc/sys/kernel/hostname", "tower")
    log = cli("report", root=tree.root).out.split("== log\n")[1].split("\n==")[0].splitlines()
    assert [re.search(r"0\.2\d+", line)[0] for line in log] == [f"0.2{n:02}" for n in range(1, 11)]
    assert "parked on <host>, 10000:ff:1f.7 is not" in log[7]
    assert log[8].endswith("built for 6.12.118 at <address> <address> <address>")
    assert log[9].endswith("resetgate: <address> <address> <address> <address>, <host>!")
    for word in ("hunter2", "customer", "tower", "Tower", "192.0.2", "1b21", "1b:21", "4711"):
        assert word not in "\n".join(log), word


def test_report_does_not_name_the_signer(cli, tree, tmp_path):
    (tree.root / "sys/kernel/btf").mkdir(parents=True)
    (tree.root / "sys/kernel/btf/vmlinux").write_bytes(small_btf())
    base = "/lib/modules/6.12.118+deb13-amd64"
    tree.write(f"{base}/modules.dep", "updates/dkms/resetgate.ko:")
    tree.write(f"{base}/updates/dkms/resetgate.ko", "x")
    tool = tmp_path / "bin/modinfo"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$2" = signer ] && echo "tower Secure Boot key" || echo 0.1.0\n')
    tool.chmod(0o755)
    env = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
    assert "signed by tower Secure Boot key" in " ".join(
        cli("check", root=tree.root, env=env).out.split())
    out = cli("report", root=tree.root, env=env).out
    assert "signed" in out and "Secure Boot key" not in out


def test_report_to_a_new_file_only(cli, tree, tmp_path):
    file = tmp_path / "report.txt"
    done = cli("report", "--output", file, root=tree.root)
    assert done.rc == OK and done.out == "" and "== module" in file.read_text()
    assert file.stat().st_mode & 0o77 == 0
    assert cli("report", "--output", file, root=tree.root).rc == REFUSED
    assert "is there already" in cli("report", "--output", file, root=tree.root).err


def test_report_where_standard_output_is_closed(cli, tree, tmp_path):
    file = tmp_path / "report.txt"
    done = cli("report", "--output", file, root=tree.root,
               prefix=("sh", "-c", "exec \"$@\" >&-", "sh"))
    assert done.rc == OK and "== functions" in file.read_text(), done.err


def test_file_that_cannot_be_read_or_made(cli, tree, tmp_path, bound):
    """The line names the file, what was found, and the way out."""
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0)
    for words in (["watch", "--from"], ["timeline"]):
        for name, code, part in ((tmp_path, BAD, "Is a directory; give a file"),
                                 (tmp_path / "none", ABSENT, "; give a file that is there"),
                                 (secret, PERMISSION, "; run it as root")):
            done = cli(*words, name, root=tree.root, prefix=bound)
            assert done.fails(code, f"{name}: ", part), words
    name = tmp_path / "none/report.txt"
    done = cli("report", "--output", name, root=tree.root)
    assert done.rc == ABSENT and f"{name}: No such file or directory; give a name in" in done.err


def test_report_goes_on_where_a_function_is_odd(cli, tree):
    tree.function("0000:01:00.1", windows="many")
    tree.function("0000:01:00.2", windows="77")
    done = cli("report", root=tree.root)
    part = done.out.split("== functions\n")[1]
    assert done.rc == OK and "0000:01:00.0 open" in part and "windows=77" in part
    assert "(0000:01:00.1/windows has what this command does not know" in part
    assert "wait_timeout_ms: 60000" in done.out
    tree.write("/sys/bus/pci/devices/0000:01:00.1/resetgate/windows", "1")
    tree.write("/sys/kernel/resetgate/status", tree.read("/sys/kernel/resetgate/status").replace(
        "functions: 3", "functions: 5"))
    assert "(the module covers 5 functions, but 3 are shown" in cli("report", root=tree.root).out


def test_report_that_is_cut_is_removed(cli, tree, tmp_path):
    file = tmp_path / "report.txt"
    done = cli("report", "--output", file, root=tree.root,
               prefix=("sh", "-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"))
    assert done.rc == SYSTEM and f"{file}: File too large" in done.err and not file.exists()


def test_report_without_the_module(cli, tree):
    done = cli("report", root=tree.unload().root)
    assert done.rc == OK and "== module\nnot loaded" in done.out


# Documentation ------------------------------------------------------------------

def keys(value, path=""):
    """All key paths of a JSON value; a list's are those of its elements."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from keys(inner, f"{path}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner, path.removesuffix(".") + "[].")


# Their keys are names of the module's: back ends, sets, parameters.
NAMED = re.compile(r"^(backends|sets|parameters|kernels\[\]\.sets)\..*")


def schema(command):
    """Key paths that the document has for a command."""
    section = DOC.read_text().split(f"\n### {command}\n")[1].split("\n### ")[0].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, re.M))


@pytest.mark.parametrize("command,args", [
    ("status", [["status"], ["status", "0000:01:00.0"]]), ("report", [["report"]]),
    ("check", [["check"], ["check", "--in-charge"]]), ("policy", [["policy"]]),
    ("mode", [["mode", "0000:01:00.0", "on"]]), ("open", [["open", "0000:01:00.0"]]),
])
def test_json_is_as_documented(cli, tree, command, args):
    tree.write("/sys/kernel/btf/vmlinux", "x")
    tree.write("/sys/kernel/tracing/enabled_functions", "pcie_flr (1) R   D ")
    (tree.root / "sys/kernel/btf/vmlinux").write_bytes(small_btf())
    base = "/lib/modules/6.12.118+deb13-amd64"
    tree.write(f"{base}/modules.dep", "updates/dkms/resetgate.ko:")
    tree.write(f"{base}/updates/dkms/resetgate.ko", "x")
    found = set()
    for words in args:
        out = cli(*words, "--json", root=tree.root).out
        assert out, words
        found |= {key for key in keys(json.loads(out)) if not NAMED.match(key)}
    assert found == schema(command) | {"schema", "command"}


def test_json_of_watch_is_as_documented(cli):
    out = cli("watch", "--each", "--json", "--from", "-", stdin=TRACE).out
    found = {key for line in out.splitlines() for key in keys(json.loads(line))}
    assert found == schema("watch") | {"schema", "command"}


def small_btf():
    from btfgen import Btf
    btf = Btf()
    btf.int("int")
    return btf.blob()


def test_exit_codes_are_documented_twice():
    codes = re.findall(r"^\| (\d) \|", DOC.read_text(), re.M)
    assert codes == [str(code) for code in range(SYSTEM + 1)]
    page = (HERE.parents[1] / "src/cli/resetgate.8.scd").read_text()
    assert re.findall(r"^\*(\d)\*$", page, re.M) == codes


def commands(cli):
    """All that there are, as the command itself lists them."""
    return re.findall(r"^  ([a-z]+) +[^ ]", cli("--help").out, re.M)


def test_each_command_has_its_schema_and_its_synopsis(cli):
    page = (HERE.parents[1] / "src/cli/resetgate.8.scd").read_text()
    headings = re.findall(r"^### ([a-z]+)$", DOC.read_text(), re.M)
    assert sorted(headings) == sorted(commands(cli))
    for command in commands(cli):
        assert re.search(rf"^\*resetgate\* \[--json\] \*{command}\*", page, re.M), command
        assert f"\n*{command}*\n\t" in page and f"resetgate {command} " in DOC.read_text(), command


def test_json_of_timeline_is_as_documented(cli):
    trace = HERE / "data/trace-two-functions.txt"
    found = set(keys(json.loads(cli("timeline", "--json", trace).out)))
    assert found == schema("timeline") | {"schema", "command"}


def test_options_are_in_the_page_and_the_completion(cli):
    page = (HERE.parents[1] / "src/cli/resetgate.8.scd").read_text()
    completion = (HERE.parents[1] / "src/cli/completion.bash").read_text()
    assert len(commands(cli)) == 8
    for command in commands(cli):
        line = re.search(rf"^\t{command}\) words=(.*) ;;", completion, re.M)[1]
        assert f"*{command}*" in page
        for option in re.findall(r"^  (--[a-z-]+)", cli(command, "--help").out, re.M):
            assert option in page and option in line, (command, option)


def complete(*words):
    """What bash offers for the last word."""
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); '
              '_resetgate; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "-c", script, "bash",
                           HERE.parents[1] / "src/cli/completion.bash", "resetgate", *words],
                          capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_completion():
    assert complete("st") == ["status"]
    assert complete("watch", "--e") == ["--each"]
    assert complete("mode", "0000:01:00.0", "o") == ["off", "on"]
    assert complete("check", "--iommu", "a") == ["all"]
    assert complete("--json", "report", "--o") == ["--output"]
    assert complete("timel") == ["timeline"]
    assert complete("timeline", "--j") == ["--json"]
    data = HERE / "data"
    assert complete("timeline", f"{data}/trace-t") == [f"{data}/trace-two-functions.txt"]


def test_completion_of_all_commands(cli):
    for command in commands(cli):
        assert complete(command) == [command] and complete(command, "--h") == ["--help"]


@pytest.mark.skipif(not shutil.which("scdoc") or not shutil.which("groff"),
                    reason="scdoc or groff is not installed")
def test_man_pages(tmp_path):
    subprocess.run(["make", "-s", "-C", HERE.parents[1] / "src/cli", f"OUT={tmp_path}", "man"],
                   check=True)
    for page in ("resetgate.8", "resetgate.conf.5"):
        done = subprocess.run(["groff", "-man", "-ww", "-Tascii", "-P-cbou", tmp_path / page],
                              capture_output=True, text=True, check=True)
        assert done.stderr == "" and "SEE ALSO" in done.stdout
