// SPDX-License-Identifier: GPL-2.0
/*
 * Finds the kernel's own symbol table (kallsyms) in its data, and reads it.
 *
 * Nothing points to it in a stripped image, but it is told by its form, which
 * scripts/kallsyms.c writes: the number of symbols, their names, packed; a
 * marker for each 256th name; 256 tokens as text, and where each begins. Each
 * part checks another: what is taken fits together from end to end.
 */
#include <string.h>

#include "image.h"

#define RG_TOKENS		256
#define RG_TOKEN_MOST		64	/* a token is a few characters */
#define RG_MARKED		256	/* names to a marker */
#define RG_SYMBOLS_MOST		(4u << 20)
#define RG_NAMES_MOST		(64u << 20)
#define RG_ALIGNS		2

struct rg_kallsyms {
	struct rg_part data;
	size_t tokens;		/* offset of the token table */
	size_t index;		/* of where each begins in it */
	size_t names;
	u32 nr;
	struct rg_symbols *symbols;
};

static u32 rg_token_start(const struct rg_kallsyms *ks, int token)
{
	return rg_get_u16(ks->data.at + ks->index + 2 * token);
}

/* Do 256 numbers that grow by little stand here, the first of them 0? */
static bool rg_kallsyms_is_index(const struct rg_kallsyms *ks)
{
	u32 last = 0, now;
	int i;

	if (rg_token_start(ks, 0))
		return false;
	for (i = 1; i < RG_TOKENS && rg_work(ks->symbols, 1); i++) {
		now = rg_token_start(ks, i);
		if (now < last + 2 || now > last + RG_TOKEN_MOST)
			return false;
		last = now;
	}
	return i == RG_TOKENS;
}

/* Do the tokens' texts stand at @tokens, as the index has them? */
static bool rg_kallsyms_are_tokens(const struct rg_kallsyms *ks)
{
	const u8 *at = ks->data.at + ks->tokens;
	size_t room = ks->index - ks->tokens;
	const u8 *end;
	int i;

	for (i = 1; i < RG_TOKENS; i++)
		if (at[rg_token_start(ks, i) - 1])
			return false;
	/* A token has no NUL inside: each but the last ends where the next begins. */
	for (i = 0; i < RG_TOKENS - 1; i++)
		if (memchr(at + rg_token_start(ks, i), '\0',
			   rg_token_start(ks, i + 1) - 1 - rg_token_start(ks, i)))
			return false;
	end = memchr(at + rg_token_start(ks, RG_TOKENS - 1), '\0',
		     room - rg_token_start(ks, RG_TOKENS - 1));
	/* Behind the last one there is but padding. */
	for (i = 0; end && end + i < ks->data.at + ks->index; i++)
		if (end[i])
			return false;
	return end && i <= 8;
}

static bool rg_kallsyms_find_tokens(struct rg_kallsyms *ks)
{
	size_t least = rg_token_start(ks, RG_TOKENS - 1) + 2;
	size_t back;

	for (back = least; back < least + RG_TOKEN_MOST + 8 && back <= ks->index; back++) {
		ks->tokens = ks->index - back;
		if (!rg_work(ks->symbols, RG_TOKENS))
			return false;
		if (!(ks->tokens % 4) && rg_kallsyms_are_tokens(ks))
			return true;
	}
	return false;
}

/* The length of a name's bytes, and of that length itself: ULEB128, two bytes at the most. */
static bool rg_kallsyms_length(const struct rg_kallsyms *ks, size_t *at, u32 *len)
{
	const u8 *byte = ks->data.at + *at;

	if (*at + 2 > ks->tokens)
		return false;
	*len = byte[0] & 0x7f;
	(*at)++;
	if (byte[0] & 0x80) {
		*len |= (u32)byte[1] << 7;
		(*at)++;
	}
	return *len && *len <= ks->tokens - *at;
}

/* The names are walked from end to end, and the markers behind them must say the same. */
static bool rg_kallsyms_fits(struct rg_kallsyms *ks, size_t align)
{
	size_t at = ks->names, second = 0, markers;
	u32 i, len;

	for (i = 0; i < ks->nr; i++) {
		if (i == RG_MARKED)
			second = at - ks->names;
		if (!rg_work(ks->symbols, 1) || !rg_kallsyms_length(ks, &at, &len))
			return false;
		at += len;
	}
	markers = (at + align - 1) / align * align;
	return markers + 8 <= ks->tokens && !rg_get_u32(ks->data.at + markers) &&
	       rg_get_u32(ks->data.at + markers + 4) == second;
}

/* The number of symbols stands before the names, at the same alignment. */
static bool rg_kallsyms_find_names(struct rg_kallsyms *ks)
{
	static const size_t aligns[RG_ALIGNS] = { 8, 4 };
	size_t lowest = ks->tokens > RG_NAMES_MOST ? ks->tokens - RG_NAMES_MOST : 0;
	size_t at;
	int i;

	for (at = ks->tokens & ~(size_t)3; at >= lowest + 4 && rg_work(ks->symbols, 1); at -= 4) {
		ks->nr = rg_get_u32(ks->data.at + at - 4);
		if (ks->nr <= RG_MARKED || ks->nr > RG_SYMBOLS_MOST || ks->nr > ks->tokens - at)
			continue;
		for (i = 0; i < RG_ALIGNS; i++) {
			ks->names = at - 4 + aligns[i];
			if ((at - 4) % aligns[i] || ks->names >= ks->tokens ||
			    (aligns[i] == 8 && rg_get_u32(ks->data.at + at)))
				continue;
			if (rg_kallsyms_fits(ks, aligns[i]))
				return true;
		}
	}
	return false;
}

/* The text of a name, the symbol's type first. */
static size_t rg_kallsyms_expand(const struct rg_kallsyms *ks, size_t at, u32 len, char *name)
{
	const char *token;
	size_t size = 0, more;
	u32 i;

	for (i = 0; i < len; i++) {
		token = (const char *)ks->data.at + ks->tokens +
			rg_token_start(ks, ks->data.at[at + i]);
		more = strlen(token);
		if (size + more > RG_NAME_MOST)
			return 0;
		memcpy(name + size, token, more);
		size += more;
	}
	return size;
}

static void rg_kallsyms_note(const struct rg_kallsyms *ks, struct rg_symbols *symbols)
{
	char name[RG_NAME_MOST];
	size_t at = ks->names, size;
	u32 i, len;

	for (i = 0; i < ks->nr && rg_kallsyms_length(ks, &at, &len); i++, at += len) {
		size = rg_kallsyms_expand(ks, at, len, name);
		if (size > 1)
			rg_symbols_note(symbols, name + 1, size - 1);
		if (size && strchr("DdBb", name[0]))
			symbols->complete = true;
	}
	symbols->known = true;
}

/**
 * rg_kallsyms_read - count the targets in a kernel's symbol table
 * @data: the kernel's read-only data, or all of it
 * @symbols: receives the counts
 *
 * Context: User space.
 * Return: true if there is such a table.
 */
bool rg_kallsyms_read(struct rg_part data, struct rg_symbols *symbols)
{
	struct rg_kallsyms ks = { .data = data, .symbols = symbols };

	for (ks.index = 0; ks.index + 2 * RG_TOKENS <= data.size; ks.index += 4) {
		if (!rg_work(symbols, 1))
			return false;
		if (rg_kallsyms_is_index(&ks) && rg_kallsyms_find_tokens(&ks) &&
		    rg_kallsyms_find_names(&ks)) {
			rg_kallsyms_note(&ks, symbols);
			return true;
		}
	}
	return false;
}
