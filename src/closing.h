/* SPDX-License-Identifier: GPL-2.0 */
/* How a gate closes, step by step. */
#ifndef RG_CLOSING_H
#define RG_CLOSING_H

#include "gate.h"

/**
 * struct rg_closing - several gates that close together
 * @deadline: jiffies, for all that they wait for before anything is blocked
 * @alive: the IOMMU's queue has drained once since
 */
struct rg_closing {
	unsigned long deadline;
	bool alive;
};

void rg_closing_begin(struct rg_closing *closing);
int rg_closing_block(struct rg_state *state, bool touch, struct rg_closing *closing);
int rg_closing_fence(struct rg_state *state);
void rg_closing_late(struct rg_state *state);
void rg_closing_without_memory(const struct device *dev, int nr);
int rg_closing_lock_group(struct rg_state *state, unsigned long deadline);
void rg_closing_release(struct rg_state *state);
u64 rg_closing_timeouts(void);
u64 rg_closing_lates(void);

#endif /* RG_CLOSING_H */
