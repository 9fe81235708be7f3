// SPDX-License-Identifier: GPL-2.0
/*
 * ftrace redirects: judged, installed all or nothing, armed, counted, removed.
 *
 * resolve:  for each row of the table of targets: address, ftrace location,
 *           prototype or type as the kernel's BTF has it. One mismatch turns
 *           off the whole set that the row belongs to, with one line.
 * install:  sets that go together share one ftrace_ops, IPMODIFY (a call can be
 *           sent elsewhere) and PERMANENT (kernel.ftrace_enabled=0 does not
 *           disarm it silently).
 * handler:  finds the hook by the traced address; its divert() looks at the
 *           arguments and names the replacement, or lets the call pass.
 *
 * A replacement is entered through the return of ftrace's trampoline, so it
 * needs no landing pad (IBT, BTI), and finds the stack as the target would have.
 */
#include <linux/kernel_read_file.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "patch.h"
#include "symbols.h"

typedef unsigned long rg_ftrace_location_fn(unsigned long ip);

RG_CALL_DEFINE(rg_call_ftrace_location, rg_ftrace_location_fn);

struct rg_target_state {
	unsigned long addr;
	unsigned long ip;	/* ftrace location, 0 if it has none */
	int variant;		/* which of its prototypes it has */
	bool needless;		/* not found, and this kernel does without it */
	bool found;
	bool armed;
	atomic64_t fired;
};

static struct rg_target_state rg_state_of[RG_NR_TARGETS + 1]; /* the last: our own */
static u32 rg_offsets[RG_NR_MEMBERS];
static bool rg_has_member[RG_NR_MEMBERS];
static struct rg_patch rg_patches[RG_NR_SETS];

/* Whether a set is for the architecture that this module is built for. */
static bool rg_set_is_ours(enum rg_set set)
{
	return rg_set_arches[set] == RG_ARCH_ANY || rg_set_arches[set] == RG_ARCH_HERE;
}

/* The hook of an address. A set does not change while its functions are traced. */
static notrace const struct rg_hook *rg_patch_hook(const struct rg_patch *patch,
						   unsigned long ip)
{
	int i;

	while (patch) {
		for (i = 0; i < patch->nr; i++)
			if (patch->ips[i] == ip)
				return &patch->hooks[i];
		/* Pairs with the release in rg_patch_join(): what is found is filled in. */
		patch = smp_load_acquire(&patch->joined);
	}
	return NULL;
}

static notrace void rg_patch_handler(unsigned long ip, unsigned long parent_ip,
				     struct ftrace_ops *ops,
				     struct ftrace_regs *fregs)
{
	struct rg_patch *patch = container_of(ops, struct rg_patch, ops);
	const struct rg_hook *hook;
	void *to;

	/* RCU look-ups and the unload's grace periods rely on this. */
	preempt_disable_notrace();
	hook = rg_patch_hook(patch, ip);
	to = hook ? hook->divert(fregs, parent_ip) : NULL;
	if (to) {
		atomic64_inc(&rg_state_of[hook->id].fired);
		rg_compat_set_ip(fregs, to);
	}
	preempt_enable_notrace();
}

/**
 * rg_patch_location - where ftrace meets a function
 * @addr: the function
 *
 * Context: Process context, after rg_patch_resolve().
 * Return: the traced address, 0 if it is not traced.
 */
unsigned long rg_patch_location(unsigned long addr)
{
	return rg_call(rg_call_ftrace_location)(addr);
}

static void rg_patch_off(enum rg_set set, const char *name, const char *expected,
			 const char *found, const char *lost)
{
	if (!rg_patches[set].usable)
		return;
	rg_patches[set].usable = false;
	pr_warn("%s off: %s: expected '%s', found '%s'; without it: %s; this kernel is not the one that the table was written for, look for a newer resetgate\n",
		rg_set_names[set], name, expected, found, lost);
}

static bool rg_patch_fits(const struct rg_btf *btf, enum rg_target_id id)
{
	const struct rg_target *t = &rg_targets[id];
	char found[RG_BTF_TEXT];

	if (!t->proto)
		return true;
	if (rg_target_judge(btf, id, found) == RG_MATCH) {
		rg_state_of[id].variant = rg_target_variant_of(id, found);
		return true;
	}
	rg_patch_off(t->set, t->name, t->proto, found, t->lost);
	return false;
}

