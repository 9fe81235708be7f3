# SPDX-License-Identifier: GPL-2.0
"""The packages: built, installed in a guest with apt and systemd, used, removed.

What takes a compiler minutes under emulation, the installation, an upgrade of the package and of the
kernel, is done in the guest's files on the host (lab/disk.py, rehearse). The installed disk is started
here, the upgraded one in test_secure_boot.py, by its own boot loader.
"""

import re

import pytest
from lab import build, disk, kernels, packages
from lab.host import LAB, TREE

pytestmark = pytest.mark.arch("x86_64")
TRANSCRIPT = TREE / "doc/first-steps.md"
FUNCTION = "0000:01:00.0"


@pytest.fixture(scope="module", name="debs")
def _debs():
    return packages.debs()


def contents(deb):
    """Paths of the files in a package."""
    listed = packages.sh(f"dpkg -c /mnt/{deb.name}", [(deb.parent, "/mnt")])
    return {line.split()[5][1:] for line in listed.splitlines() if not line.startswith("d")}


def named(debs, name):
    """The one of them that has that name."""
    found, = [deb for deb in debs if deb.name.startswith(f"{name}_")]
    return found


# As they are built ----------------------------------------------------------

def test_lintian(debs):
    """Debian's own checker has nothing to say of the source package and of those that are built
    from it, warnings included."""
    directory = debs[0].parent
    changes = sorted(path.name for path in directory.glob("*.changes"))
    assert [name.rsplit("_", 1)[1] for name in changes] == ["amd64.changes", "source.changes"]
    assert packages.sh(f"cd /mnt && lintian --allow-root --fail-on none {' '.join(changes)} "
                       "2> /dev/null", [(directory, "/mnt")]) == ""


def test_dkms_package_has_all_that_the_module_needs(debs):
    """All sources that Kbuild names, what they include, and nothing of the command's."""
    files = contents(named(debs, "resetgate-dkms"))
    tree = f"/usr/src/resetgate-{packages.version()}/"
    sources = {name.removeprefix(tree) for name in files if name.startswith(tree)}
    wanted = {f"{name}.c" for name in re.findall(r"(src/\S+)\.o", (TREE / "Kbuild").read_text())}
    assert wanted | {"Kbuild", "dkms.conf"} <= sources
    assert not {name for name in sources if not re.match(r"Kbuild|dkms.conf|src/.*\.[ch]$", name)}
    assert not {name for name in sources if name.startswith("src/cli/")}
    assert {"/usr/lib/modules-load.d/resetgate.conf", "/usr/lib/modprobe.d/resetgate.conf",
            "/usr/share/initramfs-tools/hooks/resetgate"} <= files


def test_tools_package(debs):
    files = contents(named(debs, "resetgate-tools"))
    assert {"/usr/sbin/resetgate", "/usr/libexec/resetgate/metrics",
            "/usr/share/bash-completion/completions/resetgate",
            "/usr/share/man/man8/resetgate.8.gz"} <= files
    # All that resetgate(8) and --help point to, where the man page says that it is, and readable as
    # it is: links from one to the other hold.
    docs = {f"/usr/share/doc/resetgate-tools/{path.name}"
            for kind in ("md", "svg") for path in (TREE / "doc").glob(f"*.{kind}")}
    assert "/usr/share/doc/resetgate-tools/command.md" in docs and docs <= files
    assert {name.rsplit("/", 1)[1] for name in files if "/systemd/system/" in name} == {
        "resetgate-check.service", "resetgate-metrics.service", "resetgate-metrics.timer"}


# Stands for the headers of two kernels: with one set a module comes of `make`, with the other none.
# It is the compiler that takes long, and the sources are the same as in the other package.
HEADERS = """for kernel in 6.0-good 6.0-bad; do
    build=/lib/modules/$kernel/build
    mkdir -p $build/include
    grep -o 'CONFIG_[A-Z0-9_]*' /tree/dkms.conf | sed 's/$/=y/' > $build/.config
    printf 'modules:\\n\\tcp /ko/resetgate.ko $(M)\\nclean:\\n' > $build/Makefile
done
sed -i s/cp/false/ /lib/modules/6.0-bad/build/Makefile
"""


