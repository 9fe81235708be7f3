// SPDX-License-Identifier: GPL-2.0
/* Fuzzes the reader of BTF: all rows of the table are judged by it. */
#include <stdlib.h>
#include <string.h>

#include "../../src/targets.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	u8 *copy = malloc(size ? size : 1);
	char found[RG_BTF_TEXT];
	struct rg_btf btf;
	u32 off;
	int i;

	if (!copy)
		abort();
	memcpy(copy, data, size);
	if (!rg_btf_open(&btf, copy, size)) {
		for (i = 0; i < RG_NR_TARGETS; i++)
			rg_target_judge(&btf, i, found);
		for (i = 0; i < RG_NR_MEMBERS; i++)
			rg_member_judge(&btf, i, &off, found);
		rg_btf_close(&btf);
	}
	free(copy);
	return 0;
}
