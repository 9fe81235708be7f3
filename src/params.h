/* SPDX-License-Identifier: GPL-2.0 */
/* The module's parameters. */
#ifndef RG_PARAMS_H
#define RG_PARAMS_H

#include <linux/types.h>

/* What an attach gets whose group has a function that is not open. */
enum rg_policy {
	RG_POLICY_DEFAULT,	/* of a function: as the module's parameter says */
	RG_POLICY_RECORD,	/* it runs; hardware sees it when the gate opens */
	RG_POLICY_BUSY,		/* -EBUSY */
	RG_POLICY_WAIT,		/* it sleeps until the gate opens */
	RG_NR_POLICIES
};

extern const char *const rg_policy_names[RG_NR_POLICIES];

bool rg_param_scope_all(void);
bool rg_param_open_silent(void);
bool rg_param_disarm(void);
bool rg_param_allow_untested(void);
unsigned int rg_param_park_timeout(void);
unsigned int rg_param_close_timeout(void);
unsigned int rg_param_wait_timeout(void);
enum rg_policy rg_param_policy(void);
void rg_param_policy_record(void);
const char *rg_param_btf(void);

#endif /* RG_PARAMS_H */
