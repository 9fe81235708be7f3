# SPDX-License-Identifier: GPL-2.0
"""resetgate timeline: a recorded trace (6.12, VT-d, an FLR under a storm of unmaps with an attach
in it, then two of two functions that overlap) and made-up ones."""

import json
import os
import pathlib
import re
import subprocess
import xml.dom.minidom

import pytest

pytestmark = pytest.mark.arch("x86_64")
RECORDED = pathlib.Path(__file__).resolve().parent / "data/trace-two-functions.txt"
OK, USAGE, ABSENT, BAD, TOOL = 0, 2, 3, 6, 7


@pytest.fixture(scope="session")
def command(cli):
    """The command, built with the sanitizers."""
    return cli.exe


@pytest.fixture
def timeline(command, tmp_path):
    """timeline(text or bytes or path, options) gives (exit code, stdout, stderr)."""
    def run(trace, *options, stdin=None, path=None):
        name = trace
        if isinstance(trace, bytes):
            name = tmp_path / "trace"
            name.write_bytes(trace)
        env = {**os.environ, **({"PATH": str(path)} if path else {})}
        done = subprocess.run([command, "timeline", *options, name], input=stdin,
                              capture_output=True, check=False, timeout=60, env=env)
        error = done.stderr.decode()
        assert "Sanitizer" not in error and "runtime error" not in error, error
        return done.returncode, done.stdout.decode(), error
    return run


def line(at, event, rest):
    return f"  a task 1.5: x-7  [001] d..1. {at:.6f}: {event}: {rest}\n"


def trace(*lines):
    return "".join(line(*one) for one in lines).encode()


def resets(timeline, data):
    """The figures, from JSON."""
    code, out, error = timeline(data, "--json")
    assert code == OK, error
    return json.loads(out)["resets"]


RESET = (("reset_begin", "reason=function_reset"), ("close", "reason=function_reset"),
         ("record", ""), ("drop", ""), ("drop", ""), ("reset_end", ""), ("open", "window_us=4000"))


def one_reset(bdf="0000:01:00.0", start=100.0):
    return [(start + n * 1e-3, event, f"{bdf} {rest}") for n, (event, rest) in enumerate(RESET)]


# What is read ---------------------------------------------------------------

def test_recorded(timeline):
    """The figures are those that counting by other means gives."""
    first, second, third = resets(timeline, RECORDED)
    text = RECORDED.read_text()
    assert (first["function"], second["function"], third["function"]) == (
        "0000:01:00.0", "0000:02:00.0", "0000:01:00.0")
    assert first["recorded"] == len(re.findall("record: 0000:01:00.0", text)) == 2
    drops = len(re.findall("drop: 0000:01:00.0", text))
    assert first["dropped"] + third["dropped"] == drops > 100
    assert second["dropped"] == len(re.findall("drop: 0000:02:00.0", text)) > 100
    # The module's own measure of the window, from its open event.
    for one, window in zip((first, third, second), re.findall(r"window_us=(\d+)", text)):
        assert abs(one["opened_us"] - one["closed_us"] - int(window)) < 1000
    assert all(one["begin_us"] < one["closed_us"] < one["end_us"] < one["opened_us"]
               for one in (first, second, third))
    assert {one["fate"] for one in (first, second, third)} == {"opened"}


@pytest.mark.parametrize("form", ["  x-7     [000]   {}: {}: {}", "x 7 [000] {}: resetgate:{}: {}",
                                  "x/0:1-2 [000] d..1. {}: {}: {}"],
                         ids=["trace-cmd", "perf", "tracefs"])
def test_forms(timeline, form):
    rows = re.findall(r"(\d+\.\d+): (\w+): (0000.*)", RECORDED.read_text())
    assert len(rows) > 300
    text = "\n".join(form.format(*row) for row in rows)
    assert resets(timeline, text.encode()) == resets(timeline, RECORDED)


def test_standard_input(timeline):
    assert timeline("-", stdin=RECORDED.read_bytes()) == timeline(RECORDED)