def test_rpm():
    """It is built; its scripts have dkms build and install the module for kernels with headers, and
    forget it. A kernel that it cannot be built for does not stop it.
    """
    rpm, ko = packages.rpm(), build.module(kernels.ensure("trixie"))
    said = packages.sh(f"""set -e
rpm -qp --requires -l /mnt/{rpm.name}
# A plug-in of rpm's wants a root directory that is a mount; a run that was cut short leaves it.
rpm() {{ command rpm --noplugins "$@"; }}
rpm -e resetgate-dkms 2> /dev/null || true
rm -rf /lib/modules /var/lib/dkms/resetgate /usr/src/resetgate-*
{HEADERS}
rpm -i --nodeps /mnt/{rpm.name} 2>&1
dkms status resetgate; modinfo -F version /lib/modules/6.0-good/updates/dkms/resetgate.ko
rpm -e resetgate-dkms
echo left: $(dkms status resetgate) $(ls -d /usr/src/resetgate-* /var/lib/dkms/resetgate 2> /dev/null) \
    $(find /lib/modules -name 'resetgate*')
rm -r /lib/modules
""", [(rpm.parent, "/mnt"), (ko.parent, "/ko"), (TREE, "/tree")])
    number = packages.version()
    assert "\ndkms\n" in said and f"/usr/src/resetgate-{number}/src/main.c" in said
    assert f"\nresetgate/{number}, 6.0-good, x86_64: installed\n{number}\n" in said
    assert "\nresetgate-dkms: not built for 6.0-bad; see dkms status\n" in said
    assert said.rstrip().endswith("left:")


# In a guest -----------------------------------------------------------------

@pytest.fixture(scope="module", name="rehearsed")
def _rehearsed(request):
    if "trixie" not in request.config.option.kernels.split(","):
        pytest.skip("trixie was not chosen")
    return disk.rehearsed()


# That a unit was enabled is remembered until the purge, as Debian does for every package.
ENABLED = ["/etc/systemd/system/multi-user.target.wants/resetgate-check.service",
           "/etc/systemd/system/timers.target.wants/resetgate-metrics.timer"]


@pytest.mark.parametrize("why, modules", (("asked", []), ("vfio", ["vfio-pci"])))
def test_first_in_the_initramfs(rehearsed, why, modules):
    """With RESETGATE=y, and where vfio-pci is, it is there and the first to be loaded: the list,
    not modprobe.d, decides. With vfio-pci the file would be there by the softdep alone.
    """
    there = (rehearsed / f"{why}.txt").read_text().split()
    assert there == ["resetgate", "virtio_blk", "ext4", *modules, "resetgate.ko.xz"]


def test_initramfs_without_a_module(rehearsed):
    """Where it was not built for a kernel the hook says so, and changes nothing."""
    warning, *modules = (rehearsed / "unbuilt.txt").read_text().splitlines()
    assert warning.startswith("W: resetgate: not built for 0.0") and modules == ["vfio-pci"]


@pytest.mark.parametrize("how, left", (("remove", ENABLED), ("purge", [])))
def test_apt_takes_it_off(rehearsed, how, left):
    """After an upgrade, with two kernels: no build, no source, no module, none in the initramfs."""
    assert sorted((rehearsed / f"{how}.txt").read_text().splitlines()) == left



# What a new user types, and what of the answers the transcript has (None: all). The first is
# answered before the guest is started: see above.
INSTALL = ("apt-get install -y ./resetgate-dkms_{version}_all.deb "
           "./resetgate-tools_{version}_amd64.deb", r"^(Setting up|Building|Installing|Signing|Loading)")
STEPS = (
    INSTALL,
    ("modprobe resetgate", None),
    ("resetgate status", None),
    ("resetgate check --in-charge; echo $?", None),
    ("trace-cmd record -q -e resetgate sh -c 'echo 1 > /sys/bus/pci/devices/{function}/reset' "
     "> /dev/null", None),
    ("resetgate timeline trace.dat > reset.svg; ls reset.svg", None),
    ("resetgate status {function}", None),
    ("(sleep 2; echo 1 > /sys/bus/pci/devices/{function}/reset) & "
     "resetgate watch --seconds 5", None),
    ("rmmod resetgate", None),
    ("apt-get purge -y resetgate-dkms resetgate-tools", r"Removing|Purging"),
    ("dkms status", None),
)


