// SPDX-License-Identifier: GPL-2.0
/*
 * Kernel images as distributions ship them: bzImage, arm64's Image, EFI zboot,
 * vmlinux, each packed or not.
 *
 * x86 boot protocol: Documentation/arch/x86/boot.rst; arm64's header:
 * Documentation/arch/arm64/booting.rst; zboot, and the PE header that all of them have
 * for EFI: linux/pe.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "image.h"
#include "sysfs.h"

#define RG_IMAGE_MOST		(1u << 30)
#define RG_IMAGE_NESTED		3	/* a packed zboot in a packed file is the most there is */

#define RG_BZ_SETUP_SECTS	0x1f1
#define RG_BZ_BOOT_FLAG		0x1fe
#define RG_BZ_MAGIC		0x202
#define RG_BZ_VERSION		0x206
#define RG_BZ_PAYLOAD		0x248
#define RG_BZ_PAYLOAD_LENGTH	0x24c
#define RG_BZ_HEADER		0x250
#define RG_BZ_SECTOR		512

#define RG_ARM64_MAGIC		0x38
#define RG_ARM64_HEADER		0x40

#define RG_ZBOOT_MAGIC		4
#define RG_ZBOOT_OFFSET		8
#define RG_ZBOOT_SIZE		12
#define RG_ZBOOT_HEADER		0x40

#define RG_PE_AT		0x3c
#define RG_PE_HEADER		24	/* with its magic; then the optional one, then the sections */
#define RG_PE_SECTIONS		6
#define RG_PE_OPTIONAL_SIZE	20
#define RG_PE_SECTION		40
#define RG_PE_RAW_SIZE		16	/* in the file: what is zeroed when it is loaded is not in it */
#define RG_PE_RAW		20

static bool rg_has(struct rg_part file, size_t off, const char *magic, size_t len)
{
	struct rg_part found = rg_part_of(file, off, len);

	return found.at && !memcmp(found.at, magic, len);
}

static bool rg_image_is_bz(struct rg_part file)
{
	return file.size >= RG_BZ_HEADER && rg_has(file, RG_BZ_MAGIC, "HdrS", 4) &&
	       rg_get_u16(file.at + RG_BZ_BOOT_FLAG) == 0xaa55;
}

static int rg_image_cut_short(char *why)
{
	snprintf(why, RG_WHY, "is cut short: its header tells of more than there is; copy it again");
	return RG_EXIT_BAD;
}

/* Does the file end before what its PE header tells of? Without an EFI stub there is none. */
static bool rg_image_lacks_sections(struct rg_part file)
{
	struct rg_part pe, table;
	u32 nr, raw, i;
	u64 at;

	if (file.size < RG_PE_AT + 4 || !rg_has(file, 0, "MZ", 2))
		return false;
	at = rg_get_u32(file.at + RG_PE_AT);
	pe = rg_part_of(file, at, RG_PE_HEADER);
	if (!pe.at)
		return true;
	if (memcmp(pe.at, "PE\0", 4))
		return false;
	nr = rg_get_u16(pe.at + RG_PE_SECTIONS);
	at += RG_PE_HEADER + rg_get_u16(pe.at + RG_PE_OPTIONAL_SIZE);
	table = rg_part_of(file, at, (u64)nr * RG_PE_SECTION);
	for (i = 0; table.at && i < nr; i++, table.at += RG_PE_SECTION) {
		raw = rg_get_u32(table.at + RG_PE_RAW_SIZE);
		if (raw && !rg_part_of(file, rg_get_u32(table.at + RG_PE_RAW), raw).at)
			return true;
	}
	return !table.at;
}

