# SPDX-License-Identifier: GPL-2.0
"""resetgate check over every kernel image that Debian offers: one at a time, none is kept."""

import json
import re
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import mirrors, roots
from .host import LAB, TREE, LabError, in_root, lock, log_path, run, say, step

SUITES = ("bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports", "trixie",
          "trixie-updates", "trixie-security", "trixie-backports", "sid", "experimental")
ARCHES = ("amd64", "arm64")
# Image and modules are two packages from 6.19 on; the first is what is wanted.
_PACKAGE = re.compile(r"^linux-(image|binary)-(\d+\.\d+)(?:[.~+-]\S*?)??-"
                      r"((?:cloud-|rt-)?(?:amd64|arm64)(?:-16k)?)$")
_FRESH_SECONDS = 24 * 3600
_HEAD = """\
# Kernels that Debian offers, and what `resetgate check` says of them

Made by `sudo test/vm/run images --write doc/supported-kernels.md`, on {date}; {count} images. Each is
judged without being booted, with all back ends of its architecture counting; `doc/command.md` says
how. *Tested*: its series is among those that the module loads on without `allow_untested=1`; what of the
suite is run on which kernel is in README. Of each series and flavour it is the newest in each suite; the rest with `--every`.

| suite | package | version | verdict | off | series | seconds |
|---|---|---|---|---|---|---|
"""


@dataclass
class Offer:
    """A package with an image, and the suites that have it."""

    package: str
    version: str
    arch: str
    kind: str
    series: str
    flavour: str
    suites: list = field(default_factory=list)

    @property
    def name(self):
        return f"{self.package}:{self.arch}={self.version}"

    @property
    def order(self):
        return (tuple(map(int, self.series.split("."))), self.arch, self.flavour)


def _home():
    return LAB / "offered"


def _apt(argv, log=None):
    """apt in the build root, but with lists and a cache of its own: no root has all suites."""
    settings = ["Dir::Etc::sourcelist=/mnt/sources.list", "Dir::Etc::sourceparts=/dev/null",
                "Dir::State::lists=/mnt/lists", "Dir::Cache=/mnt/cache",
                "APT::Default-Release=", "pkgCacheGen::Essential=none"]
    settings += [f"APT::Architectures::={arch}" for arch in ARCHES[1:]]
    words = [argv[0], *[word for one in settings for word in ("-o", one)], *argv[1:]]
    return run(in_root(roots.BUILD.path, ["sh", "-c", 'cd /mnt/cache && exec "$@"', "sh", *words],
                       binds=[(_home(), "/mnt")]), log)


def _has_suite(suite):
    """A suite may have left the mirror for the archive."""
    main, security = mirrors.find()
    uri = security if suite.endswith("-security") else main
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(["/usr/lib/apt/apt-helper", "download-file",
                               f"{uri}/dists/{suite}/InRelease", f"{folder}/InRelease"],
                              check=False, capture_output=True)
    return not done.returncode


def _refresh():
    home = _home()
    for name in ("lists/partial", "cache/archives/partial"):
        (home / name).mkdir(parents=True, exist_ok=True)
    stamp = home / "fresh"
    if stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH_SECONDS:
        return
    suites = [suite for suite in SUITES if _has_suite(suite)]
    if not suites:
        raise LabError(f"{mirrors.find()[0]} has none of {', '.join(SUITES)}: set RESETGATE_MIRROR")
    for suite in set(SUITES) - set(suites):
        say(f"the mirror has no {suite}")
    text = mirrors.sources(suites).replace("deb [", f"deb [arch={','.join(ARCHES)} ")
    (home / "sources.list").write_text(text)
    log = log_path("offered")
    with step("package lists of all suites", log):
        _apt(["apt-get", "-q", "update"], log)
    stamp.touch()


def _stanzas(text):
    for stanza in text.split("\n\n"):
        yield dict(line.split(": ", 1) for line in stanza.splitlines()
                   if ": " in line and line[0] != " ")


def _offers():
    """All of them, each once."""
    files = _apt(["apt-get", "indextargets", "--format", "$(FILENAME)|$(RELEASE)",
                  "Created-By: Packages"]).stdout.split()
    found = {}
    for line in files:
        path, suite = line.split("|")
        text = _apt(["/usr/lib/apt/apt-helper", "cat-file", path]).stdout
        for fields in _stanzas(text):
            match = _PACKAGE.match(fields.get("Package", ""))
            if not match:
                continue
            key = (fields["Package"], fields["Version"], fields["Architecture"])
            offer = found.setdefault(key, Offer(*key, *match.groups()))
            if suite not in offer.suites:
                offer.suites.append(suite)
    return _images_only(found.values())


def _images_only(offers):
    """Where there is linux-binary-X, linux-image-X has no image in it."""
    binaries = {(o.package.replace("linux-binary-", "linux-image-"), o.version, o.arch)
                for o in offers if o.kind == "binary"}
    return sorted((o for o in offers if (o.package, o.version, o.arch) not in binaries),
                  key=lambda o: (o.order, _version_key(o.version)))


