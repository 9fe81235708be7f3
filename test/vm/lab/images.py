# SPDX-License-Identifier: GPL-2.0
"""What a kernel image carries: the kernel itself, unpacked, and its type information (BTF)."""

import os
import struct
import subprocess

from .host import LAB, LabError

_MAGIC = {b"\xfd7zXZ\0": ["xz", "-dc", "--single-stream"], b"\x28\xb5\x2f\xfd": ["zstd", "-dcq"]}


def bootable(kernel, unpacked):
    """Path of what QEMU boots: the image as shipped or, where that is packed, what is in it."""
    return elf(kernel) if unpacked and kernel.arch.packed else kernel.vmlinuz


def elf(kernel):
    """Path of the ELF file inside this kernel's packed image, made once.

    QEMU starts it by its PVH entry, which saves the 3 to 10 s that unpacking takes under
    emulation; the kernel then stays where it was linked (no KASLR).
    """
    path = LAB / "images" / f"{kernel.name}.elf"
    if not path.exists():
        _write(path, _payload(kernel.vmlinuz.read_bytes()))
    return path


def btf(kernel):
    """Path of the .BTF section of this kernel, made once."""
    path = LAB / "btf" / kernel.arch.name / f"{kernel.name}.btf"
    if not path.exists():
        # A plain Image has no sections; the headers bring them for the modules' own BTF.
        source = elf(kernel) if kernel.arch.packed else kernel.headers / "vmlinux"
        _write(path, _section(source.read_bytes(), b".BTF"))
    return path


def unpack(path):
    """Replace a kernel image by the ELF file inside it."""
    _write(path, _payload(path.read_bytes()))


def _write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.rename(path)


def _payload(image):
    """The ELF file that a bzImage carries: boot protocol 2.08 says where."""
    setup = (image[0x1f1] or 4) + 1
    offset, length = struct.unpack_from("<II", image, 0x248)
    data = image[setup * 512 + offset:][:length]
    for magic, command in _MAGIC.items():
        if data.startswith(magic):
            # The payload ends with its unpacked size, which is no part of the stream.
            done = subprocess.run(command, input=data, capture_output=True, check=False)
            if done.stdout.startswith(b"\x7fELF"):
                return done.stdout
    raise LabError("the kernel image is packed in a way that is not known here")


def _section(elf, name):
    """Contents of a section of a 64-bit little-endian ELF file."""
    table, = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3a)
    headers = [struct.unpack_from("<IIQQQQ", elf, table + i * size) for i in range(count)]
    strings = headers[names][4]
    for header in headers:
        start = strings + header[0]
        if elf[start:start + len(name) + 1] == name + b"\0":
            return elf[header[4]:header[4] + header[5]]
    raise LabError(f"the kernel image has no section {name.decode()}")
