// SPDX-License-Identifier: GPL-2.0
/*
 * Addresses of the kernel's symbols, exported or not.
 *
 * kallsyms_lookup_name() is not exported; a kprobe that is registered by name
 * and removed again tells where it is. It may point behind the landing pad,
 * which a call may skip that is made as arch.h has it, and every call here is.
 */
#include <linux/kprobes.h>

#include "arch.h"
#include "symbols.h"

typedef unsigned long rg_lookup_name_fn(const char *name);
typedef int rg_each_match_fn(int (*fn)(void *data, unsigned long addr),
			     const char *name, void *data);
typedef int rg_lookup_size_fn(unsigned long addr, unsigned long *size,
			      unsigned long *offset);

RG_CALL_DEFINE(rg_call_lookup_name, rg_lookup_name_fn);
RG_CALL_DEFINE(rg_call_each_match, rg_each_match_fn);
RG_CALL_DEFINE(rg_call_lookup_size, rg_lookup_size_fn);

struct rg_symbols_match {
	unsigned long addr;
	unsigned int count;
};

static int rg_symbols_count(void *data, unsigned long addr)
{
	struct rg_symbols_match *match = data;

	match->addr = addr;
	match->count++;
	return 0;
}

/**
 * rg_symbols_init - find the kernel's own symbol look-up
 *
 * Context: Process context, may sleep.
 * Return: 0, or the error of register_kprobe().
 */
int rg_symbols_init(void)
{
	struct kprobe kp = { .symbol_name = "kallsyms_lookup_name" };
	int rc;

	rc = register_kprobe(&kp);
	if (rc) {
		pr_err("no kprobe on kallsyms_lookup_name (%d): symbols cannot be resolved; the kernel needs CONFIG_KPROBES and CONFIG_KALLSYMS\n",
		       rc);
		return rc;
	}
	rg_arch_call_aim(rg_call_lookup_name, kp.addr);
	unregister_kprobe(&kp);
	return 0;
}

/**
 * rg_symbols_lookup - address of a symbol, the first of the name
 * @name: the symbol
 *
 * What BTF itself is found by, so its prototype is the one that is not compared.
 *
 * Context: Process context, after rg_symbols_init().
 * Return: the address, 0 if there is none.
 */
unsigned long rg_symbols_lookup(const char *name)
{
	return rg_call(rg_call_lookup_name)(name);
}

/**
 * rg_symbols_use - what the rest is looked up with
 * @each_match: address of kallsyms_on_each_match_symbol(), judged
 * @lookup_size: address of kallsyms_lookup_size_offset(), judged
 *
 * Context: Process context, after rg_symbols_init().
 */
void rg_symbols_use(unsigned long each_match, unsigned long lookup_size)
{
	rg_arch_call_aim(rg_call_each_match, each_match);
	rg_arch_call_aim(rg_call_lookup_size, lookup_size);
}

/**
 * rg_symbols_find - address of a symbol of the kernel image
 * @name: the symbol
 * @addr: receives its address
 *
 * Context: Process context, after rg_symbols_use().
 * Return: 0, -ENOENT if there is none, -ENOTUNIQ if there are several.
 */
int rg_symbols_find(const char *name, unsigned long *addr)
{
	struct rg_symbols_match match = { };

	rg_call(rg_call_each_match)(rg_symbols_count, name, &match);
	*addr = match.addr;
	if (!match.count)
		return -ENOENT;
	return match.count == 1 ? 0 : -ENOTUNIQ;
}

/**
 * rg_symbols_size - length of a function or object
 * @addr: its address
 *
 * Context: Process context, after rg_symbols_use().
 * Return: the length in bytes, 0 if unknown.
 */
unsigned long rg_symbols_size(unsigned long addr)
{
	unsigned long size = 0, offset;

	if (!rg_call(rg_call_lookup_size)(addr, &size, &offset))
		return 0;
	return size;
}
