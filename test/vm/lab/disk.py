# SPDX-License-Identifier: GPL-2.0
"""A guest as people have it: Debian with systemd and apt on a disk of its own.

What it may install comes from an archive on that same disk: a guest has no network.
"""

import hashlib
import os
import shutil

from . import build, images, kernels, packages, roots
from .host import LAB, in_root, lock, log_path, publish, remove_tree, run, step
from .vm import VM

_TRIXIE = ("trixie", "trixie-updates", "trixie-security")
# What a hypervisor has that builds modules; the rest is of the tests.
ROOT = roots.Root(
    "guest", _TRIXIE + ("trixie-backports",),
    ("systemd-sysv", "udev", "kmod", "initramfs-tools", "zstd", "dkms", "gcc", "make",
     "libc6-dev", "linux-image-amd64", "linux-headers-amd64", "mokutil", "trace-cmd"))
# The next kernel, as the guest's apt finds it.
_NEXT = ("linux-image-amd64", "linux-headers-amd64")
_MIB = 3072
_FORMAT = 6
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_AGENT_UNIT = f"""[Unit]
Description=the lab's hands
DefaultDependencies=no
After=local-fs.target systemd-udevd.service
[Service]
Environment=PATH={_PATH}:/lab HOME=/root
Environment=LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
ExecStart=/lab/rgxagent /dev/virtio-ports/agent
KillMode=process
[Install]
WantedBy=multi-user.target
"""
# Each takes a second or more of an emulated boot, and is of no use here.
_UNUSED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "getty-static.service",
    "getty@tty1.service", "serial-getty@ttyS0.service", "systemd-journal-catalog-update.service",
    "ldconfig.service", "systemd-hwdb-update.service", "dev-hugepages.mount", "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount", "sys-kernel-config.mount", "modprobe@configfs.service",
    "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@fuse.service",
    "systemd-random-seed.service", "systemd-journal-flush.service")
# Its file system was made a moment ago.
ROOT_ARGUMENTS = "root=/dev/vda rw fsck.mode=skip"
_APT = ('APT::Install-Recommends "false";\nAcquire::Languages "none";\nDpkg::Use-Pty "0";\n'
        'APT::Sandbox::User "root";\n')


def _fetch_next(tree):
    """The packages of the next kernel, downloaded for the guest's archive."""
    log = log_path("guest")
    repo = tree / "repo"
    with step("guest: download the next kernel", log):
        run(in_root(tree, ["apt-get", "-q", "-y", "--download-only", "-t", "trixie-backports",
                           "install", *_NEXT]), log)
        repo.mkdir()
        for path in (tree / "var/cache/apt/archives").glob("*.deb"):
            shutil.move(path, repo)
    packages.sh("cd /mnt && apt-ftparchive packages . > Packages", [(repo, "/mnt")])


def _configure(tree):
    """What makes a machine of a root."""
    etc = tree / "etc"
    (etc / "apt/sources.list").write_text("deb [trusted=yes] file:/repo ./\n")
    for path in (etc / "apt/apt.conf.d").glob("8*"):
        path.unlink()
    (etc / "apt/apt.conf.d/80lab").write_text(_APT)
    (etc / "dpkg/dpkg.cfg.d/lab").write_text("force-unsafe-io\n")
    (etc / "fstab").write_text("/dev/vda / ext4 defaults 0 0\n")
    (etc / "hostname").write_text("guest\n")
    (etc / "hosts").write_text("127.0.0.1 localhost guest\n")
    (etc / "resolv.conf").unlink()
    # It has been started before, as it were: the first time costs a minute under emulation.
    (etc / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for path in (etc / ".updated", tree / "var/.updated"):
        path.touch()
    (etc / "initramfs-tools/modules").write_text("virtio_blk\next4\n")
    (etc / "initramfs-tools/conf.d/lab").write_text("MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\nFSTYPE=ext4\n")
    (tree / "usr/sbin/policy-rc.d").unlink()
    (etc / "systemd/system/lab.service").write_text(_AGENT_UNIT)
    run(in_root(tree, ["systemctl", "-q", "enable", "lab.service"]))
    run(in_root(tree, ["systemctl", "-q", "set-default", "multi-user.target"]))
    run(in_root(tree, ["systemctl", "-q", "mask", *_UNUSED]))
    run(in_root(tree, ["update-initramfs", "-c", "-k", "all"]), log_path("guest"))
    # As the kernel's package makes it, where an initramfs is there at its installation.
    release = (tree / "vmlinuz").readlink().name.removeprefix("vmlinuz-")
    (tree / "initrd.img").unlink(missing_ok=True)
    (tree / "initrd.img").symlink_to(f"boot/initrd.img-{release}")
    run(in_root(tree, ["apt-get", "-q", "update"]), log_path("guest"))


def _tree():
    """The guest's files, made once from ROOT."""
    roots.ensure(ROOT)
    (_, agent), = build.agent(kernels.ensure("trixie"))
    seed = hashlib.sha256(repr((_FORMAT, _AGENT_UNIT, ROOT.packages)).encode()
                          + agent.read_bytes()).hexdigest()[:12]
    final = LAB / "disks" / f"tree-{seed}"
    with lock("disk", "waiting for another run that makes the guest's disk"):
        if not final.exists():
            partial = final.with_name(final.name + ".partial")
            remove_tree(partial)
            partial.parent.mkdir(exist_ok=True)
            run(["cp", "-a", "--reflink=auto", ROOT.path, partial])
            _fetch_next(partial)
            (partial / "lab").mkdir()
            shutil.copy(agent, partial / "lab")
            _configure(partial)
            publish(partial, final)
    return final


def _make_image(tree, path):
    """An ext4 file system of a tree, by the packages' root's own tools."""
    log = log_path("guest")
    with step("guest: make its disk", log):
        run(in_root(packages.ROOT.path,
                    ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", "-O", "^has_journal",
                     "-d", "/mnt/tree", f"/mnt/disks/{path.name}", f"{_MIB}M"],
                    binds=[(tree, "/mnt/tree"), (path.parent, "/mnt/disks")]), log)


