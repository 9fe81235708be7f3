/* SPDX-License-Identifier: GPL-2.0 */
/* How a gate closes, step by step. */
#ifndef RG_CLOSING_H
#define RG_CLOSING_H

#include "gate.h"

/**
 * struct rg_closing - several gates that close together
 * @deadline: jiffies, for all that they wait for before anything is blocked
 * @asked: it was seen whether the IOMMU's queue is alive
 * @space: whose queue that was
 * @step: what was waited for last, see rg_closing_steps
 * @rc: and the answer
 */
struct rg_closing {
	unsigned long deadline;
	bool asked;
	const void *space;
	int step;
	int rc;
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
