// SPDX-License-Identifier: GPL-2.0
/* The module's parameters: each value is checked before it takes effect. */
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/string.h>

#include "attach.h"
#include "params.h"

/* A parameter that takes one of a few words. */
struct rg_choice {
	const char *name;
	const char *const *words;	/* NULL-terminated */
	const char *hint;
	int value;
};

/* As they are written. */
const char *const rg_policy_names[RG_NR_POLICIES] = {
	[RG_POLICY_DEFAULT] = "default",
	[RG_POLICY_RECORD] = "record",
	[RG_POLICY_BUSY] = "busy",
	[RG_POLICY_WAIT] = "wait",
};

/* In the order of enum rg_policy, from RG_POLICY_RECORD on. */
static const char *const rg_policy_words[] = { "record", "busy", "wait", NULL };
static const char *const rg_scope_words[] = { "ats", "all", NULL };
static const char *const rg_failed_words[] = { "park", "open", NULL };

static struct rg_choice rg_policy = {
	"policy", rg_policy_words, "attaches in a reset are kept for its end, refused, or sleep",
};

static struct rg_choice rg_scope = {
	"scope", rg_scope_words, "functions with ATS, or all of them",
};

static struct rg_choice rg_failed = {
	"on_failed_reset", rg_failed_words, "stay blocked, or open without ATS",
};

/* "a, b or c" */
static void rg_choice_say(const struct rg_choice *choice, char *text, size_t size)
{
	size_t len = 0;
	int i;

	for (i = 0; choice->words[i]; i++)
		len += scnprintf(text + len, size - len, "%s%s",
				 !i ? "" : choice->words[i + 1] ? ", " : " or ",
				 choice->words[i]);
}

/* The number of a word, or -EINVAL, and why is said. */
static int rg_choice_find(const struct rg_choice *choice, const char *val)
{
	char expected[32], word[16];
	int i;

	strscpy(word, val, sizeof(word));
	for (i = 0; choice->words[i]; i++)
		if (sysfs_streq(word, choice->words[i]))
			return i;
	rg_choice_say(choice, expected, sizeof(expected));
	pr_err("%s: expected %s, found '%.*s' (%s); nothing was changed\n",
	       choice->name, expected, (int)strcspn(word, "\n"), word, choice->hint);
	return -EINVAL;
}

static int rg_choice_set(const char *val, const struct kernel_param *kp)
{
	struct rg_choice *choice = kp->arg;
	int found = rg_choice_find(choice, val);

	if (found < 0)
		return found;
	WRITE_ONCE(choice->value, found);
	return 0;
}

static int rg_choice_get(char *buf, const struct kernel_param *kp)
{
	const struct rg_choice *choice = kp->arg;

	return sysfs_emit(buf, "%s\n", choice->words[READ_ONCE(choice->value)]);
}

static const struct kernel_param_ops rg_choice_ops = {
	.set = rg_choice_set,
	.get = rg_choice_get,
};

/* In force before it shows; who waits may go on, or give up. */
static int rg_policy_set(const char *val, const struct kernel_param *kp)
{
	int found = rg_choice_find(&rg_policy, val), rc;

	if (found < 0)
		return found;
	rc = rg_attach_allow(RG_POLICY_RECORD + found);
	if (rc)
		return rc;
	WRITE_ONCE(rg_policy.value, found);
	rg_attach_wake();
	return 0;
}

static const struct kernel_param_ops rg_policy_ops = {
	.set = rg_policy_set,
	.get = rg_choice_get,
};

static int rg_flag_set(const char *val, const struct kernel_param *kp)
{
	int rc = param_set_bool(val, kp);

	if (rc)
		pr_err("%s: expected 0 or 1, found '%.*s'; nothing was changed\n",
		       kp->name, (int)strcspn(val ?: "", "\n"), val ?: "");
	return rc;
}

static const struct kernel_param_ops rg_flag_ops = {
	.flags = KERNEL_PARAM_OPS_FL_NOARG,
	.set = rg_flag_set,
	.get = param_get_bool,
};

/* A parameter that takes a number. */
struct rg_number {
	const char *name;
	const char *unit;
	unsigned int least;
	unsigned int most;
	unsigned int value;
};

/* 0 is never; nobody waits for a week. */
static struct rg_number rg_park_timeout = {
	"park_timeout_s", "seconds", 0, 7 * 24 * 3600, 180,
};

/*
 * A second is what a close may add to a reset that already takes 100 ms. At the
 * most it waits twice that, with the device's lock held: less than the time after
 * which the kernel complains of a task that hangs.
 */
static struct rg_number rg_close_timeout = {
	"close_timeout_ms", "milliseconds", 100, 30000, 1000,
};

/*
 * Longer than a minute, which is what the kernel itself gives a function to come back.
 * VFIO's callers hold locks of the whole host: shorter than the time after which a task
 * counts as hung (120 s).
 */
static struct rg_number rg_wait_timeout = {
	"wait_timeout_ms", "milliseconds", 10, 100000, 70000,
};