static void rg_patch_resolve_target(const struct rg_btf *btf, enum rg_target_id id)
{
	const struct rg_target *t = &rg_targets[id];
	struct rg_target_state *st = &rg_state_of[id];
	int rc;

	if (!rg_set_is_ours(t->set))
		return;
	rc = rg_symbols_find(t->name, &st->addr);
	st->needless = rc == -ENOENT && !rg_target_is_needed(btf, id);
	if (st->needless)
		return;
	if (rc) {
		rg_patch_off(t->set, t->name, "one symbol",
			     rc == -ENOENT ? "none" : "several", t->lost);
		return;
	}
	if (!rg_patch_fits(btf, id))
		return;
	if (t->use == RG_USE_REDIRECT || t->use == RG_USE_OBSERVE) {
		st->ip = rg_patch_location(st->addr);
		if (!st->ip) {
			rg_patch_off(t->set, t->name, "a traced function",
				     "one that ftrace cannot reach", t->lost);
			return;
		}
	}
	st->found = true;
}

static void rg_patch_resolve_members(const struct rg_btf *btf)
{
	const struct rg_member *m;
	enum rg_verdict verdict;
	char found[RG_BTF_TEXT];
	char name[80];
	int i;

	for (i = 0; i < RG_NR_MEMBERS; i++) {
		m = &rg_members[i];
		if (!rg_set_is_ours(m->set))
			continue;
		verdict = rg_member_judge(btf, i, &rg_offsets[i], found);
		rg_has_member[i] = verdict == RG_MATCH;
		if (verdict == RG_MATCH || (verdict == RG_ABSENT && !rg_member_is_needed(btf, i)))
			continue;
		snprintf(name, sizeof(name), "struct %s.%s", m->strct, m->path);
		rg_patch_off(m->set, name, m->type, found, "the whole set");
	}
}

/* What targets are looked up with is itself judged before it is called. */
static int rg_patch_resolve_symbols(const struct rg_btf *btf)
{
	static const enum rg_target_id ids[] = {
		RG_T_KALLSYMS_EACH_MATCH, RG_T_KALLSYMS_LOOKUP_SIZE,
	};
	unsigned long addr[ARRAY_SIZE(ids)];
	int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		addr[i] = rg_symbols_lookup(rg_targets[ids[i]].name);
		if (!addr[i])
			rg_patch_off(RG_SET_CORE, rg_targets[ids[i]].name, "one symbol",
				     "none", rg_targets[ids[i]].lost);
		if (!addr[i] || !rg_patch_fits(btf, ids[i]))
			return -EOPNOTSUPP;
	}
	rg_symbols_use(addr[0], addr[1]);
	return 0;
}

/* The look-up of ftrace locations is a target, too; it must come first. */
static int rg_patch_resolve_first(const struct rg_btf *btf)
{
	int rc = rg_patch_resolve_symbols(btf);

	if (rc)
		return rc;
	rg_patch_resolve_target(btf, RG_T_FTRACE_LOCATION);
	if (!rg_patches[RG_SET_CORE].usable)
		return -EOPNOTSUPP;
	rg_call_aim(rg_call_ftrace_location, RG_T_FTRACE_LOCATION);
	return 0;
}

static int rg_patch_judge_all(const void *data, size_t size)
{
	struct rg_btf btf;
	int rc, i;

	rc = rg_btf_open(&btf, data, size);
	if (rc) {
		pr_err("BTF of %zu bytes cannot be read (%d): nothing of the kernel can be checked, so nothing is touched\n",
		       size, rc);
		return rc;
	}
	for (i = 0; i < RG_NR_SETS; i++)
		rg_patches[i].usable = rg_set_is_ours(i);
	rc = rg_patch_resolve_first(&btf);
	for (i = 0; !rc && i < RG_NR_TARGETS; i++)
		if (i != RG_T_FTRACE_LOCATION)
			rg_patch_resolve_target(&btf, i);
	if (!rc)
		rg_patch_resolve_members(&btf);
	rg_btf_close(&btf);
	return rc;
}

static int rg_patch_judge_file(const char *path)
{
	void *data = NULL;
	ssize_t size;
	int rc;

	/* Some security modules complain of a purpose that they do not know. */
	size = kernel_read_file_from_path(path, 0, &data, INT_MAX, NULL,
					  READING_FIRMWARE);
	if (size < 0) {
		pr_err("btf=%s: cannot be read (%zd); leave the parameter out to use the running kernel's own\n",
		       path, size);
		return size;
	}
	rc = rg_patch_judge_all(data, size);
	vfree(data);
	return rc;
}

/**
 * rg_patch_resolve - look up and judge every target and member of the table
 * @btf_path: a file to take the BTF from, or "" for the running kernel's own
 *
 * What does not match turns its set off; see rg_set_usable().
 *
 * Context: Process context, at load, before anything is installed.
 * Return: 0, -EOPNOTSUPP if the kernel has no BTF or lacks what the engine
 * itself needs, or the error of reading or parsing the BTF.
 */