def _apt(tree, words):
    """apt in a guest's files, on the host: no emulation, and the same dkms. Returns what it said."""
    log = log_path("rehearsal")
    log.touch()
    before = log.stat().st_size
    with step(f"rehearsal: apt-get {words[:60]}", log):
        run(in_root(tree, ["sh", "-c", f"cd /root && apt-get {words}"]), log)
    return log.read_bytes()[before:].decode()


def rehearsed():
    """rehearse() of the tree's packages, and of the same under a higher version."""
    return rehearse(packages.debs(), packages.debs(packages.next_version()))


def rehearse(debs, newer):
    """A directory with `installed`, a disk on which apt has installed the packages, and
    `installed.txt`, what it said; `upgraded`, the same disk after an upgrade to `newer` and then one
    of the kernel; `asked.txt` and `vfio.txt`, what is in the initramfs with RESETGATE=y and with
    vfio-pci, and `unbuilt.txt`, what the hook does where the module is not; `signer.txt`, who has
    signed what dkms built with a key of one's own; `remove.txt` and `purge.txt`, what apt has left
    after these; and `mok.pub`, the certificate that dkms made for itself.

    Compiling takes half a minute on the host and many in a guest. What apt and dkms do is the same.
    """
    tree = _tree()
    digest = hashlib.sha256(tree.name.encode())
    for path in (*debs, *newer):
        digest.update(path.read_bytes())
    final = LAB / "disks" / f"rehearsal-{digest.hexdigest()[:12]}"
    with lock("disk", "waiting for another run that makes the guest's disk"):
        if not final.exists():
            partial = final.with_name(final.name + ".partial")
            remove_tree(partial)
            partial.mkdir()
            _rehearse(partial, tree, debs, newer)
            publish(partial, final)
    return final


def _install(tree, debs):
    for path in debs:
        shutil.copy(path, tree / "root")
    return _apt(tree, "install -y " + " ".join(f"./{path.name}" for path in debs))


def _rehearse(directory, pristine, debs, newer):
    tree = directory / "tree"
    run(["cp", "-a", "--reflink=auto", pristine, tree])
    (directory / "installed.txt").write_text(_install(tree, debs))
    _make_image(tree, directory / "installed")
    # Each of apt's steps builds one module and makes one initramfs: no time goes into more of them.
    asked = tree / "etc/initramfs-tools/conf.d/resetgate"
    asked.write_text("RESETGATE=y\n")
    _sh(tree, _SITE_KEY)
    _install(tree, newer)
    (directory / "asked.txt").write_text(_sh(tree, _LOADED_FIRST))
    (directory / "signer.txt").write_text(_sh(tree, _SIGNER))
    _sh(tree, "rm /etc/dkms/framework.conf.d/site.conf")
    asked.unlink()
    # vfio-pci that early is what the initramfs hook is for.
    with open(tree / "etc/initramfs-tools/modules", "a", encoding="ascii") as file:
        file.write("vfio-pci\n")
    _apt(tree, "dist-upgrade -y")
    (directory / "vfio.txt").write_text(_sh(tree, _LOADED_FIRST))
    (directory / "unbuilt.txt").write_text(_sh(tree, _UNBUILT))
    shutil.copy(tree / "var/lib/dkms/mok.pub", directory)
    remove_tree(tree / "repo")
    _make_image(tree, directory / "upgraded")
    for how in ("remove", "purge"):
        (directory / f"{how}.txt").write_text(_take_off(tree, how))
    remove_tree(tree)


