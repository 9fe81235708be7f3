# SPDX-License-Identifier: GPL-2.0
"""Stock Debian kernels by suite: which one a suite has today, its image and its headers."""

import functools
import re
import subprocess
from dataclasses import dataclass

from . import arch, roots
from .host import LabError, in_root, lock, log_path, run

_TRIXIE = ("trixie", "trixie-updates", "trixie-security")
# suite -> (archive suites it may come from, flavour in the packages' names)
_SUITES = {
    "bookworm": (("bookworm", "bookworm-updates", "bookworm-security"), ""),
    "trixie": (_TRIXIE, ""),
    "trixie-rt": (_TRIXIE, "rt-"),
    "trixie-cloud": (_TRIXIE, "cloud-"),
    "trixie-backports": (("trixie-backports",), ""),
}
# Where they are of use, of each architecture: 6.1 knows no ATS on arm64 that a device tree could
# announce, and that one's cloud flavour has no PRI and no PASID.
_SUITES_OF = {
    arch.X86_64: ("bookworm", "trixie", "trixie-rt", "trixie-backports"),
    arch.ARM64: ("trixie", "trixie-rt", "trixie-cloud", "trixie-backports"),
}
# key -> (architecture, suite)
_KERNELS = {(suite if target is arch.X86_64 else f"arm64-{suite}"): (target, suite)
            for target, suites in _SUITES_OF.items() for suite in suites}
KEYS = tuple(_KERNELS)


def keys(target):
    """The keys of an architecture's kernels."""
    return tuple(key for key, (its, _) in _KERNELS.items() if its == target)


def arch_of(key):
    """The architecture of a key's kernel."""
    if key not in _KERNELS:
        raise LabError(f"no kernel {key!r}: choose from {', '.join(KEYS)}")
    return _KERNELS[key][0]


def suite_of(key):
    """The suite of a key, by which cases name a kernel of any architecture."""
    return _KERNELS[key][1]


@dataclass(frozen=True)
class Kernel:
    """One installed kernel. `release` is what uname -r says."""

    key: str
    release: str
    version: str

    @property
    def arch(self):
        return arch_of(self.key)

    @property
    def root(self):
        """The root that it is in, and that builds for it."""
        return roots.build(self.arch)

    @property
    def vmlinuz(self):
        """The image as shipped: in /boot, or from 7.x on, where only files are unpacked, with
        the modules."""
        path = self.root.path / "boot" / f"vmlinuz-{self.release}"
        return path if path.exists() else self.modules / "vmlinuz"

    @property
    def modules(self):
        return self.root.path / "usr/lib/modules" / self.release

    @property
    def headers(self):
        return self.root.path / "usr/src" / f"linux-headers-{self.release}"

    @property
    def name(self):
        """A name for files of this very build."""
        return f"{self.key}-{self.version}".replace("~", "_")

    @property
    def series(self):
        """(major, minor), for what a stock kernel of that age is known to do."""
        return tuple(int(part) for part in self.release.split(".")[:2])


class _Archive:
    """What apt knows of one architecture's packages in a root."""

    def __init__(self, target):
        self._root, self._arch = roots.build(target), target

    def _apt(self, *argv):
        return run(in_root(self._root.path, ["apt-cache", *argv])).stdout

    def _newest(self, package, suites):
        """The highest version of a package among these suites."""
        found = []
        for line in self._apt("madison", f"{package}:{self._arch.deb}").splitlines():
            _, version, source = (field.strip() for field in line.split("|"))
            if any(re.search(rf"\s{suite}/main\s", source) for suite in suites):
                found.append(version)
        if not found:
            raise LabError(f"no {package} in {', '.join(suites)}: does the mirror carry that suite?")
        return functools.reduce(lambda a, b: b if _is_newer(b, a) else a, found)

    def depends(self, package, version):
        """The text of a package's Depends."""
        text = self._apt("show", f"{package}:{self._arch.deb}={version}")
        return re.search(r"^Depends:(.*)$", text, re.M)[1]

    def real_package(self, meta, suites):
        """(package, version) that a meta package stands for in a suite."""
        version = self._newest(meta, suites)
        match = re.search(r"(linux-(?:image|headers)-\S+) \(= ([^)]+)\)",
                          self.depends(meta, version))
        if not match:
            raise LabError(f"{meta} {version} names no kernel package")
        return match.group(1), match.group(2)


def _is_newer(a, b):
    return subprocess.run(["dpkg", "--compare-versions", a, "gt", b], check=False).returncode == 0


def resolve(key):
    """Names and versions a suite stands for today, without downloading a kernel."""
    target, (suites, flavour) = arch_of(key), _SUITES[suite_of(key)]
    archive = _Archive(target)
    image, version = archive.real_package(f"linux-image-{flavour}{target.deb}", suites)
    headers, headers_version = archive.real_package(f"linux-headers-{flavour}{target.deb}", suites)
    if headers_version != version:
        raise LabError(f"{key}: {image} {version} but {headers} {headers_version}: the mirror is "
                       "being updated, try again in an hour")
    return {"image": image, "headers": headers, "version": version,
            "release": image.removeprefix("linux-image-").removesuffix("-unsigned")}


def _install(key, names):
    """The packages' own depmod runs, their initramfs does not (INITRD=No)."""
    packages = tuple(f"{names[what]}={names['version']}" for what in ("image", "headers"))
    suite = suite_of(key)
    prefer = ("-t", suite) if suite.endswith("-backports") else ()
    roots.install(roots.build(arch_of(key)), packages,
                  f"install {names['image']} and its headers", prefer)


def _unpack(key, names):
    """The files of a foreign kernel and its headers, and what of the host's builds with these."""
    root, version = roots.build(arch_of(key)), names["version"]
    archive = _Archive(arch_of(key))
    text = ",".join(archive.depends(names[what], version) for what in ("image", "headers"))
    parts = re.findall(r"linux-(?:base|binary|modules)-\d\S+", text)
    tools = re.findall(r"linux-headers-\S+-common\S*|linux-kbuild-\S+?(?=,|\s|$)", text)
    suite = suite_of(key)
    prefer = ("-t", suite) if suite.endswith("-backports") else ()
    roots.install(root, tuple(f"{name}={version}" for name in dict.fromkeys(tools)),
                  f"install what {names['headers']} builds with", prefer)
    wanted = dict.fromkeys([names["image"], names["headers"], *parts])
    roots.unpack(root, tuple(f"{name}={version}" for name in wanted),
                 f"unpack {names['image']} and its headers")
    index = root.path / "usr/lib/modules" / names["release"] / "modules.dep"
    if not index.exists():
        run(in_root(root.path, ["depmod", names["release"]]), log_path(root.name))


def ensure(key):
    """Image and headers in the build root of their architecture; returns the Kernel."""
    root = roots.build(arch_of(key))
    roots.ensure(root)
    with lock(root.name, "waiting for another run that uses the build root"):
        roots.refresh(root)
        names = resolve(key)
        (_unpack if arch_of(key).foreign else _install)(key, names)
    return Kernel(key, names["release"], names["version"])
