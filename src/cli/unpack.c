// SPDX-License-Identifier: GPL-2.0
/* Unpacks what kernels are packed with, by the system's own tools. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "cli.h"
#include "image.h"

#define RG_UNPACK_MOST	(512u << 20)	/* ten times a kernel */

static const struct rg_packer {
	const char *magic;
	size_t magic_len;
	const char *package;
	bool trailer;		/* the kernel's build appends the unpacked size */
	const char *argv[5];
} rg_packers[] = {
	{ "\3757zXZ", 6, "xz-utils", true, { "xz", "-dc", "--single-stream" } },
	{ "\x28\xb5\x2f\xfd", 4, "zstd", true, { "zstd", "-dcq" } },
	{ "\x1f\x8b", 2, "gzip", false, { "gzip", "-dc" } },
	{ "\x02\x21\x4c\x18", 4, "lz4", true, { "lz4", "-dc" } },
	{ "BZh", 3, "bzip2", true, { "bzip2", "-dc" } },
	{ "\x5d\0\0", 3, "xz-utils", true, { "xz", "-dc", "--format=lzma" } },
	{ "\x89LZO", 4, "lzop", true, { "lzop", "-dc" } },
};

static const struct rg_packer *rg_unpack_packer(struct rg_part packed)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(rg_packers); i++)
		if (packed.size > rg_packers[i].magic_len &&
		    !memcmp(packed.at, rg_packers[i].magic, rg_packers[i].magic_len))
			return &rg_packers[i];
	return NULL;
}

/**
 * rg_unpack_format - what something is packed with
 * @packed: its bytes
 *
 * Context: User space.
 * Return: the tool's name, or NULL if this knows none.
 */
const char *rg_unpack_format(struct rg_part packed)
{
	const struct rg_packer *packer = rg_unpack_packer(packed);

	return packer ? packer->argv[0] : NULL;
}

/* An answer that is not as long as the image says was cut short. */
static int rg_unpack_judge(const struct rg_packer *packer, int rc, size_t size, u32 expected,
			   char *why)
{
	if (rc == RG_CHILD_MISSING) {
		snprintf(why, RG_WHY, "is packed with %s, which is not installed: apt-get install %s",
			 packer->argv[0], packer->package);
		return RG_EXIT_TOOL;
	}
	if (rc == RG_CHILD_FAILED) {
		snprintf(why, RG_WHY, "%s was ended: no memory, or more than %u MiB came out",
			 packer->argv[0], RG_UNPACK_MOST >> 20);
		return RG_EXIT_SYSTEM;
	}
	if (rc || !size || (expected && size != expected)) {
		snprintf(why, RG_WHY,
			 "%s cannot unpack all of it: it is cut short or damaged; copy it again",
			 packer->argv[0]);
		return RG_EXIT_BAD;
	}
	return RG_EXIT_OK;
}

/**
 * rg_unpack - unpack a part of an image
 * @packed: its bytes, which begin with a magic that rg_unpack_format() knows
 * @trailer: it stands in a bzImage, where the unpacked size follows it
 * @unpacked: receives the contents; at is to be freed
 * @why: receives what went wrong
 *
 * Context: User space; runs a child process.
 * Return: the exit code.
 */
int rg_unpack(struct rg_part packed, bool trailer, struct rg_part *unpacked, char *why)
{
	const struct rg_packer *packer = rg_unpack_packer(packed);
	struct rg_output output;
	u32 expected = 0;
	int rc;

	if (trailer && packer->trailer && packed.size > 4) {
		packed.size -= 4;
		expected = rg_get_u32(packed.at + packed.size);
	}
	rc = rg_child_run(packer->argv, packed.at, packed.size, RG_UNPACK_MOST / 2, &output);
	rc = rg_unpack_judge(packer, rc, output.size, expected, why);
	if (rc) {
		free(output.data);
		return rc;
	}
	*unpacked = (struct rg_part){ (u8 *)output.data, output.size };
	return RG_EXIT_OK;
}