/* Boot protocol 2.08 says where the packed kernel is; 2.6.24 has it already. */
static int rg_image_bz_payload(struct rg_part file, struct rg_part *payload, char *why)
{
	u32 sectors = file.at[RG_BZ_SETUP_SECTS];
	u64 start = (u64)((sectors ? sectors : 4) + 1) * RG_BZ_SECTOR;

	if (rg_get_u16(file.at + RG_BZ_VERSION) < 0x208) {
		snprintf(why, RG_WHY, "is a bzImage older than Linux 2.6.24: nothing in it can be checked");
		return RG_EXIT_BAD;
	}
	*payload = rg_part_of(file, start + rg_get_u32(file.at + RG_BZ_PAYLOAD),
			      rg_get_u32(file.at + RG_BZ_PAYLOAD_LENGTH));
	if (payload->at && payload->size && !rg_image_lacks_sections(file))
		return RG_EXIT_OK;
	return rg_image_cut_short(why);
}

static int rg_image_zboot_payload(struct rg_part file, struct rg_part *payload, char *why)
{
	*payload = rg_part_of(file, rg_get_u32(file.at + RG_ZBOOT_OFFSET),
			      rg_get_u32(file.at + RG_ZBOOT_SIZE));
	if (payload->at && payload->size && !rg_image_lacks_sections(file))
		return RG_EXIT_OK;
	return rg_image_cut_short(why);
}

/* What comes out takes the place of what was packed. */
static int rg_image_unpack(struct rg_image *image, struct rg_part packed, bool trailer, char *why)
{
	struct rg_part unpacked;
	int rc;

	if (!rg_unpack_format(packed)) {
		snprintf(why, RG_WHY, "is packed in a way that is not known here");
		return RG_EXIT_BAD;
	}
	rc = rg_unpack(packed, trailer, &unpacked, why);
	if (rc)
		return rc;
	free(image->data);
	image->data = (u8 *)unpacked.at;
	image->size = unpacked.size;
	return RG_EXIT_OK;
}

/* One layer off; *done where there is none left. */
static int rg_image_peel(struct rg_image *image, bool *done, char *why)
{
	struct rg_part file = { image->data, image->size }, payload;
	int rc;

	*done = rg_is_elf(file) || rg_has(file, RG_ARM64_MAGIC, "ARM\x64", 4);
	if (*done)
		return RG_EXIT_OK;
	if (file.size >= RG_ZBOOT_HEADER && rg_has(file, 0, "MZ", 2) &&
	    rg_has(file, RG_ZBOOT_MAGIC, "zimg", 4)) {
		image->format = "EFI zboot";
		rc = rg_image_zboot_payload(file, &payload, why);
		return rc ? rc : rg_image_unpack(image, payload, false, why);
	}
	if (rg_image_is_bz(file)) {
		image->format = "bzImage";
		image->arch = RG_ARCH_X86;
		rc = rg_image_bz_payload(file, &payload, why);
		if (!rc && rg_is_elf(payload)) {
			memmove(image->data, payload.at, payload.size);
			image->size = payload.size;
			return RG_EXIT_OK;
		}
		return rc ? rc : rg_image_unpack(image, payload, true, why);
	}
	if (rg_unpack_format(file))
		return rg_image_unpack(image, file, false, why);
	snprintf(why, RG_WHY, "is no kernel image: expected a bzImage, an arm64 Image, an EFI zboot image or a vmlinux");
	return RG_EXIT_BAD;
}

/* The first "Linux version 6.12.3" that is no format. */
static void rg_image_release(struct rg_image *image)
{
	static const char banner[] = "Linux version ";
	const u8 *at = image->data, *end = image->data + image->size;
	size_t len = sizeof(banner) - 1, i;

	while ((at = memmem(at, end - at, banner, len))) {
		at += len;
		for (i = 0; at + i < end && at[i] > ' ' && at[i] < 0x7f; i++)
			;
		if (i && i < sizeof(image->release) && at + i < end && at[i] == ' ' &&
		    at[0] >= '0' && at[0] <= '9') {
			memcpy(image->release, at, i);
			image->release[i] = '\0';
			return;
		}
	}
}

/*
 * An Image has no sections: the BTF is where a whole one begins, the largest if
 * there are several (a module's may be linked in).
 */
