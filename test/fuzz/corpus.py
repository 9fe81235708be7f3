#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the corpus: small whole images and BTF, and the heads of this machine's kernels.

    corpus.py FOLDER [IMAGE]...
Without IMAGE: /boot/vmlinuz-* and what RG_IMAGES names; if there is none, the lab's.
Nothing of a real kernel is kept in the tree: only its headers are taken, here and now.
"""

import os
import pathlib
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "cli"), str(HERE.parent / "unit")]

import imagegen  # noqa: E402 # pylint: disable=wrong-import-position


BOOT = pathlib.Path("/boot")
# By kind: bytes behind the first 12, at all and for each member (linux/btf.h).
BTF_MORE = {1: (4, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 13: (0, 8), 14: (4, 0),
            15: (0, 12), 17: (4, 0), 19: (0, 12)}
BTF = struct.pack("<HBBI", 0xeb9f, 1, 0, 24)


def kernels():
    """Images that can be read, each once."""
    lab = pathlib.Path(os.environ.get("RESETGATE_LAB", "/var/cache/resetgate-lab"))
    named = map(pathlib.Path, os.environ.get("RG_IMAGES", "").split())
    own = [*BOOT.glob("vmlinuz-*"), *named]
    labs = [*lab.glob("build*/boot/vmlinuz-*"), *lab.glob("build*/usr/lib/modules/*/vmlinuz")]
    for places in (own, labs):
        found = {path.stat().st_ino: path for path in places if os.access(path, os.R_OK)}
        if found:
            return list(found.values())
    sys.exit(f"resetgate: {BOOT}, RG_IMAGES and {lab} have no kernel image that can be read: "
             "name some, RG_IMAGES=\"/path/vmlinuz ...\"")


def table():
    """Rows of the table of targets."""
    out = HERE / "build"
    out.mkdir(exist_ok=True)
    subprocess.run(["make", "-s", "-C", HERE.parent / "unit", f"OUT={out}", "SANITIZE="],
                   check=True)
    text = subprocess.run([out / "rg-judge", "--table"], check=True, capture_output=True,
                          text=True).stdout
    return [line.split("\t") for line in text.splitlines()]


def made_up(rows):
    """(folder, name, bytes) of images and BTF that are whole."""
    btf = imagegen.btf_of(rows)
    few = imagegen.btf_of([row for row in rows if "flr" in row[1] or "mutex" in row[1]])
    names = imagegen.symbols_of(rows)
    for align in (4, 8):
        yield "image", f"elf-{align}", imagegen.elf(few, imagegen.kallsyms(names, align))
    vmlinux = imagegen.elf(few, symtab=names[-40:])
    yield "image", "vmlinux", vmlinux
    yield "image", "bzimage", imagegen.bzimage(vmlinux, None)
    for efi in (True, False):
        yield "image", f"arm64-{efi}", imagegen.arm64(few, imagegen.kallsyms(names, 4), efi=efi)
    yield "image", "endless-names", imagegen.endless(40, 4000)
    yield "image", "tokens", imagegen.arm64(few, imagegen.tokens(8))
    # What the target's own unpacking takes off stands where a packer's header would.
    yield "image", "packed", b"\x1f\x8b" + vmlinux
    yield "btf", "all", btf
    yield "btf", "small", few


def real(path):
    """The head of an image, its payload with little in each section, and the first of its BTF."""
    image = pathlib.Path(path).read_bytes()
    yield "image", image[:0x300]
    if image[0x202:0x206] != b"HdrS":
        return
    start = ((image[0x1f1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", image, 0x248)
    for argv in (["xz", "-dc", "--single-stream"], ["zstd", "-dcq"], ["gzip", "-dc"]):
        elf = subprocess.run(argv, input=image[start + offset:][:length], stderr=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, check=False).stdout
        if elf.startswith(b"\x7fELF"):
            yield "image", small(elf)
            yield "btf", btf_head(elf)
            return


def small(elf):
    """An ELF file with the headers of a real one and the beginnings of its sections.

    Whole as it stands: of one that is cut nothing but its header is ever read.
    """
    table, = struct.unpack_from("<Q", elf, 0x28)
    each, count, names = struct.unpack_from("<HHH", elf, 0x3a)
    headers = [bytearray(elf[table + each * i:][:each]) for i in range(count)]
    body = bytearray(elf[:64])
    for i, header in enumerate(headers):
        kind, = struct.unpack_from("<I", header, 4)
        at, size = struct.unpack_from("<QQ", header, 24)
        if kind in (0, 8):  # nothing, and what is not in the file
            continue
        data = elf[at:at + size] if i == names else elf[at:at + min(size, 256)]
        banner = elf.find(b"Linux version ", at, at + size)
        if data.startswith(BTF):
            data = btf_head(elf)
        elif banner >= 0:
            data = elf[banner:at + size][:4096]
        struct.pack_into("<QQ", header, 24, len(body), len(data))
        body += imagegen.pad(data, 8)
    struct.pack_into("<Q", body, 0x28, len(body))
    struct.pack_into("<H", body, 0x38, 0)  # no segments: nobody loads it
    return bytes(body + b"".join(headers))


def btf_head(elf):
    """The first types of a real BTF, with the first of its strings."""
    at = elf.find(BTF)
    hdr_len, _, types_len, strs, strs_len = struct.unpack_from("<IIIII", elf, at + 4)
    types = whole_types(elf[at + hdr_len:][:min(types_len, 3000)])
    names = elf[at + hdr_len + strs:][:min(strs_len, 8000)]
    names = names[:names.rfind(b"\0") + 1]
    return BTF + struct.pack("<IIII", 0, len(types), len(types), len(names)) + types + names


def whole_types(data):
    """Without the one at the end that is cut: with it the reader would take none."""
    at = 0
    while at + 12 <= len(data):
        info, = struct.unpack_from("<I", data, at + 4)
        more = 12 + sum(BTF_MORE.get(info >> 24 & 0x1f, (0, 0))[i] * n
                        for i, n in enumerate((1, info & 0xffff)))
        if at + more > len(data):
            break
        at += more
    return data[:at]


def main(folder, *images):
    folder = pathlib.Path(folder)
    found = images or kernels()
    items = list(made_up(table()))
    for number, path in enumerate(found):
        items += [(kind, f"{pathlib.Path(path).name}-{number}-{i}", data)
                  for i, (kind, data) in enumerate(real(path))]
    write(folder, items)
    print(f"{len(items)} files, from {len(found)} real kernels")


def write(folder, items):
    for kind, name, data in items:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / name).write_bytes(data)


if __name__ == "__main__":
    main(*sys.argv[1:])