def steps():
    """The commands as they are typed."""
    return [(command.format(version=packages.version(), function=FUNCTION), wanted)
            for command, wanted in STEPS]


def said(answer, wanted):
    """The lines of an answer that the transcript has."""
    return [line.rstrip() for line in answer.splitlines() if not wanted or re.search(wanted, line)]


def blurred(line):
    """A line without what differs from run to run; dkms makes a dot each few seconds."""
    line = re.sub(r"\.{3,}", "...", re.sub(r"\s+", " ", line))
    return re.sub(r"\d+", "0", line).strip()


def _transcribe(vm, installed, svg):
    """The session as text."""
    lines = []
    for command, wanted in steps():
        first = not lines
        answer = installed if first else vm.sh(f"cd /root && {command}", timeout=300).out
        lines += [f"# {command}", *said(answer, wanted)]
        (LAB / "results/first-steps.txt").write_text("\n".join(lines) + "\n")
        if command.endswith("ls reset.svg"):
            svg.write_bytes(vm.read("/root/reset.svg"))
    return lines


# As on a machine that has not been started since it was installed.
NOT_AT_BOOT = " ".join(f"systemd.mask={unit}.service"
                       for unit in ("systemd-modules-load", "resetgate-check"))


def comes_before_vfio(vm):
    """Whoever wants vfio-pci gets resetgate first, by modprobe.d; it is left as it was."""
    assert re.findall(r"/(resetgate|vfio-pci)\.ko", vm.sh("modprobe -n -v vfio-pci").out) == [
        "resetgate", "vfio-pci"]
    vm.sh("modprobe vfio-pci", timeout=60)
    newest_first = [line.split()[0] for line in vm.sh("cat /proc/modules").out.splitlines()]
    assert newest_first.index("vfio_pci") < newest_first.index("resetgate")
    vm.sh("modprobe -r vfio-pci; rmmod resetgate 2> /dev/null || true", timeout=60)
    assert not vm.loaded("resetgate") and not vm.loaded("vfio_pci")


def test_new_user(rehearsed, tmp_path):
    """Add the packages, load, look, reset, remove, on a machine that never heard of it; what
    doc/first-steps.md shows is what was said.
    """
    with disk.DiskVM(disk.Disk(tmp_path / "disk", rehearsed / "installed"),
                     kernels.ensure("trixie"), cmdline=NOT_AT_BOOT, name="new-user") as vm:
        # trace-cmd reads /proc/kallsyms twice, and wants no module to come in between.
        vm.settle()
        # Minutes of emulation for what test_apt_takes_it_off has.
        vm.sh("echo update_initramfs=no > /etc/initramfs-tools/update-initramfs.conf")
        assert not vm.loaded("resetgate")
        comes_before_vfio(vm)
        lines = _transcribe(vm, (rehearsed / "installed.txt").read_text(), tmp_path / "reset.svg")
        assert not vm.loaded("resetgate")
        left = vm.sh("find / -xdev -name '*resetgate*' -not -path '/root/*'", timeout=120).out
    text = "\n".join(lines)
    assert left == "" and lines[-1] == "# dkms status"
    assert re.search(rf"{FUNCTION}.*closed", text) and "function_reset" in text
    assert "1 reset of 1 function" in (tmp_path / "reset.svg").read_text()
    shown = re.search(r"```\n(# apt-get.*?)```", TRANSCRIPT.read_text(), re.S)[1].splitlines()
    assert [line for line in shown if line.startswith("# ")] == [f"# {cmd}" for cmd, _ in steps()]
    assert [blurred(line) for line in shown] == [blurred(line) for line in lines], (
        f"doc/first-steps.md differs from {LAB}/results/first-steps.txt: bring it up to date")
