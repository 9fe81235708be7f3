// SPDX-License-Identifier: GPL-2.0
/*
 * Fuzzes the reader of kernel images, but for what the system's tools unpack: for
 * them stands a function that takes off a byte.
 */
#include <stdlib.h>
#include <string.h>

#include "../../src/cli/cli.h"
#include "../../src/cli/image.h"

const char *rg_unpack_format(struct rg_part packed)
{
	return packed.size > 2 && packed.at[0] == 0x1f && packed.at[1] == 0x8b ? "gzip" : NULL;
}

int rg_unpack(struct rg_part packed, bool trailer, struct rg_part *unpacked, char *why)
{
	size_t head = trailer ? 4 : 2;
	u8 *data;

	if (packed.size <= head) {
		strcpy(why, "cut short");
		return RG_EXIT_BAD;
	}
	data = malloc(packed.size - head);
	if (!data)
		abort();
	memcpy(data, packed.at + head, packed.size - head);
	*unpacked = (struct rg_part){ data, packed.size - head };
	return RG_EXIT_OK;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct rg_image image;
	struct rg_btf btf;
	char why[RG_WHY] = "";
	char found[RG_BTF_TEXT];
	u8 *copy = malloc(size ? size : 1);
	int rc;

	if (!copy)
		abort();
	/* Of exactly the size, so that each overrun is seen. */
	memcpy(copy, data, size);
	rc = rg_image_parse(&image, copy, size, why);
	if ((rc != 0) != (*why != '\0'))
		abort();
	if (!rc && !rg_btf_open(&btf, image.btf.at, image.btf.size)) {
		rg_target_judge(&btf, RG_T_PCIE_FLR, found);
		rg_btf_close(&btf);
	}
	rg_image_free(&image);
	return 0;
}