def _version_key(version):
    """Good enough for versions of one series: Debian's ~ sorts before everything."""
    return [(int(part), "") if part.isdigit() else (-1 if part == "~" else 0, part)
            for part in re.findall(r"\d+|~|[a-z]+", version)]


def _newest(offers):
    """Of each series, flavour and suite the newest."""
    kept = {}
    for offer in offers:
        for suite in offer.suites:
            kept[(offer.order, re.sub("-(updates|security)$", "", suite))] = offer
    return [offer for offer in offers if any(offer is one for one in kept.values())]


def _image(offer, folder):
    """The image of a package, which is downloaded and thrown away."""
    cache = _home() / "cache"
    for old in cache.glob("*.deb"):
        old.unlink()
    _apt(["apt-get", "-q", "download", offer.name], log_path("offered"))
    deb, = cache.glob("*.deb")
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    subprocess.run(["tar", "-x", "-C", folder, "--wildcards", "./boot/vmlinu*",
                    "./usr/lib/modules/*/vmlinu*"], stdin=tar.stdout, stderr=subprocess.DEVNULL,
                   check=False)
    tar.stdout.close()
    tar.wait()
    deb.unlink()
    found = sorted(path for path in Path(folder).rglob("vmlinu*") if path.is_file())
    if not found:
        raise LabError(f"{offer.name} has no kernel image in it: change lab/offered.py")
    return found[0]


def _judge(command, offer):
    """(verdict, sets that are off, tested, seconds, reasons)"""
    with tempfile.TemporaryDirectory(dir=_home()) as folder:
        image = _image(offer, folder)
        # Its own time and that of what unpacks: the machine may have others to serve.
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([command, "check", "--kernel", image, "--iommu", "all", "--json"],
                              capture_output=True, text=True, check=False,
                              env={"RESETGATE_ROOT": "/nonexistent", "PATH": "/usr/bin:/bin"})
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    if done.returncode not in (0, 1):
        return "unreadable", "", False, seconds, [done.stderr.strip().split("vmlinu", 1)[-1]]
    kernel, = json.loads(done.stdout)["kernels"]
    off = " ".join(name for name, state in kernel["sets"].items() if state == "off")
    first = {}
    for reason in kernel["reasons"]:
        first.setdefault(reason["set"], f"{reason['set']}: `{reason['name']}`: expected "
                         f"`{reason['expected']}`, found `{reason['found']}`")
    notes = list(first.values()) + ([f"it {kernel['why']}"] if kernel["why"] else [])
    if not kernel["symbols"]:
        notes.append("its symbols could not be read")
    return kernel["verdict"], off, kernel["tested"], seconds, notes


def _row(offer, result):
    verdict, off, tested, seconds, _ = result
    return (f"| {', '.join(offer.suites)} | {offer.package} | {offer.version} | {verdict} "
            f"| {off or '-'} | {'tested' if tested else 'untested'} | {seconds:.1f} |")


def _notes(results):
    """Reasons, each with the kernels that it is for."""
    found = {}
    for offer, result in results:
        for text in result[4]:
            found.setdefault(text, []).append(f"{offer.series} {offer.flavour}")
    lines = [f"- {text} ({', '.join(dict.fromkeys(names))})" for text, names in found.items()]
    return "\n## Why\n\nThe first mismatch of each set.\n\n" + "\n".join(lines) + "\n" if lines else ""


def _text(results):
    head = _HEAD.format(date=time.strftime("%Y-%m-%d"), count=len(results))
    return head + "".join(_row(*one) + "\n" for one in results) + _notes(results)


def arguments(parser):
    parser.add_argument("--every", action="store_true", help="older ones of a series, too")
    parser.add_argument("--only", default="", help="packages that this expression is found in")
    parser.add_argument("--write", help="the file for the table; default: print it")


def main(args):
    """Judge them; 1 if one was unreadable or took more than two seconds."""
    roots.ensure(roots.BUILD)
    with lock("offered"), tempfile.TemporaryDirectory() as build:
        subprocess.run(["make", "-s", "-C", TREE / "src/cli", f"OUT={build}"], check=True)
        _refresh()
        offers = _offers() if args.every else _newest(_offers())
        offers = [offer for offer in offers if re.search(args.only, offer.package)]
        if not offers:
            raise LabError(f"--only {args.only}: no such package; look at apt-cache search linux-image")
        results = []
        for i, offer in enumerate(offers, 1):
            results.append((offer, _judge(Path(build) / "resetgate", offer)))
            say(f"{i}/{len(offers)} {_row(*results[-1])}")
    if args.write:
        Path(args.write).write_text(_text(results))
    else:
        print(_text(results), end="")
    bad = [offer.name for offer, result in results if result[0] == "unreadable" or result[3] > 2]
    for name in bad:
        say(f"unreadable or slow: {name}")
    return int(bool(bad))
