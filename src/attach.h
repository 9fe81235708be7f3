/* SPDX-License-Identifier: GPL-2.0 */
/* What an attach gets in a window: policy=. */
#ifndef RG_ATTACH_H
#define RG_ATTACH_H

#include "gate.h"

void rg_attach_start(void);
void rg_attach_stop(void);
int rg_attach_allow(enum rg_policy policy);
void rg_attach_wake(void);
void rg_attach_turn(struct rg_state *state, enum rg_phase phase);
enum rg_policy rg_attach_policy(const struct rg_state *state);

#endif /* RG_ATTACH_H */