def test_order_does_not_count(timeline):
    data = RECORDED.read_bytes().splitlines(keepends=True)
    assert resets(timeline, b"".join(reversed(data))) == resets(timeline, RECORDED)


def test_others_events(timeline):
    """Events of the same names are no matter, nor is a task's odd name."""
    noise = trace((100.0005, "open", "/etc/passwd"), (100.0015, "drop", "skb 0000:01"))
    one, = resets(timeline, trace(*one_reset()) + noise)
    assert one == {"function": "0000:01:00.0", "reason": "function_reset", "begin_us": 0,
                   "closed_us": 1000, "end_us": 5000, "opened_us": 6000, "parked_us": None,
                   "window_us": 4000, "before_trace": False, "recorded": 1, "dropped": 2,
                   "fate": "opened"}


def fate(timeline, *events):
    return [(one["fate"], one["reason"]) for one in resets(timeline, trace(
        *((float(n), event, f"0000:01:00.0 {rest}") for n, (event, rest) in enumerate(events, 1))))]


BEGIN, CLOSE, END, OPEN = (("reset_begin", "reason=flr"), ("close", "reason=flr"),
                           ("reset_end", ""), ("open", "window_us=1"))
PARK = ("park", "reason=silent")


@pytest.mark.parametrize("events,expected", [
    ((BEGIN, CLOSE, BEGIN, END, END, OPEN), [("opened", "flr")]),
    ((BEGIN, CLOSE, END), [("still closed", "flr")]),
    ((BEGIN, END, BEGIN, END), [("never closed", "flr")] * 2),
    ((BEGIN, CLOSE, END, PARK), [("parked", "flr")]),
    ((BEGIN, CLOSE, END, PARK, OPEN), [("parked, opened", "flr")]),
    ((BEGIN, CLOSE, END, PARK, BEGIN, CLOSE, END, OPEN), [("parked", "flr"), ("opened", "flr")]),
    ((CLOSE, OPEN, CLOSE, OPEN), [("opened", "flr")] * 2),
    ((END, OPEN), [("opened", "")]),
    ((("drop", ""), ("drop", "")), [("requester ID only", "")]),
    ((BEGIN, CLOSE, OPEN, BEGIN, CLOSE, END, OPEN), [("opened", "flr")] * 2),
    ((BEGIN, CLOSE, BEGIN, CLOSE, END, OPEN), [("still closed", "flr"), ("opened", "flr")]),
    ((("drop", ""), OPEN, BEGIN, CLOSE, END, OPEN), [("opened", ""), ("opened", "flr")]),
], ids=range(12))
def test_fate(timeline, events, expected):
    assert fate(timeline, *events) == expected


def test_alias_is_no_reset(timeline):
    """What is dropped under another requester ID is shown, and ends no later than it came."""
    rows = one_reset() + [(100.0035, "drop", "0000:00:1e.0"), (100.0045, "drop", "0000:00:1e.0")]
    alias = [one for one in resets(timeline, trace(*rows)) if one["function"] == "0000:00:1e.0"]
    assert [(one["fate"], one["dropped"], one["closed_us"]) for one in alias] == [
        ("requester ID only", 2, None)]
    node, _ = picture(timeline, trace(*rows))
    assert "1 reset of 1 function in 6.0 ms" in texts(node)
    assert "closed 0 times, 0.0 ms" in texts(node) and "0 recorded, 2 dropped" in texts(node)


