# SPDX-License-Identifier: GPL-2.0
"""After an upgrade of the package and of the kernel, by apt and without a hand: the machine starts
its new kernel, with Secure Boot on, by shim and grub.

As long as dkms's key is not enrolled the module is refused, and that can be seen; once it is, every
kernel's module loads.
"""

import re

import pytest
from lab import disk, kernels, packages
from lab.secureboot import SecureVM

pytestmark = pytest.mark.arch("x86_64")
KO = "$(modinfo -F filename resetgate)"


@pytest.fixture(scope="module", name="upgraded")
def _upgraded(request):
    if "trixie" not in request.config.option.kernels.split(","):
        pytest.skip("trixie was not chosen")
    return disk.rehearsed()


def start(upgraded, tmp_path, enrolled):
    """The guest, up."""
    mok = (upgraded / "mok.pub").read_bytes() if enrolled else None
    return SecureVM(disk.Disk(tmp_path / "disk", upgraded / "upgraded"), kernels.ensure("trixie"), mok,
                    name="secure-boot")


def check(vm):
    """What `resetgate check` says, in one line."""
    return " ".join(vm.sh("resetgate check", check=False).out.split())


def typed(command):
    """A command of the guide that asks for a password, twice, and the answers."""
    return f"printf '%s\\n' password password | {command}"


def test_key_is_not_enrolled(upgraded, tmp_path):
    """Refused, and said so: by the unit at boot, by resetgate check, by modprobe."""
    with start(upgraded, tmp_path, enrolled=False) as vm:
        assert vm.settle() == "degraded"
        failed = vm.sh("systemctl list-units --failed --plain --no-legend").out
        assert "resetgate-check.service" in failed
        assert "SecureBoot enabled" in vm.sh("mokutil --sb-state").out
        assert vm.sh("mokutil --test-key /var/lib/dkms/mok.pub").out.strip().endswith("not enrolled")
        # The module that dkms signed.
        refused = vm.sh("modprobe resetgate", check=False)
        assert refused.rc and "Key was rejected" in refused.out
        said = check(vm)
        assert "secure boot on" in said and "in charge no: the module is not loaded" in said
        assert ("signed by DKMS module signing key, whose key the kernel does not have, "
                "so it will not load; enrol it") in said
        assert vm.sh("resetgate check --in-charge", check=False).rc
        # The same without its signature.
        vm.sh(f"f={KO}; xz -dc $f > /root/signed.ko; objcopy --strip-debug /root/signed.ko "
              "/root/bare.ko; xz --check=crc32 -c /root/bare.ko > $f")
        assert vm.sh("modprobe resetgate", check=False).rc
        assert "Loading of unsigned module is rejected" in vm.sh("dmesg").out
        assert "this machine takes signed modules only, so it will not load" in check(vm)
        assert not vm.loaded("resetgate")
        # What the guide has next, up to the start at which MokManager asks for the password.
        vm.sh(typed("mokutil --import /var/lib/dkms/mok.pub"))
        assert "DKMS module signing key" in vm.sh("mokutil --list-new").out
        # And where the key is not there: a new one, that nobody has enrolled.
        vm.sh("rm /var/lib/dkms/mok.*; dkms generate_mok", timeout=120)
        assert vm.sh("mokutil --test-key /var/lib/dkms/mok.pub").out.strip().endswith("not enrolled")


def test_key_of_a_site(upgraded):
    """dkms builds with the key that its configuration names."""
    assert (upgraded / "signer.txt").read_text() == "key of the site\n"


def test_key_is_enrolled(upgraded, tmp_path):
    """Loaded by itself, at boot, on the kernel that came by the upgrade."""
    with start(upgraded, tmp_path, enrolled=True) as vm:
        state = vm.settle()
        assert state == "running", vm.sh("systemctl --failed; resetgate check", check=False).out
        assert vm.sh("uname -r").out.startswith("7.")
        # For both kernels, and nothing of the version before.
        versions = re.findall(r"^resetgate/([^,]+),", vm.sh("dkms status").out, re.M)
        assert versions == [packages.next_version()] * 2
        assert vm.sh("cat /sys/module/resetgate/version").out.strip() == packages.next_version()
        assert "armed: yes" in vm.read("/sys/kernel/resetgate/status").decode()
        assert vm.sh("systemctl is-active resetgate-check.service").out.strip() == "active"
        # vfio-pci is in this initramfs, so the module is, and was loaded there, before all of VFIO: by
        # the softdep alone it would come after what vfio-pci depends on.
        assert "initramfs has the module" in check(vm)
        log = vm.sh("dmesg").out
        order = [log.index(text) for text in ("resetgate: loading", "VFIO - ", "EXT4-fs (vda)")]
        assert order == sorted(order)
        vm.sh("mkdir -p /var/lib/prometheus/node-exporter; "
              "systemctl start resetgate-metrics.service")
        assert b"resetgate_loaded 1" in vm.read("/var/lib/prometheus/node-exporter/resetgate.prom")
        vm.sh("echo 1 > /sys/bus/pci/devices/0000:01:00.0/reset")
        assert vm.read("/sys/bus/pci/devices/0000:01:00.0/resetgate/windows") == b"1\n"
        assert vm.sh("mokutil --test-key /var/lib/dkms/mok.pub",
                     check=False).out.strip().endswith("already enrolled")
        assert vm.sh("modinfo -F signer resetgate").out == "DKMS module signing key\n"
        # Built without DKMS, and signed by hand.
        vm.sh(f"cd /root; xz -dc {KO} > bare.ko; objcopy --strip-debug bare.ko resetgate.ko; "
              "/lib/modules/$(uname -r)/build/scripts/sign-file sha256 /var/lib/dkms/mok.key "
              "/var/lib/dkms/mok.pub resetgate.ko; rmmod resetgate; insmod resetgate.ko", timeout=60)
        assert vm.loaded("resetgate")
        vm.sh(typed("mokutil --delete /var/lib/dkms/mok.pub"))
        assert "DKMS module signing key" in vm.sh("mokutil --list-delete").out
