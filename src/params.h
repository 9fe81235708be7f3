/* SPDX-License-Identifier: GPL-2.0 */
/* The module's parameters. */
#ifndef RG_PARAMS_H
#define RG_PARAMS_H

#include <linux/types.h>

bool rg_param_scope_all(void);
bool rg_param_open_silent(void);
bool rg_param_disarm(void);
bool rg_param_allow_untested(void);
unsigned int rg_param_park_timeout(void);
unsigned int rg_param_close_timeout(void);
const char *rg_param_btf(void);

#endif /* RG_PARAMS_H */
