/* SPDX-License-Identifier: GPL-2.0 */
/* Reads kernel images, trusting nothing in them. */
#ifndef RG_IMAGE_H
#define RG_IMAGE_H

#include "../targets.h"

/* A part of an image; @at points into its data. */
struct rg_part {
	const u8 *at;
	size_t size;
};

/* How many symbols have a target's name, and one that the compiler made of it. */
struct rg_symbol_count {
	u32 exact;
	char variant[64];	/* such as pcie_flr.isra.0 */
	bool traced;		/* ftrace can reach it */
};

struct rg_symbols {
	bool known;		/* the image tells of its symbols */
	bool complete;		/* of its variables, too (CONFIG_KALLSYMS_ALL) */
	bool traced_known;	/* only of the running kernel */
	u32 total;
	u64 work;		/* that was spent on finding them */
	struct rg_symbol_count of[RG_NR_TARGETS];
};

struct rg_image {
	u8 *data;		/* unpacked */
	size_t size;
	enum rg_arch arch;	/* RG_ARCH_ANY: another one */
	const char *format;	/* how it was packed, for people */
	char release[80];	/* as uname -r will say; empty: not found */
	struct rg_part btf;
	struct rg_symbols symbols;
};

/* All return an exit code and, unless it is 0, a reason in @why. */
#define RG_WHY 256

int rg_image_read(struct rg_image *image, const char *path, char *why);
int rg_image_parse(struct rg_image *image, u8 *data, size_t size, char *why);
void rg_image_free(struct rg_image *image);

int rg_unpack(struct rg_part packed, bool trailer, struct rg_part *unpacked, char *why);
const char *rg_unpack_format(struct rg_part packed);

bool rg_is_elf(struct rg_part file);
int rg_elf_read(struct rg_image *image, char *why);

#define RG_NAME_MOST 512	/* KSYM_NAME_LEN */

void rg_symbols_note(struct rg_symbols *symbols, const char *name, size_t len);
void rg_symbols_note_traced(struct rg_symbols *symbols, const char *name, size_t len);
bool rg_kallsyms_read(struct rg_part data, struct rg_symbols *symbols);

/* A kernel takes a tenth of it. A made-up image shall end, too: all its parts share it. */
#define RG_WORK_MOST (256u << 20)

static inline bool rg_work(struct rg_symbols *symbols, u64 steps)
{
	symbols->work += steps;
	return symbols->work <= RG_WORK_MOST;
}

static inline u16 rg_get_u16(const u8 *at)
{
	return at[0] | at[1] << 8;
}

static inline u32 rg_get_u32(const u8 *at)
{
	return rg_get_u16(at) | (u32)rg_get_u16(at + 2) << 16;
}

static inline u64 rg_get_u64(const u8 *at)
{
	return rg_get_u32(at) | (u64)rg_get_u32(at + 4) << 32;
}

/* The part of @whole at @off; empty where it does not lie inside. */
static inline struct rg_part rg_part_of(struct rg_part whole, u64 off, u64 size)
{
	struct rg_part part = { };

	if (off <= whole.size && size <= whole.size - off) {
		part.at = whole.at + off;
		part.size = size;
	}
	return part;
}

#endif /* RG_IMAGE_H */