int rg_patch_resolve(const char *btf_path)
{
	unsigned long start, stop;
	int rc;

	rc = rg_symbols_init();
	if (rc)
		return rc;
	if (btf_path && *btf_path)
		return rg_patch_judge_file(btf_path);
	start = rg_symbols_lookup("__start_BTF");
	stop = rg_symbols_lookup("__stop_BTF");
	if (!start || stop <= start) {
		pr_err("BTF: expected the kernel's own, found none: private structures cannot be checked, so nothing is touched; boot a kernel with CONFIG_DEBUG_INFO_BTF\n");
		return -EOPNOTSUPP;
	}
	return rg_patch_judge_all((void *)start, stop - start);
}

/* True if a redirect of this one function is refused, too. */
static bool rg_patch_is_held(struct rg_patch *trial, unsigned long ip)
{
	int rc;

	if (trial->installed)
		return ftrace_set_filter_ip(&trial->ops, ip, 0, 0) == -EBUSY;
	rc = ftrace_set_filter_ip(&trial->ops, ip, 0, 1);
	if (!rc)
		rc = register_ftrace_function(&trial->ops);
	trial->installed = !rc;
	return rc == -EBUSY;
}

static void rg_patch_end_trial(struct rg_patch *trial)
{
	if (trial->installed)
		unregister_ftrace_function(&trial->ops);
	ftrace_free_filter(&trial->ops);
	trial->installed = false;
}

/*
 * Tries the set's functions one at a time. A trial that keeps those it gets takes
 * one grace period in all; @each by itself takes one for each, and finds those,
 * too, that are called directly, which only a registration looks for.
 */
static int rg_patch_try(enum rg_set set, struct rg_patch *trial, int error, bool each)
{
	const struct rg_patch *patch = &rg_patches[set];
	const struct rg_target *t;
	int named = 0, i;

	for (i = 0; i < patch->nr; i++) {
		if (rg_patch_is_held(trial, patch->ips[i])) {
			t = &rg_targets[patch->hooks[i].id];
			named++;
			pr_warn("%s off: %s: expected a function that nobody redirects, found one that another patcher holds (%d); without it: %s; see flag I or D in tracefs' enabled_functions, unload the other one and load again\n",
				rg_set_names[set], t->name, error, t->lost);
		}
		if (each)
			rg_patch_end_trial(trial);
	}
	rg_patch_end_trial(trial);
	return named;
}

/* Says which of a set's functions somebody else redirects. */
static void rg_patch_name_holder(enum rg_set set, int error)
{
	struct rg_patch *trial = kzalloc(sizeof(*trial), GFP_KERNEL);
	int named = 0;

	if (trial) {
		trial->ops.func = rg_patch_handler;
		trial->ops.flags = FTRACE_OPS_FL_IPMODIFY;
		named = rg_patch_try(set, trial, error, false);
		if (!named && error == -EBUSY)
			named = rg_patch_try(set, trial, error, true);
	}
	if (!named)
		pr_warn("%s off: ftrace refuses (%d): expected kernel.ftrace_enabled=1 and a working ftrace; set it and load again\n",
			rg_set_names[set], error);
	kfree(trial);
}

/**
 * rg_patch_register - redirect the functions of a filled-in &struct rg_patch
 * @patch: hooks, ips and nr are set
 *
 * Context: Process context, sleeps.
 * Return: 0, or the error of ftrace; then nothing is registered.
 */
int rg_patch_register(struct rg_patch *patch)
{
	int rc;

	patch->ops = (struct ftrace_ops) {
		.func = rg_patch_handler,
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
	};
	rc = ftrace_set_filter_ips(&patch->ops, patch->ips, patch->nr, 0, 1);
	if (rc)
		return rc;
	rc = register_ftrace_function(&patch->ops);
	if (rc)
		ftrace_free_filter(&patch->ops);
	return rc;
}

/**
 * rg_patch_unregister - undo rg_patch_register()
 * @patch: a registered one
 *
 * unregister_ftrace_function() returns after an RCU-tasks grace period: no
 * task is then between the handler and the first instruction of a replacement.
 *
 * Context: Process context, sleeps.
 */
void rg_patch_unregister(struct rg_patch *patch)
{
	unregister_ftrace_function(&patch->ops);
	ftrace_free_filter(&patch->ops);
}

static void rg_patch_mark(struct rg_patch *patch, bool installed)
{
	int i;

	patch->installed = installed;
	for (i = 0; i < patch->nr; i++)
		rg_state_of[patch->hooks[i].id].armed = installed;
}

