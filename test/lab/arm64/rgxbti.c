// SPDX-License-Identifier: GPL-2.0
/*
 * rgxbti: whether the module's calls hold where branches have to meet landing pads.
 *
 * Debian's arm64 kernels are not built with BTI, so it is shown in user space, with
 * the module's own stub: a page that is guarded gets a function without a landing
 * pad, which is called through the stub and then, to see that the page is guarded at
 * all, by an ordinary branch to a register.
 *
 *   rgxbti     prints what the two calls gave; exits with 0 if the first came back
 *              and the second was refused
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/cdefs.h>
#include <sys/mman.h>

#define __used __attribute_used__
#define WRITE_ONCE(x, val) __atomic_store_n(&(x), val, __ATOMIC_RELAXED)

#include "../../../src/arch/arm64_call.h"

#ifndef PROT_BTI
#define PROT_BTI 0x10
#endif
#ifndef HWCAP2_BTI
#define HWCAP2_BTI (1 << 17)
#endif

#define ANSWER 42
#define PAGE 4096

typedef int answer_fn(void);

/* mov w0, #42; ret */
static const unsigned int code[] = { 0x52800540, 0xd65f03c0 };

static sigjmp_buf back;

RG_CALL_DEFINE(call_answer, answer_fn);

static void refused(int number)
{
	siglongjmp(back, number);
}

static void *guarded(void)
{
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	if (page == MAP_FAILED)
		return NULL;
	memcpy(page, code, sizeof(code));
	__builtin___clear_cache(page, (char *)page + sizeof(code));
	return mprotect(page, PAGE, PROT_READ | PROT_EXEC | PROT_BTI) ? NULL : page;
}

/* The signal that the call ended in, or 0. */
static int attempt(answer_fn *fn, int *answer)
{
	int number = sigsetjmp(back, 1);

	*answer = 0;
	if (!number)
		*answer = fn();
	return number;
}

int main(void)
{
	int by_stub, by_branch, stub_signal, branch_signal;
	void *page;

	if (!(getauxval(AT_HWCAP2) & HWCAP2_BTI)) {
		fprintf(stderr, "rgxbti: this CPU has no BTI\n");
		return 2;
	}
	page = guarded();
	if (!page) {
		perror("rgxbti: a guarded page");
		return 2;
	}
	signal(SIGILL, refused);
	rg_arch_call_aim(call_answer, page);
	stub_signal = attempt(rg_call(call_answer), &by_stub);
	branch_signal = attempt((answer_fn *)page, &by_branch);
	printf("stub=%d signal=%d branch=%d signal=%d\n", by_stub, stub_signal, by_branch,
	       branch_signal);
	return by_stub != ANSWER || stub_signal || branch_signal != SIGILL;
}