def test_trace_that_begins_in_the_middle(timeline):
    """The module says how long the window was."""
    rows = [(5.0, "drop", "0000:01:00.0"), (6.0, "reset_end", "0000:01:00.0"),
            (6.2, "open", "0000:01:00.0 window_us=4200000")] + one_reset(start=7.0)
    first, second = resets(timeline, trace(*rows))
    assert (first["before_trace"], first["window_us"], first["closed_us"]) == (True, 4200000, 0)
    assert second["before_trace"] is False and second["closed_us"] == 2001000
    found = texts(picture(timeline, trace(*rows))[0])
    assert "opened; began before the trace" in found and "4200.0" in found
    assert "closed 2 times, 4205.0 ms" in found
    lost, = resets(timeline, trace((1.0, "drop", "0000:02:00.0"), (2.0, "open", "0000:02:00.0 window_us=300000")))
    assert (lost["before_trace"], lost["closed_us"], lost["opened_us"]) == (True, 700000, 1000000)


def test_lost_end_spoils_no_other_reset(timeline):
    rows = [one for one in one_reset(start=1.0) if one[1] != "reset_end"] + one_reset(start=2.0)
    first, second = resets(timeline, trace(*rows))
    assert (first["end_us"], first["opened_us"]) == (None, 6000)
    assert (second["begin_us"], second["end_us"], second["opened_us"]) == (1000000, 1005000, 1006000)


def test_lost_end_and_opening(timeline):
    rows = one_reset(start=1.0)[:-2] + one_reset(start=2.0)
    first, second = resets(timeline, trace(*rows))
    assert (first["fate"], second["fate"]) == ("still closed", "opened")
    assert (second["begin_us"], second["closed_us"], second["end_us"]) == (1000000, 1001000, 1005000)


@pytest.mark.parametrize("digits", [309, 30])
def test_time_that_is_none(timeline, digits):
    text = trace((1.0, "drop", "0000:01:00.0")) + line(1.0, "drop", "0000:01:00.0").replace(
        "1.000000:", "9" * digits + ".0:").encode()
    code, out, error = timeline(text)
    assert (code, out) == (BAD, "") and "line 2: expected an event" in error


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_pipe_with_a_name(timeline, tmp_path, binary):
    tool = tmp_path / "bin/trace-cmd"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\nexec /bin/cat '{RECORDED}'\n")
    tool.chmod(0o755)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", 'cat "$1" > "$2"', "sh",
                           "/dev/stdin" if binary else RECORDED, pipe],
                          stdin=subprocess.PIPE) as writer:
        writer.stdin.write(DAT)
        writer.stdin.close()
        assert timeline(pipe, path=f"{tool.parent}:/usr/bin:/bin") == timeline(RECORDED)


# The picture ----------------------------------------------------------------

def picture(timeline, data):
    code, out, error = timeline(data)
    assert code == OK and not error
    return xml.dom.minidom.parseString(out), out


def texts(node):
    return ["".join(child.data for child in one.childNodes if child.nodeType == child.TEXT_NODE)
            for one in node.getElementsByTagName("text")]


def test_picture_has_the_figures(timeline):
    node, _ = picture(timeline, RECORDED)
    found = texts(node)
    assert "3 resets of 2 functions in 2610.1 ms" in found
    for one in resets(timeline, RECORDED):
        for value in (one["begin_us"], one["closed_us"], one["end_us"], one["opened_us"],
                      one["opened_us"] - one["closed_us"]):
            assert f"{value / 1e3:.1f}" in found
        assert str(one["dropped"]) in found
    assert "2 recorded, 184 dropped" in found


