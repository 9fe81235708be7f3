/* SPDX-License-Identifier: GPL-2.0 */
/* Upstream's own gate. */
#ifndef RG_NATIVE_H
#define RG_NATIVE_H

#include <linux/types.h>

struct rg_state;

void rg_native_install(void);
void rg_native_yield(bool aside);
void rg_native_bury(struct rg_state *state);
void rg_native_remove(void);

#endif /* RG_NATIVE_H */
