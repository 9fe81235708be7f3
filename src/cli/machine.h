/* SPDX-License-Identifier: GPL-2.0 */
/* What of this machine decides whether the module can work on it. */
#ifndef RG_MACHINE_H
#define RG_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

#include "module.h"

#define RG_PATCHERS 16

/* A function that the module redirects and somebody else does, too. */
struct rg_patcher {
	char function[64];
	char flag;		/* I: redirected; D: called directly */
};

/* 1, 0, or -1 where it is not known. */
struct rg_machine {
	char iommus[64];	/* back ends of the IOMMUs in use, with spaces between */
	char other_iommus[96];	/* of classes that no back end has */
	int secure_boot;
	bool shim_off;		/* Secure Boot is on, but shim was told to check no signatures */
	char lockdown[32];	/* empty: unknown */
	int ftrace;		/* kernel.ftrace_enabled */
	bool patchers_known;
	struct rg_patcher patchers[RG_PATCHERS];
	size_t nr_patchers;
};

void rg_machine_read(struct rg_machine *machine, const struct rg_module *module);

#endif /* RG_MACHINE_H */
