# SPDX-License-Identifier: GPL-2.0
"""The Debian packages and the RPM, built from the tree in a root of their own."""

import re
import shutil

from . import build, roots
from .host import LAB, in_root, lock, log_path, publish, remove_tree, run, step

ROOT = roots.Root(
    "package",
    ("trixie", "trixie-updates", "trixie-security"),
    ("build-essential", "debhelper", "dh-dkms", "dkms", "kmod", "lintian", "rpm", "scdoc",
     # For the disk of a guest that has apt, and for one with Secure Boot.
     "apt-utils", "e2fsprogs", "dosfstools", "mtools", "ovmf", "shim-signed",
     "grub-efi-amd64-signed", "python3-virt-firmware", "openssl"))
_SOURCES = re.compile(r"^(debian/|dist/|doc/|src/|Kbuild$|Makefile$|LICENSE$|dkms\.conf$)")


def _names():
    return [name for name in build.tree_files() if _SOURCES.search(name)]


def version(tree=build.TREE):
    """The module's version, which is the packages'."""
    return re.search(r'^PACKAGE_VERSION="([^"]+)"', (tree / "dkms.conf").read_text(), re.M)[1]


def next_version():
    """What an upgrade of the packages goes to."""
    return version() + ".1"


def _renumber(tree, number):
    """Another version of the same."""
    old, path = version(tree), tree / "dkms.conf"
    path.write_text(path.read_text().replace(f'"{old}"', f'"{number}"', 1))
    path = tree / "src/main.c"
    path.write_text(path.read_text().replace(f'MODULE_VERSION("{old}")',
                                             f'MODULE_VERSION("{number}")'))
    path = tree / "debian/changelog"
    entry = path.read_text()
    path.write_text(re.sub(r"\(\S+\)", f"({number})", entry, count=1) + "\n" + entry)


def _cached(kind, number, make):
    """What make(stage, directory) puts into a directory, by the hash of the sources."""
    roots.ensure(ROOT)
    with build.staged(_names()) as (stage, digest):
        digest.update(repr(number).encode())
        final = LAB / "packages" / f"{kind}-{digest.hexdigest()[:16]}"
        with lock("package", "waiting for another run that builds packages"):
            if not final.exists():
                if number:
                    _renumber(stage, number)
                partial = final.with_name(final.name + ".partial")
                remove_tree(partial)
                partial.mkdir(parents=True)
                make(stage, partial)
                publish(partial, final)
    return final


# The packages are built from what the source package has.
_BUILD = """cd /mnt/resetgate
dpkg-buildpackage -us -uc -S
rm -r /mnt/resetgate
dpkg-source -x /mnt/*.dsc /mnt/resetgate
cd /mnt/resetgate
dpkg-buildpackage -us -uc -b"""


def _deb(stage, directory):
    log = log_path("deb")
    with step("dpkg-buildpackage", log):
        # Its results land beside the tree.
        tree = directory / "resetgate"
        shutil.copytree(stage, tree)
        run(in_root(ROOT.path, ["sh", "-ec", _BUILD], binds=[(directory, "/mnt")]), log)
        remove_tree(tree)


def _rpm(stage, directory):
    log = log_path("rpm")
    with step("rpmbuild", log):
        run(in_root(ROOT.path,
                    ["rpmbuild", "-bb", "--define", "tree /mnt", "--define",
                     f"ver {version(stage)}", "--define", "_rpmdir /mnt/rpms",
                     "--define", "_topdir /mnt/rpmbuild", "/mnt/dist/resetgate-dkms.spec"],
                    binds=[(stage, "/mnt")]), log)
        for path in (stage / "rpms").rglob("*.rpm"):
            shutil.copy(path, directory)


def debs(number=""):
    """The .deb files of the tree, or of the same tree under another version."""
    found = _cached("deb", number, _deb).glob("*.deb")
    return sorted(path for path in found if "-dbgsym_" not in path.name)


def rpm():
    """The one .rpm file."""
    found, = _cached("rpm", "", _rpm).glob("*.rpm")
    return found


def sh(command, binds=()):
    """Run a shell command in the packages' root; returns its output."""
    return run(in_root(ROOT.path, ["sh", "-c", command], binds=binds)).stdout
