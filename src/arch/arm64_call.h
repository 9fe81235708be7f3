/* SPDX-License-Identifier: GPL-2.0 */
/* How arm64 calls a function that is not exported. Builds in user space too. */
#ifndef RG_ARCH_ARM64_CALL_H
#define RG_ARCH_ARM64_CALL_H

/*
 * A call of a function that is not exported. There are no static calls here, and the
 * target is farther than a direct branch reaches (128 MiB), so its address has to be
 * in a register. With BTI a branch to one has to meet a landing pad, and a function
 * whose address is never taken may have none. RET need not: it sets PSTATE.BTYPE to 0
 * whatever register it takes the address from (DDI 0487, PSTATE.BTYPE). So each call
 * is a direct one of a stub of ours that returns into the target, which finds
 * arguments, stack and link register as if it had been called.
 *
 * x16 is for what comes between a caller and a function (AAPCS64, 6.1.1).
 */
#define RG_CALL_DEFINE(name, fn)						\
	static unsigned long __used name##_target;				\
	extern typeof(fn) name##_enter;						\
	asm(".pushsection .text, \"ax\", %progbits\n"				\
	    ".balign 4\n"							\
	    ".type " #name "_enter, %function\n"				\
	    #name "_enter:\n"							\
	    "	adrp	x16, " #name "_target\n"				\
	    "	ldr	x16, [x16, :lo12:" #name "_target]\n"			\
	    "	ret	x16\n"							\
	    ".size " #name "_enter, . - " #name "_enter\n"			\
	    ".popsection\n")
#define rg_call(name)			(name##_enter)
#define rg_arch_call_aim(name, addr) \
	WRITE_ONCE(name##_target, (unsigned long)(addr))

#endif /* RG_ARCH_ARM64_CALL_H */