def _sh(tree, command):
    """What a shell command in a guest's files says."""
    return run(in_root(tree, ["sh", "-ec", command])).stdout


# What the newest kernel's initramfs loads, in its order, and resetgate.ko if it has that.
_LOADED_FIRST = """unmkinitramfs /initrd.img /tmp/initramfs
cat /tmp/initramfs/conf/modules
find /tmp/initramfs -name 'resetgate.ko*' -printf '%f\\n'
rm -r /tmp/initramfs"""
# As doc/secure-boot.md has it.
_SITE_KEY = """mkdir -p /etc/keys /etc/dkms/framework.conf.d
openssl req -new -x509 -newkey rsa:2048 -nodes -days 36500 -subj '/CN=key of the site' \\
    -keyout /etc/keys/site.key -outform DER -out /etc/keys/site.der 2> /dev/null
printf '%s\\n' mok_signing_key=/etc/keys/site.key mok_certificate=/etc/keys/site.der \\
    > /etc/dkms/framework.conf.d/site.conf"""
_SIGNER = "modinfo -F signer /lib/modules/6.*/updates/dkms/resetgate.ko*"
# The hook alone, with what mkinitramfs gives it, for a kernel that there is no module for.
_UNBUILT = """mkdir -p /tmp/initramfs/conf
cd /tmp/initramfs
touch vfio-pci.ko; echo vfio-pci > conf/modules
version=0.0 DESTDIR=$PWD /usr/share/initramfs-tools/hooks/resetgate 2>&1
cat conf/modules
rm -r /tmp/initramfs"""


def _take_off(tree, how):
    """What is left of the packages after it, for dkms, among the files and in the initramfs."""
    _apt(tree, f"{how} -y resetgate-dkms resetgate-tools")
    return _sh(tree, """dkms status
find /boot /etc /usr /var/lib/dkms -name '*resetgate*'
lsinitramfs /initrd.img > /tmp/list; sed -n /resetgate/p /tmp/list""")


class Disk:
    """A disk of one case; it outlives the guests that are started from it."""

    def __init__(self, path, source):
        self.path = path
        run(["cp", "--sparse=always", "--reflink=auto", source, path])

    def dump(self, name, target):
        """Copy a file of it; `name` may be a link, as /vmlinuz and /initrd.img are."""
        packages.sh(f"cd /mnt/out && name=$(debugfs -R 'stat {name}' /mnt/disk/{self.path.name} "
                    "2> /dev/null | sed -n 's/^Fast link dest: \"\\(.*\\)\"/\\1/p') && "
                    f"debugfs -R \"dump ${{name:-{name}}} {target.name}\" "
                    f"/mnt/disk/{self.path.name} 2> /dev/null && test -s {target.name}",
                    [(self.path.parent, "/mnt/disk"), (target.parent, "/mnt/out")])


class DiskVM(VM):
    """A guest that starts the newest kernel of its disk, as a boot loader would."""

    boot_seconds = 600

    def __init__(self, disk, kernel, **kwargs):
        super().__init__(kernel, **kwargs)
        self._disk = disk

    def _lay_out(self):
        self._take_kernel()
        images.unpack(self.dir / "vmlinuz")

    def _take_kernel(self):
        self._disk.dump("/vmlinuz", self.dir / "vmlinuz")
        self._disk.dump("/initrd.img", self.dir / "initrd")
        os.link(self._disk.path, self.dir / "root")

    def _start_arguments(self):
        return ["-kernel", "/mnt/vmlinuz", "-initrd", "/mnt/initrd", "-append",
                self._command_line(ROOT_ARGUMENTS), *self._root_arguments()]

    def settle(self):
        """The state of the system's units once all are up and no module is being loaded any more."""
        return self.sh("udevadm settle; systemctl is-system-running --wait", timeout=300,
                       check=False).out.strip()

    def _root_arguments(self):
        return ["-drive", "file=/mnt/root,if=none,id=root,format=raw,cache=unsafe",
                "-device", "virtio-blk-pci,bus=pcie.0,addr=1b.0,multifunction=on,drive=root"]

    def kill(self):
        super().kill()
        (self.dir / "root").unlink(missing_ok=True)
