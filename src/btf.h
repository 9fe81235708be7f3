/* SPDX-License-Identifier: GPL-2.0 */
/* Reads the kernel's own type information (BTF). Builds in user space too. */
#ifndef RG_BTF_H
#define RG_BTF_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
#endif

/* Longest prototype or type that is rendered, in bytes with the NUL. */
#define RG_BTF_TEXT 256

struct rg_btf {
	const u8 *types;
	const char *strs;
	u32 types_len;
	u32 strs_len;
	u32 nr_types;		/* type IDs run from 1 to nr_types */
	u32 *offs;		/* offset of each type in types[] */
	u32 *next;		/* the next type ID whose name hashes alike; 0: none */
	u32 *heads;		/* the first type ID of each hash value */
};

struct rg_btf_member {
	u32 bit_off;		/* from the start of the outermost structure */
	u32 bit_size;		/* 0: not a bit field */
	char type[RG_BTF_TEXT];
};

int rg_btf_open(struct rg_btf *btf, const void *data, size_t size);
void rg_btf_close(struct rg_btf *btf);
int rg_btf_func(const struct rg_btf *btf, const char *name, char *proto);
int rg_btf_member(const struct rg_btf *btf, const char *strct, const char *having,
		  const char *path, struct rg_btf_member *out);

#endif /* RG_BTF_H */
