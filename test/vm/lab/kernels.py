# SPDX-License-Identifier: GPL-2.0
"""Stock Debian kernels by suite: which one a suite has today, its image and its headers."""

import functools
import re
import subprocess
from dataclasses import dataclass

from . import roots
from .host import LabError, in_root, lock, run

# key -> (suites it may come from, image meta package, headers meta package)
SUITES = {
    "bookworm": (("bookworm", "bookworm-updates", "bookworm-security"),
                 "linux-image-amd64", "linux-headers-amd64"),
    "trixie": (("trixie", "trixie-updates", "trixie-security"),
               "linux-image-amd64", "linux-headers-amd64"),
    "trixie-rt": (("trixie", "trixie-updates", "trixie-security"),
                  "linux-image-rt-amd64", "linux-headers-rt-amd64"),
    "trixie-backports": (("trixie-backports",), "linux-image-amd64", "linux-headers-amd64"),
}
KEYS = tuple(SUITES)


@dataclass(frozen=True)
class Kernel:
    """One installed kernel. `release` is what uname -r says."""

    key: str
    release: str
    version: str

    @property
    def vmlinuz(self):
        return roots.BUILD.path / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self):
        return roots.BUILD.path / "usr/lib/modules" / self.release

    @property
    def name(self):
        """A name for files of this very build."""
        return f"{self.key}-{self.version}".replace("~", "_")

    @property
    def series(self):
        """(major, minor), for what a stock kernel of that age is known to do."""
        return tuple(int(part) for part in self.release.split(".")[:2])


def _apt(argv):
    return run(in_root(roots.BUILD.path, argv)).stdout


def _newest(package, suites):
    """The highest version of a package among these suites."""
    found = []
    for line in _apt(["apt-cache", "madison", package]).splitlines():
        _, version, source = (field.strip() for field in line.split("|"))
        if any(re.search(rf"\s{suite}/main\s", source) for suite in suites):
            found.append(version)
    if not found:
        raise LabError(f"no {package} in {', '.join(suites)}: does the mirror carry that suite?")
    return functools.reduce(lambda a, b: b if _is_newer(b, a) else a, found)


def _is_newer(a, b):
    return subprocess.run(["dpkg", "--compare-versions", a, "gt", b], check=False).returncode == 0


def _real_package(meta, suites):
    """(package, version) that a meta package stands for in a suite."""
    version = _newest(meta, suites)
    depends = re.search(r"^Depends:(.*)$", _apt(["apt-cache", "show", f"{meta}={version}"]), re.M)
    match = re.search(r"(linux-(?:image|headers)-\S+) \(= ([^)]+)\)", depends.group(1))
    if not match:
        raise LabError(f"{meta} {version} names no kernel package")
    return match.group(1), match.group(2)


def resolve(key):
    """Names and versions a suite stands for today, without downloading a kernel."""
    suites, image_meta, headers_meta = SUITES[key]
    image, version = _real_package(image_meta, suites)
    headers, headers_version = _real_package(headers_meta, suites)
    if headers_version != version:
        raise LabError(f"{key}: {image} {version} but {headers} {headers_version}: the mirror is "
                       "being updated, try again in an hour")
    return {"image": image, "headers": headers, "version": version,
            "release": image.removeprefix("linux-image-").removesuffix("-unsigned")}


def ensure(key):
    """Image and headers installed in the build root; returns the Kernel.

    The packages' own depmod runs, their initramfs does not (INITRD=No).
    """
    if key not in SUITES:
        raise LabError(f"no kernel {key!r}: choose from {', '.join(KEYS)}")
    roots.ensure(roots.BUILD)
    with lock("build", "waiting for another run that uses the build root"):
        roots.refresh(roots.BUILD)
        names = resolve(key)
        packages = tuple(f"{names[what]}={names['version']}" for what in ("image", "headers"))
        prefer = ("-t", key) if key.endswith("-backports") else ()
        roots.install(roots.BUILD, packages, f"install {names['image']} and its headers", prefer)
    return Kernel(key, names["release"], names["version"])
