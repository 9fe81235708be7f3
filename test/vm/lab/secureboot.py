# SPDX-License-Identifier: GPL-2.0
"""A guest with Secure Boot: OVMF with Microsoft's keys, then shim, grub and the disk's kernel,
each checked by the one before.

What a person does once in MokManager, at the console, is done to the firmware's variables here:
a key of the machine's owner is in shim's list (virt-fw-vars --add-mok).
"""

import re

from . import packages
from .disk import ROOT_ARGUMENTS, DiskVM

# Whose list the key is on: any GUID does.
_OWNER = "a1b2c3d4-0000-4000-8000-000000000001"
_GRUB = "linux /vmlinuz {}\ninitrd /initrd\nboot\n"
_SHIM = "/usr/lib/shim/shimx64.efi.signed"
_SIGNED_GRUB = "/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
_ESP_MIB = 160


class SecureVM(DiskVM):
    """Starts the newest kernel of its disk by way of the firmware; `mok` is a certificate (DER)."""

    def __init__(self, disk, kernel, mok=None, **kwargs):
        super().__init__(disk, kernel, **kwargs)
        self._mok = mok

    def _lay_out(self):
        self._take_kernel()
        (self.dir / "grub.cfg").write_text(_GRUB.format(self._command_line(ROOT_ARGUMENTS)))
        if self._mok:
            (self.dir / "mok.der").write_bytes(self._mok)
        enrol = f"--add-mok {_OWNER} mok.pem" if self._mok else ""
        packages.sh(f"""set -e; cd /mnt
[ ! -e mok.der ] || openssl x509 -inform der -in mok.der -out mok.pem
cp /usr/share/OVMF/OVMF_CODE_4M.secboot.fd code.fd
virt-fw-vars --input /usr/share/OVMF/OVMF_VARS_4M.ms.fd --output vars.fd {enrol}
truncate -s {_ESP_MIB}M esp
mkfs.vfat esp
mmd -i esp EFI EFI/BOOT EFI/debian
mcopy -i esp {_SHIM} ::EFI/BOOT/BOOTX64.EFI
mcopy -i esp {_SIGNED_GRUB} ::EFI/BOOT/grubx64.efi
mcopy -i esp grub.cfg ::EFI/debian/grub.cfg
mcopy -i esp grub.cfg ::EFI/BOOT/grub.cfg
mcopy -i esp vmlinuz initrd ::
rm vmlinuz initrd""", [(self.dir, "/mnt")])

    def _base_args(self):
        # The firmware keeps its variables from the system by way of system management mode.
        return [re.sub("^q35", "q35,smm=on", word) for word in super()._base_args()]

    def _start_arguments(self):
        return ["-global", "driver=cfi.pflash01,property=secure,value=on",
                "-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/mnt/code.fd",
                "-drive", "if=pflash,unit=1,format=raw,file=/mnt/vars.fd",
                *self._root_arguments(),
                "-drive", "file=/mnt/esp,if=none,id=esp,format=raw,readonly=on",
                "-device", "virtio-blk-pci,bus=pcie.0,addr=1b.1,drive=esp,bootindex=1"]

    def kill(self):
        super().kill()
        for name in ("code.fd", "vars.fd", "esp"):
            (self.dir / name).unlink(missing_ok=True)