/* Leaves out the hooks of targets that this kernel lacks and does without. */
static int rg_patch_fill(struct rg_patch *patch, const struct rg_hook *hooks, int nr)
{
	struct rg_hook *kept;
	int i;

	if (nr > RG_MAX_HOOKS)
		return -E2BIG;
	kept = kcalloc(nr, sizeof(*kept), GFP_KERNEL);
	if (!kept)
		return -ENOMEM;
	memset(patch->ips, 0, sizeof(patch->ips));
	for (i = 0, patch->nr = 0; i < nr; i++) {
		if (!rg_state_of[hooks[i].id].found)
			continue;
		kept[patch->nr] = hooks[i];
		patch->ips[patch->nr++] = rg_state_of[hooks[i].id].ip;
	}
	patch->hooks = kept;
	return patch->nr ? 0 : -ENOENT;
}

/* No function of it is traced, or a grace period has passed since one was. */
static void rg_patch_empty(struct rg_patch *patch)
{
	kfree(patch->hooks);
	patch->hooks = NULL;
	patch->nr = 0;
}

static int rg_patch_settle(enum rg_set set, int rc)
{
	struct rg_patch *patch = &rg_patches[set];

	if (!rc) {
		rg_patch_mark(patch, true);
		return 0;
	}
	if (patch->nr)
		rg_patch_name_holder(set, rc);
	patch->usable = false;
	rg_patch_empty(patch);
	return rc;
}

/**
 * rg_patch_install - send the calls of a set's targets through their hooks
 * @set: the set; it must be usable
 * @hooks: what to do at each target
 * @nr: how many there are
 *
 * Hooks of targets that this kernel lacks and does without are left out.
 *
 * Context: Process context, sleeps. One at a time for a set.
 * Return: 0, or the error of ftrace; then nothing of the set is installed.
 */
int rg_patch_install(enum rg_set set, const struct rg_hook *hooks, int nr)
{
	struct rg_patch *patch = &rg_patches[set];
	int rc = rg_patch_fill(patch, hooks, nr);

	if (!rc)
		rc = rg_patch_register(patch);
	return rg_patch_settle(set, rc);
}

/**
 * rg_patch_join - install a set that goes when another one does
 * @set: the set; it must be usable
 * @host: the other one, installed
 * @hooks: what to do at each target
 * @nr: how many there are
 *
 * They share one ftrace_ops, so that removing them takes one grace period. To
 * add functions to an ops is all or nothing, as to register one is.
 *
 * Context: Process context, sleeps. Loads only, one at a time.
 * Return: 0, or the error of ftrace; then nothing of the set is installed.
 */
int rg_patch_join(enum rg_set set, enum rg_set host, const struct rg_hook *hooks, int nr)
{
	struct rg_patch *patch = &rg_patches[set];
	struct rg_patch *first = &rg_patches[host];
	int rc = rg_patch_fill(patch, hooks, nr);

	if (!rc) {
		patch->joined = first->joined;
		/* Pairs with rg_patch_hook(): filled in before it is found. */
		smp_store_release(&first->joined, patch);
		rc = ftrace_set_filter_ips(&first->ops, patch->ips, patch->nr, 0, 0);
		/* A handler that has found it meanwhile goes on from it to the others. */
		if (rc)
			WRITE_ONCE(first->joined, patch->joined);
	}
	return rg_patch_settle(set, rc);
}

/**
 * rg_patch_remove - let the calls of a set's targets pass again
 * @set: the set, and those that have joined it; if it is not installed it is
 *	left alone
 *
 * Context: Process context, sleeps.
 */
void rg_patch_remove(enum rg_set set)
{
	struct rg_patch *patch = &rg_patches[set];
	struct rg_patch *next;

	if (!patch->installed)
		return;
	rg_patch_unregister(patch);
	for (; patch; patch = next) {
		next = patch->joined;
		patch->joined = NULL;
		rg_patch_mark(patch, false);
		rg_patch_empty(patch);
	}
}

/**
 * rg_set_usable - whether everything a set needs was found as the table says
 * @set: the set
 *
 * Context: Any.
 * Return: true if it can be installed or is.
 */
bool rg_set_usable(enum rg_set set)
{
	return rg_patches[set].usable;
}

/**
 * rg_set_turn_off - give up a set that something else made useless
 * @set: the set, not installed
 *
 * Context: Any.
 */
void rg_set_turn_off(enum rg_set set)
{
	rg_patches[set].usable = false;
}