def test_picture_stands_alone(timeline):
    """Nothing is fetched, all is inside, the background is set."""
    node, text = picture(timeline, RECORDED)
    assert not re.search(r"href|url\(|<script|<style|@import", text)
    assert re.findall("https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]
    svg = node.documentElement
    wide, high = float(svg.getAttribute("width")), float(svg.getAttribute("height"))
    background = svg.getElementsByTagName("rect")[0]
    assert (background.getAttribute("fill"), background.getAttribute("width")) == ("#fff", "100%")
    for rect in svg.getElementsByTagName("rect")[2:]:
        assert 0 <= float(rect.getAttribute("x")) <= wide
        assert 0 <= float(rect.getAttribute("y")) <= high


def test_time_that_is_left_out(timeline):
    """An hour between two resets takes no room; each is as wide as alone."""
    node, _ = picture(timeline, trace(*one_reset(), *one_reset(start=3700.0)))
    wide = [float(rect.getAttribute("width")) for rect in node.getElementsByTagName("rect")
            if rect.getAttribute("height") == "22"]
    assert len(wide) == 2 and min(wide) > 250
    assert "ms; dotted: time left out" in texts(node)


def test_lost_events_are_said(timeline):
    _, text = picture(timeline, trace(*one_reset()) + b"CPU:1 [LOST 12 EVENTS]\n")
    assert "events were lost" in text
    assert "events were lost" not in picture(timeline, trace(*one_reset()))[1]


def test_one_event(timeline):
    picture(timeline, trace((1.0, "drop", "0000:01:00.0")))


def test_many(timeline):
    """A thousand resets, twenty functions: quick, and still XML."""
    rows = [row for n in range(1000) for row in one_reset(f"0000:{n % 20:02x}:00.0", n * .02)]
    assert len(texts(picture(timeline, trace(*rows))[0])) > 9000


# Bad input ------------------------------------------------------------------

@pytest.mark.parametrize("data,code,what", [
    (b"", BAD, "none in 0 lines"),
    (b"no trace at all\n\0\xff\n", BAD, "none in 2 lines"),
    (trace((1.0, "resetgate:close", "0000:01:00")), BAD, "line 1: expected an event"),
    (trace((1.0, "resetgate:close", "0000:01:00.0")), BAD, "line 1: expected an event"),
    (trace((1.0, "resetgate:close", "0000:01:20.0 reason=flr")), BAD, "line 1: expected"),
    (trace((1.0, "resetgate:close", "0000:01:00.0 reason=<b>")), BAD, "line 1: expected"),
    (b"PERFILE2" + bytes(64), BAD, "perf script"),
], ids=range(7))
def test_bad_input(timeline, data, code, what):
    found, out, error = timeline(data)
    assert (found, out) == (code, "")
    assert what in error and error.count("\n") == 1 and error.startswith("resetgate: timeline: ")


def test_usage(timeline, command):
    for arguments in ([], ["a", "b"], ["--bad", "a"]):
        done = subprocess.run([command, "timeline", *arguments], capture_output=True, text=True,
                              check=False)
        assert done.returncode == USAGE and done.stderr.count("\n") == 1 and not done.stdout
    code, _, error = timeline("/nonexistent/trace")
    assert code == ABSENT and "No such file" in error


DAT = b"\x17\x08\x44tracing" + bytes(100)


@pytest.mark.parametrize("stdin", [False, True], ids=["file", "stdin"])
def test_binary(timeline, tmp_path, stdin):
    """trace.dat goes through trace-cmd report, which gets a file it can read."""
    tool = tmp_path / "bin/trace-cmd"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n[ \"$1 $2\" = 'report -i' ] || exit 9\n"
                    f"/usr/bin/head -c 10 \"$3\" | /usr/bin/grep -aq tracing || exit 8\n"
                    f"exec /bin/cat '{RECORDED}'\n")
    tool.chmod(0o755)
    found = timeline("-", stdin=DAT, path=tool.parent) if stdin else timeline(DAT, path=tool.parent)
    assert found == timeline(RECORDED)
    tool.write_text("#!/bin/sh\necho noise >&2\nexit 1\n")
    code, out, error = timeline(DAT, path=tool.parent)
    assert (code, out) == (BAD, "") and "refuses it" in error and error.count("\n") == 1


def test_binary_without_the_tool(timeline, tmp_path):
    code, out, error = timeline(DAT, path=tmp_path)
    assert (code, out) == (TOOL, "") and "install trace-cmd" in error and error.count("\n") == 1


def test_picture_in_the_documentation(timeline):
    """It is what the command makes of the recorded trace today."""
    shown = pathlib.Path(__file__).resolve().parents[2] / "doc/timeline.svg"
    assert timeline(RECORDED)[1] == shown.read_text()