static void rg_image_find_btf(struct rg_image *image)
{
	static const u8 magic[] = { 0x9f, 0xeb, 1, 0, 24, 0, 0, 0 };
	const u8 *at = image->data, *end = image->data + image->size;
	u64 types, strings;
	struct rg_part part;

	for (; (at = memmem(at, end - at, magic, sizeof(magic))); at += 4) {
		if (end - at < 24)
			return;
		types = (u64)24 + rg_get_u32(at + 8) + rg_get_u32(at + 12);
		strings = (u64)24 + rg_get_u32(at + 16) + rg_get_u32(at + 20);
		part = rg_part_of((struct rg_part){ at, end - at }, 0,
				  strings > types ? strings : types);
		if (part.size > image->btf.size)
			image->btf = part;
	}
}

static int rg_image_look(struct rg_image *image, char *why)
{
	struct rg_part file = { image->data, image->size };

	if (rg_is_elf(file)) {
		if (!image->format)
			image->format = "vmlinux";
		return rg_elf_read(image, why);
	}
	/* It has no other size to go by: image_size counts what is not in the file, too. */
	if (rg_image_lacks_sections(file))
		return rg_image_cut_short(why);
	if (!image->format)
		image->format = "Image";
	image->arch = RG_ARCH_ARM64;
	rg_image_find_btf(image);
	rg_kallsyms_read(file, &image->symbols);
	return RG_EXIT_OK;
}

/**
 * rg_image_parse - what a kernel image tells of itself
 * @image: receives it; to be given to rg_image_free(), after an error, too
 * @data: the file, from malloc(); the image owns it from here on
 * @size: its size
 * @why: receives what went wrong
 *
 * Context: User space; may run child processes that unpack.
 * Return: the exit code.
 */
int rg_image_parse(struct rg_image *image, u8 *data, size_t size, char *why)
{
	bool done = false;
	int rc, i;

	*image = (struct rg_image){ .data = data, .size = size };
	for (i = 0; !done; i++) {
		if (i > RG_IMAGE_NESTED) {
			snprintf(why, RG_WHY, "is packed in itself more often than any kernel is");
			return RG_EXIT_BAD;
		}
		rc = rg_image_peel(image, &done, why);
		if (rc)
			return rc;
	}
	rc = rg_image_look(image, why);
	if (rc)
		return rc;
	if (image->symbols.work > RG_WORK_MOST) {
		snprintf(why, RG_WHY, "is no kernel image, or is damaged: to look for its symbols takes more work than with any kernel; copy it again");
		return RG_EXIT_BAD;
	}
	rg_image_release(image);
	if (!*image->release) {
		snprintf(why, RG_WHY, "is no kernel image, or is cut short: it names no version of Linux");
		return RG_EXIT_BAD;
	}
	if (image->btf.at)
		return RG_EXIT_OK;
	snprintf(why, RG_WHY, "has no type information (BTF), or is cut short: resetgate can check nothing in it and will not load there; it needs a kernel with CONFIG_DEBUG_INFO_BTF");
	return RG_EXIT_BAD;
}

/**
 * rg_image_read - the same of a file
 * @image: receives it; to be given to rg_image_free(), after an error, too
 * @path: the file
 * @why: receives what went wrong
 *
 * Context: User space.
 * Return: the exit code.
 */
int rg_image_read(struct rg_image *image, const char *path, char *why)
{
	size_t size = 0;
	int error = 0;
	char *data = rg_read_all(path, RG_IMAGE_MOST, &size, &error);

	*image = (struct rg_image){ };
	if (data)
		return rg_image_parse(image, (u8 *)data, size, why);
	if (error == E2BIG)
		snprintf(why, RG_WHY, "is longer than any kernel image (1 GiB); a vmlinux is shorter without its debugging information: strip --strip-debug");
	else
		snprintf(why, RG_WHY, "cannot be read: %s%s", strerror(error), rg_way_out(error));
	return rg_errno_code(error);
}

/**
 * rg_image_free - release what was allocated
 * @image: the image
 *
 * Context: User space.
 */
void rg_image_free(struct rg_image *image)
{
	free(image->data);
	image->data = NULL;
}
