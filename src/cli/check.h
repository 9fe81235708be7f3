/* SPDX-License-Identifier: GPL-2.0 */
/* What resetgate check has found out, and how it is shown. */
#ifndef RG_CHECK_H
#define RG_CHECK_H

#include "cli.h"
#include "json.h"
#include "kernel.h"
#include "machine.h"

struct rg_check {
	const char *iommu;	/* what --iommu says */
	bool all_installed;
	bool only_charge;
	bool all_here;		/* the images are this machine's own */
	bool loaded;
	bool in_charge;
	char why_not[64];	/* why it is not in charge */
	struct rg_module module;	/* empty if it is not loaded */
	struct rg_machine machine;
	struct rg_kernel *kernels;
	size_t nr;
};

bool rg_check_good(const struct rg_kernel *kernel);
bool rg_check_wants_signed(const struct rg_check *check, const struct rg_kernel *kernel);
int rg_check_text(struct rg_cli *cli, const struct rg_check *check);
int rg_check_json(struct rg_cli *cli, const struct rg_check *check);
void rg_check_json_charge(struct rg_json *json, const struct rg_check *check);

#endif /* RG_CHECK_H */
