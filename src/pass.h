/* SPDX-License-Identifier: GPL-2.0 */
/* How a wrapper's own call gets past the redirect that entered the wrapper. */
#ifndef RG_PASS_H
#define RG_PASS_H

#include <linux/list.h>
#include <linux/sched.h>

#include "targets.h"

/**
 * struct rg_pass - lets the call that a wrapper is about to make reach the original
 * @node: in the list of passes
 * @task: who calls
 * @arg: the call's first argument
 * @id: the function
 * @used: it was good for one call
 * @pinned: it holds the module
 */
struct rg_pass {
	struct list_head node;
	struct task_struct *task;
	const void *arg;
	enum rg_target_id id;
	bool used;
	bool pinned;
};

bool rg_pass_mine(enum rg_set set);
void *rg_pass_divert(enum rg_target_id id, const void *arg, void *wrapper);
void rg_pass_begin(struct rg_pass *pass, enum rg_target_id id, const void *arg);
void rg_pass_end(struct rg_pass *pass);
void rg_pass_exit(void);
void rg_pass_wait(void);

#endif /* RG_PASS_H */
