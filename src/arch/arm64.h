/* SPDX-License-Identifier: GPL-2.0 */
/* What the module has to know of arm64: registers, and how a function is called. */
#ifndef RG_ARCH_ARM64_H
#define RG_ARCH_ARM64_H

#include <linux/ftrace.h>

#include "arm64_call.h"

#define RG_ARCH_HERE RG_ARCH_ARM64

/* Arguments and the instruction pointer of a traced function: AAPCS64, x0 to x7. */
static __always_inline unsigned long rg_compat_arg(struct ftrace_regs *fregs, int n)
{
	return ftrace_regs_get_argument(fregs, n);
}

/*
 * The trampoline loads x0 to x8 from the frame when it returns to the function
 * (arch/arm64/kernel/entry-ftrace.S), whether the handler may change the
 * instruction pointer or not.
 */
static __always_inline void rg_compat_set_arg(struct ftrace_regs *fregs, int n,
					      unsigned long value)
{
	arch_ftrace_regs(fregs)->regs[n] = value;
}

#define rg_compat_set_ip(fregs, ip) \
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)(ip))

#endif /* RG_ARCH_ARM64_H */
