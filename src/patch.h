/* SPDX-License-Identifier: GPL-2.0 */
/* ftrace redirects: judged, installed all or nothing, armed, counted, removed. */
#ifndef RG_PATCH_H
#define RG_PATCH_H

#include <linux/ftrace.h>

#include "arch.h"
#include "targets.h"

/**
 * struct rg_hook - what happens at one target
 * @id: the target; RG_NR_TARGETS for a function of our own
 * @divert: looks at the arguments and returns the replacement that the call
 *	goes to, of the target's own prototype, or NULL to let it pass. Runs
 *	with preemption off, maybe in hard interrupt context; notrace.
 */
struct rg_hook {
	enum rg_target_id id;
	void *(*divert)(struct ftrace_regs *fregs, unsigned long parent_ip);
};

#define RG_MAX_HOOKS 24

/* Functions that are redirected together. */
struct rg_patch {
	struct ftrace_ops ops;		/* of no use if it has joined another */
	struct rg_patch *joined;	/* the next that uses these ops */
	const struct rg_hook *hooks;
	unsigned long ips[RG_MAX_HOOKS];
	int nr;
	bool usable;
	bool idle;	/* not usable, for want of the hardware alone */
	bool installed;
};

int rg_patch_register(struct rg_patch *patch);
void rg_patch_unregister(struct rg_patch *patch);
unsigned long rg_patch_location(unsigned long addr);

int rg_patch_resolve(const char *btf_path);
int rg_patch_install(enum rg_set set, const struct rg_hook *hooks, int nr);
int rg_patch_join(enum rg_set set, enum rg_set host, const struct rg_hook *hooks, int nr);
void rg_patch_remove(enum rg_set set);

bool rg_set_usable(enum rg_set set);
void rg_set_turn_off(enum rg_set set);
void rg_set_rest(enum rg_set set);
bool rg_target_present(enum rg_target_id id);
int rg_target_variant(enum rg_target_id id);
unsigned long rg_target_addr(enum rg_target_id id);
unsigned long rg_target_size(enum rg_target_id id);
unsigned long rg_target_ip(enum rg_target_id id);
bool rg_member_present(enum rg_member_id id);
u32 rg_member_off(enum rg_member_id id);
void rg_target_armed(enum rg_target_id id, bool armed);
void rg_target_fired(enum rg_target_id id);
ssize_t rg_patch_show(char *buf);
ssize_t rg_patch_show_sets(char *buf, ssize_t at);

/*
 * A member of one of the kernel's private structures, at the offset that its
 * BTF gives.
 */
#define rg_member(base, id, type) \
	((type *)((char *)(base) + rg_member_off(id)))

/* Points a call that RG_CALL_DEFINE() made at a target. */
#define rg_call_aim(name, id)	rg_arch_call_aim(name, rg_target_addr(id))

#endif /* RG_PATCH_H */
