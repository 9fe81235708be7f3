// SPDX-License-Identifier: GPL-2.0
/*
 * The known-answer test of the patch engine: before anything of the kernel is
 * touched, a function of our own is redirected, for one value of its argument
 * only, and let go again.
 */
#include "compat.h"
#include "patch.h"
#include "selftest.h"

#define RG_SELFTEST_PASS 20
#define RG_SELFTEST_DIVERT 21
#define RG_SELFTEST_ANSWER 4711

/* The compiler must neither know the result nor see that nothing is done. */
static noinline int rg_selftest_subject(int arg)
{
	OPTIMIZER_HIDE_VAR(arg);
	return arg + 1;
}

static int rg_selftest_replacement(int arg)
{
	OPTIMIZER_HIDE_VAR(arg);
	return arg + RG_SELFTEST_ANSWER;
}

static notrace void *rg_selftest_divert(struct ftrace_regs *fregs,
					unsigned long parent_ip)
{
	if ((int)rg_compat_arg(fregs, 0) == RG_SELFTEST_DIVERT)
		return rg_selftest_replacement;
	return NULL;
}

static bool rg_selftest_call(int arg, int expected, const char *when)
{
	int found;

	OPTIMIZER_HIDE_VAR(arg);
	found = rg_selftest_subject(arg);
	if (found == expected)
		return true;
	pr_err("self-test: rg_selftest_subject(%d) %s: expected %d, found %d; this kernel's ftrace does not redirect as it should, nothing was touched\n",
	       arg, when, expected, found);
	return false;
}

/**
 * rg_selftest - redirect a function of our own and check what it answers
 *
 * Context: Process context, sleeps. After rg_patch_resolve().
 * Return: 0, -EIO if an answer was wrong, or the error of ftrace.
 */
int rg_selftest(void)
{
	static const struct rg_hook hook = {
		.id = RG_NR_TARGETS,
		.divert = rg_selftest_divert,
	};
	static struct rg_patch patch = { .hooks = &hook, .nr = 1 };
	bool good;
	int rc;

	patch.ips[0] = rg_patch_location((unsigned long)rg_selftest_subject);
	rc = patch.ips[0] ? rg_patch_register(&patch) : -ENODEV;
	if (rc) {
		pr_err("self-test: ftrace refuses a function of our own (%d): expected kernel.ftrace_enabled=1 and a kernel with dynamic ftrace; nothing was touched\n",
		       rc);
		return rc;
	}
	good = rg_selftest_call(RG_SELFTEST_PASS, RG_SELFTEST_PASS + 1, "armed") &&
	       rg_selftest_call(RG_SELFTEST_DIVERT,
				RG_SELFTEST_DIVERT + RG_SELFTEST_ANSWER, "armed");
	rg_patch_unregister(&patch);
	good = good && rg_selftest_call(RG_SELFTEST_DIVERT, RG_SELFTEST_DIVERT + 1,
					"let go");
	return good ? 0 : -EIO;
}
