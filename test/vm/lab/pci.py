# SPDX-License-Identifier: GPL-2.0
"""Reading a function's configuration space from the guest."""

from dataclasses import dataclass

CAP_EXPRESS, CAP_PM = 0x10, 0x01
EXT_ATS, EXT_PRI, EXT_PASID = 0x0F, 0x13, 0x1B


@dataclass(frozen=True)
class Config:
    """A copy of configuration space with its capabilities' offsets."""

    data: bytes

    def word(self, offset):
        return int.from_bytes(self.data[offset:offset + 2], "little")

    def dword(self, offset):
        return int.from_bytes(self.data[offset:offset + 4], "little")

    def capability(self, number):
        """Offset of a capability, or None."""
        offset = self.data[0x34] & 0xFC
        while offset:
            if self.data[offset] == number:
                return offset
            offset = self.data[offset + 1] & 0xFC
        return None

    def extended(self, number):
        """Offset of an extended capability, or None."""
        offset = 0x100
        while offset and offset + 4 <= len(self.data):
            header = self.dword(offset)
            if header & 0xFFFF == number:
                return offset
            offset = header >> 20
        return None

    @property
    def express(self):
        return self.capability(CAP_EXPRESS)

    @property
    def ats(self):
        return self.extended(EXT_ATS)

    @property
    def ats_on(self):
        return bool(self.ats and self.word(self.ats + 6) & 0x8000)


def sysfs(bdf):
    return f"/sys/bus/pci/devices/0000:{bdf}"


def config(vm, bdf):
    """Read a function's configuration space; do it outside a window."""
    return Config(vm.read(f"{sysfs(bdf)}/config"))
