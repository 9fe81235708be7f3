# SPDX-License-Identifier: GPL-2.0
"""What the packages ship that can be run on any machine, and that they are built on this one, as
doc/packages.md has it.
"""

import pathlib
import re
import subprocess

import pytest

pytestmark = pytest.mark.arch("x86_64")
TREE = pathlib.Path(__file__).resolve().parents[2]
METRICS = TREE / "dist/metrics"
STATUS = "resets: on\nfunctions: 3\nclosed: 1\nparked: 0\nclose_timeouts: 2\nclosed_late: 0\n"
NAME = r"[a-z_]+"
SAMPLE = re.compile(rf'({NAME})(\{{{NAME}="[^"]*"\}})? (\d+)')


@pytest.fixture
def sysfs(tmp_path):
    """A sysfs with three functions, one of them half gone."""
    (tmp_path / "kernel/resetgate").mkdir(parents=True)
    (tmp_path / "kernel/resetgate/status").write_text(STATUS)
    for n, bdf in enumerate(("0000:01:00.0", "0000:02:00.0", "0000:03:00.0")):
        directory = tmp_path / f"bus/pci/devices/{bdf}/resetgate"
        directory.mkdir(parents=True)
        for name in ("windows", "recorded", "dropped") if n < 2 else ("windows",):
            (directory / name).write_text(f"{n + 1}\n")
    return tmp_path


def metrics(sysfs, out):
    """{sample: value}, after what the text format demands was seen to."""
    subprocess.run([METRICS, out], check=True, env={"RESETGATE_SYS": str(sysfs),
                                                    "PATH": "/usr/bin:/bin"})
    assert [path.name for path in out.iterdir()] == ["resetgate.prom"]
    found, kinds, last = {}, {}, ""
    for line in (out / "resetgate.prom").read_text().splitlines():
        if line.startswith("# "):
            _, what, last, rest = line.split(" ", 3)
            kinds.setdefault(last, {})[what] = rest
            continue
        match = SAMPLE.fullmatch(line)
        assert match and match[1] == last, line
        assert match[1] + (match[2] or "") not in found
        found[match[1] + (match[2] or "")] = int(match[3])
    assert all(kind["TYPE"] in ("gauge", "counter") and kind["HELP"] for kind in kinds.values())
    return found


@pytest.fixture
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("node-exporter")


def test_metrics(sysfs, out):
    found = metrics(sysfs, out)
    assert found["resetgate_loaded"] == 1
    assert found['resetgate_functions{state="covered"}'] == 3
    assert found['resetgate_functions{state="closed"}'] == 1
    assert found["resetgate_close_timeouts_total"] == 2
    assert found['resetgate_windows_total{function="0000:03:00.0"}'] == 3
    assert found['resetgate_dropped_total{function="0000:02:00.0"}'] == 2
    # What goes while it is read is left out, not told as 0.
    assert 'resetgate_dropped_total{function="0000:03:00.0"}' not in found


def test_metrics_without_the_module(tmp_path, out):
    assert metrics(tmp_path, out) == {"resetgate_loaded": 0}


def test_metrics_replace_the_last_ones(sysfs, out):
    metrics(sysfs, out)
    (sysfs / "kernel/resetgate/status").unlink()
    assert metrics(sysfs, out) == {"resetgate_loaded": 0}


def test_metrics_of_no_directory(tmp_path):
    done = subprocess.run([METRICS, tmp_path / "none"], capture_output=True, text=True, check=False)
    assert done.returncode and done.stderr.count("\n") == 1
    assert subprocess.run([METRICS], capture_output=True, check=False).returncode


def test_deb_is_built_here(tmp_path):
    """Not only by the debhelper of the newest Debian: another one looks for units elsewhere.

    Deliberate break: debian/rules leaves the place of the units to dist/Makefile.
    """
    copy = tmp_path / "tree"
    names = subprocess.run(["git", "-c", "safe.directory=*", "-C", TREE, "ls-files", "-z"],
                           capture_output=True, check=True).stdout
    copy.mkdir()
    subprocess.run(["cpio", "--quiet", "-0pdm", copy], cwd=TREE, input=names, check=True)
    done = subprocess.run(["make", "deb"], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    tools, = tmp_path.glob("resetgate-tools_*.deb")
    shipped = subprocess.run(["dpkg-deb", "--contents", tools], capture_output=True, text=True,
                             check=True).stdout
    control = subprocess.run(["dpkg-deb", "--info", tools, "postinst"], capture_output=True,
                             text=True, check=True).stdout
    for unit in ("resetgate-check.service", "resetgate-metrics.timer"):
        assert f"lib/systemd/system/{unit}\n" in shipped and f"'{unit}'" in control
    assert list(tmp_path.glob("resetgate-dkms_*_all.deb"))
