/* SPDX-License-Identifier: GPL-2.0 */
/* What the module has to know of x86: registers, and how a function is called. */
#ifndef RG_ARCH_X86_H
#define RG_ARCH_X86_H

#include <linux/ftrace.h>
#include <linux/static_call.h>

#define RG_ARCH_HERE RG_ARCH_X86

/*
 * Arguments and the instruction pointer of a traced function. 94d095ffa0e1
 * (v6.2) gave struct ftrace_regs accessors; before it there were the plain
 * registers and a setter of another name (0ef86097f127 renamed it).
 */
#ifdef ftrace_instruction_pointer_set
static inline unsigned long rg_compat_arg(struct ftrace_regs *fregs, int n)
{
	const struct pt_regs *regs = &fregs->regs;

	switch (n) {
	case 0:
		return regs->di;
	case 1:
		return regs->si;
	default:
		return regs->dx;
	}
}

#define rg_compat_set_ip(fregs, ip) \
	ftrace_instruction_pointer_set(fregs, (unsigned long)(ip))
#else
static inline unsigned long rg_compat_arg(struct ftrace_regs *fregs, int n)
{
	switch (n) {
	case 0:
		return ftrace_regs_get_argument(fregs, 0);
	case 1:
		return ftrace_regs_get_argument(fregs, 1);
	default:
		return ftrace_regs_get_argument(fregs, 2);
	}
}

#define rg_compat_set_ip(fregs, ip) \
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)(ip))
#endif

/*
 * A call of a function that is not exported: a static call, which is a direct one.
 * With IBT a function whose address is never taken has no landing pad for another.
 */
#define RG_CALL_DEFINE(name, fn)	DEFINE_STATIC_CALL_NULL(name, fn)
#define rg_call(name)			static_call(name)
#define rg_arch_call_aim(name, addr) \
	static_call_update(name, (typeof(&STATIC_CALL_TRAMP(name)))(addr))

#endif /* RG_ARCH_X86_H */
