/* SPDX-License-Identifier: GPL-2.0 */
/* How a gate opens, step by step. */
#ifndef RG_OPENING_H
#define RG_OPENING_H

#include "gate.h"

enum rg_opened {
	RG_NOT_OPENED,
	RG_OPENED_MUTED,	/* without its ATS */
	RG_OPENED,
};

enum rg_opened rg_opening_unblock(struct rg_state *state, bool answers);
bool rg_opening_unmute(struct rg_state *state);

#endif /* RG_OPENING_H */