static int rg_number_set(const char *val, const struct kernel_param *kp)
{
	struct rg_number *number = kp->arg;
	unsigned int found;

	if (kstrtouint(val, 0, &found) || found < number->least || found > number->most) {
		pr_err("%s: expected %s, %u to %u, found '%.*s'; nothing was changed\n",
		       number->name, number->unit, number->least, number->most,
		       (int)strcspn(val, "\n"), val);
		return -EINVAL;
	}
	WRITE_ONCE(number->value, found);
	return 0;
}

static int rg_number_get(char *buf, const struct kernel_param *kp)
{
	const struct rg_number *number = kp->arg;

	return sysfs_emit(buf, "%u\n", READ_ONCE(number->value));
}

static const struct kernel_param_ops rg_number_ops = {
	.set = rg_number_set,
	.get = rg_number_get,
};

static bool rg_disarm;
static bool rg_allow_untested;
static char *rg_btf_path = "";

module_param_cb(policy, &rg_policy_ops, &rg_policy, 0644);
MODULE_PARM_DESC(policy, "what an attach in a window gets: record (default), busy or wait");
module_param_cb(wait_timeout_ms, &rg_number_ops, &rg_wait_timeout, 0644);
MODULE_PARM_DESC(wait_timeout_ms, "policy=wait: how long an attach sleeps at the most, in ms (70000)");
module_param_cb(scope, &rg_choice_ops, &rg_scope, 0644);
MODULE_PARM_DESC(scope, "which functions take part: ats (default) or all");
module_param_cb(on_failed_reset, &rg_choice_ops, &rg_failed, 0644);
MODULE_PARM_DESC(on_failed_reset, "a function that stays silent: park (default) or open");
module_param_cb(park_timeout_s, &rg_number_ops, &rg_park_timeout, 0644);
MODULE_PARM_DESC(park_timeout_s, "end a window that nobody ends after so many seconds (180); 0: never");
module_param_cb(close_timeout_ms, &rg_number_ops, &rg_close_timeout, 0644);
MODULE_PARM_DESC(close_timeout_ms, "let a reset run ungated where a gate cannot close in so many ms (1000)");
module_param_cb(disarm, &rg_flag_ops, &rg_disarm, 0444);
MODULE_PARM_DESC(disarm, "load, but touch nothing");
module_param_cb(allow_untested, &rg_flag_ops, &rg_allow_untested, 0444);
MODULE_PARM_DESC(allow_untested, "load on a kernel series that was not tested");
module_param_named(btf, rg_btf_path, charp, 0444);
MODULE_PARM_DESC(btf, "judge the kernel by this BTF file instead of its own");

/**
 * rg_param_scope_all - whether functions without ATS take part, too
 *
 * Context: Any.
 * Return: true for scope=all.
 */
notrace bool rg_param_scope_all(void)
{
	return READ_ONCE(rg_scope.value) == 1;
}

/**
 * rg_param_open_silent - whether a function that stays silent is opened
 *
 * Context: Any.
 * Return: true for on_failed_reset=open.
 */
bool rg_param_open_silent(void)
{
	return READ_ONCE(rg_failed.value) == 1;
}

/**
 * rg_param_park_timeout - how long a window may last
 *
 * Context: Any.
 * Return: seconds; 0: for ever.
 */
unsigned int rg_param_park_timeout(void)
{
	return READ_ONCE(rg_park_timeout.value);
}

/**
 * rg_param_close_timeout - how long a close may take
 *
 * An opening that has to wait for the IOMMU's queue waits no longer either.
 *
 * Context: Any.
 * Return: milliseconds.
 */
unsigned int rg_param_close_timeout(void)
{
	return READ_ONCE(rg_close_timeout.value);
}

/**
 * rg_param_wait_timeout - how long an attach may sleep with policy=wait
 *
 * Context: Any.
 * Return: milliseconds.
 */
unsigned int rg_param_wait_timeout(void)
{
	return READ_ONCE(rg_wait_timeout.value);
}

/**
 * rg_param_policy - what an attach in a window gets
 *
 * Context: Any; called from handlers.
 * Return: RG_POLICY_RECORD, RG_POLICY_BUSY or RG_POLICY_WAIT.
 */
notrace enum rg_policy rg_param_policy(void)
{
	return RG_POLICY_RECORD + READ_ONCE(rg_policy.value);
}

/**
 * rg_param_policy_record - no other policy can be had
 *
 * Context: Any.
 */
void rg_param_policy_record(void)
{
	WRITE_ONCE(rg_policy.value, 0);
}

/**
 * rg_param_disarm - whether to load and touch nothing
 *
 * Context: Any.
 * Return: true for disarm=1.
 */
bool rg_param_disarm(void)
{
	return rg_disarm;
}

/**
 * rg_param_allow_untested - whether an untested kernel series is good enough
 *
 * Context: Any.
 * Return: true for allow_untested=1.
 */
bool rg_param_allow_untested(void)
{
	return rg_allow_untested;
}

/**
 * rg_param_btf - where to take the BTF from
 *
 * Context: Any.
 * Return: a path, or "" for the running kernel's own.
 */
const char *rg_param_btf(void)
{
	return rg_btf_path;
}