/**
 * rg_set_rest - a set is as it should be, and this machine has no use for it
 * @set: the set, not installed
 *
 * Context: Any.
 */
void rg_set_rest(enum rg_set set)
{
	rg_patches[set].usable = false;
	rg_patches[set].idle = true;
}

/**
 * rg_target_present - whether this kernel has a target that it may lack
 * @id: the target
 *
 * Context: Any.
 * Return: true if it was found as the table says.
 */
bool rg_target_present(enum rg_target_id id)
{
	return rg_state_of[id].found;
}

/**
 * rg_target_variant - which of a target's prototypes this kernel has
 * @id: the target, present
 *
 * Context: Any.
 * Return: 0 for the newest that the table has, 1 and up for older ones.
 */
int rg_target_variant(enum rg_target_id id)
{
	return rg_state_of[id].variant;
}

/**
 * rg_target_addr - address of a target
 * @id: the target
 *
 * Context: Any.
 * Return: the address, 0 if this kernel lacks it.
 */
unsigned long rg_target_addr(enum rg_target_id id)
{
	return rg_state_of[id].addr;
}

/**
 * rg_target_size - length of a target's code
 * @id: the target
 *
 * Context: Process context.
 * Return: the length in bytes, 0 if this kernel lacks it.
 */
unsigned long rg_target_size(enum rg_target_id id)
{
	return rg_state_of[id].addr ? rg_symbols_size(rg_state_of[id].addr) : 0;
}

/**
 * rg_target_ip - where ftrace meets a target
 * @id: the target
 *
 * Context: Any.
 * Return: the traced address, 0 if it has none.
 */
unsigned long rg_target_ip(enum rg_target_id id)
{
	return rg_state_of[id].ip;
}

/**
 * rg_member_present - whether this kernel has a member that it may lack
 * @id: the member
 *
 * Context: Any.
 * Return: true if it was found as the table says.
 */
bool rg_member_present(enum rg_member_id id)
{
	return rg_has_member[id];
}

/**
 * rg_member_off - where a member of a private structure lies
 * @id: the member
 *
 * Context: Any; called from handlers.
 * Return: the offset in bytes, from the running kernel's BTF.
 */
notrace u32 rg_member_off(enum rg_member_id id)
{
	return rg_offsets[id];
}

/**
 * rg_target_armed - note that a target is armed apart from its set
 * @id: the target
 * @armed: whether it is
 *
 * Context: Any.
 */
void rg_target_armed(enum rg_target_id id, bool armed)
{
	WRITE_ONCE(rg_state_of[id].armed, armed);
}

/**
 * rg_target_fired - count a call that a handler of its own acted upon
 * @id: the target
 *
 * Context: Any; called from handlers.
 */
notrace void rg_target_fired(enum rg_target_id id)
{
	atomic64_inc(&rg_state_of[id].fired);
}

/**
 * rg_patch_show - a line for each target
 * @buf: a page
 *
 * Context: Any.
 * Return: bytes written.
 */
ssize_t rg_patch_show(char *buf)
{
	const struct rg_target_state *st;
	const struct rg_target *t;
	ssize_t len = 0;
	int i;

	if (!rg_state_of[RG_T_FTRACE_LOCATION].addr)
		return sysfs_emit(buf, "nothing was looked up\n");
	for (i = 0; i < RG_NR_TARGETS; i++) {
		t = &rg_targets[i];
		st = &rg_state_of[i];
		if (!rg_set_is_ours(t->set))
			continue;
		len += sysfs_emit_at(buf, len, "%s %s %s %s %lld", t->name,
				     rg_set_names[t->set],
				     st->found ? "found" : "absent",
				     READ_ONCE(st->armed) ? "armed" : "-",
				     (long long)atomic64_read(&st->fired));
		if (!st->found)
			len += sysfs_emit_at(buf, len, " %s%s",
					     st->needless ? "not in this kernel; where it is: " : "lost: ",
					     t->lost);
		len += sysfs_emit_at(buf, len, "\n");
	}
	return len;
}

/**
 * rg_patch_show_sets - a line for each set
 * @buf: a page
 * @at: where to write in it
 *
 * Context: Any.
 * Return: bytes written.
 */
ssize_t rg_patch_show_sets(char *buf, ssize_t at)
{
	ssize_t len = 0;
	int i;

	for (i = 0; i < RG_NR_SETS; i++)
		if (rg_set_is_ours(i))
			len += sysfs_emit_at(buf, at + len, "set %s: %s\n", rg_set_names[i],
					     rg_patches[i].usable ? "on" :
					     rg_patches[i].idle ? "idle" : "off");
	return len;
}
