// SPDX-License-Identifier: GPL-2.0
/*
 * rgxbtf: a copy of a BTF file with one thing in it changed, as another kernel
 * would have it, or a corrupt one.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USAGE "usage: rgxbtf IN OUT func NAME | rename NAME | member STRUCT NAME | loop FUNC | magic | cut\n"
#define MAX_TYPES 1000000

enum kinds {
	INT = 1, PTR, ARRAY, STRUCT, UNION, ENUM, FUNC = 12, PROTO, VAR, DATASEC,
	DECL_TAG = 17, ENUM64 = 19
};

struct header {
	uint16_t magic;
	uint8_t version, flags;
	uint32_t hdr_len, type_off, type_len, str_off, str_len;
};

struct type {
	uint32_t name, info, ref;	/* ref: size or type */
	uint32_t more[];
};

static char *data;
static long size;
static struct header *hdr;
static struct type *types[MAX_TYPES];
static unsigned int nr;

static void die(const char *what)
{
	fprintf(stderr, "rgxbtf: %s\n", what);
	exit(1);
}

static unsigned int kind(const struct type *t)
{
	return t->info >> 24 & 0x1f;
}

static const char *name(uint32_t off)
{
	return data + hdr->hdr_len + hdr->str_off + off;
}

static unsigned int words(const struct type *t)
{
	unsigned int n = t->info & 0xffff;

	switch (kind(t)) {
	case INT: case VAR: case DECL_TAG:
		return 1;
	case ARRAY:
		return 3;
	case STRUCT: case UNION: case DATASEC: case ENUM64:
		return 3 * n;
	case ENUM: case PROTO:
		return 2 * n;
	}
	return 0;
}

static void read_in(const char *path)
{
	FILE *f = fopen(path, "rb");
	char *at, *end;

	if (!f)
		die("cannot read the input");
	data = malloc(64 << 20);
	if (!data)
		die("no memory");
	size = fread(data, 1, 64 << 20, f);
	fclose(f);
	hdr = (struct header *)data;
	if (size < (long)sizeof(*hdr) || hdr->magic != 0xeb9f)
		die("the input is not BTF");
	at = data + hdr->hdr_len + hdr->type_off;
	end = at + hdr->type_len;
	for (nr = 1; at < end && nr < MAX_TYPES; nr++) {
		types[nr] = (struct type *)at;
		at += sizeof(struct type) + 4 * words(types[nr]);
	}
}

static struct type *find(unsigned int what, const char *wanted)
{
	unsigned int i;

	for (i = 1; i < nr; i++)
		if (kind(types[i]) == what && !strcmp(name(types[i]->name), wanted))
			return types[i];
	die("no such name in the input");
	return NULL;
}

/* Another prototype than its own. */
static void change_func(const char *func)
{
	struct type *t = find(FUNC, func);
	struct type *own = types[t->ref];
	unsigned int i;

	for (i = 1; i < nr; i++) {
		if (kind(types[i]) == PROTO && (types[i]->info & 0xffff) > 4 &&
		    types[i]->ref != own->ref) {
			t->ref = i;
			return;
		}
	}
	die("no other prototype");
}

static void change_member(const char *strct, const char *member)
{
	struct type *t = find(STRUCT, strct);
	unsigned int i;

	for (i = 0; i < (t->info & 0xffff); i++) {
		if (strcmp(name(t->more[3 * i]), member))
			continue;
		t->more[3 * i + 1] = t->more[3 * i + 1] == 1 ? 2 : 1;
		return;
	}
	die("no such member");
}

/* A pointer to itself: the one that a function returns, or else its first argument. */
static void change_loop(const char *name)
{
	struct type *proto = types[find(FUNC, name)->ref];
	unsigned int id = proto->ref;

	if (!id || kind(types[id]) != PTR)
		id = proto->more[1];
	if (!id || kind(types[id]) != PTR)
		die("no pointer in its prototype");
	types[id]->ref = id;
}

/* 0: the words make no sense. */
static int change(int argc, char **argv)
{
	if (!strcmp(argv[0], "func") && argc == 2)
		change_func(argv[1]);
	else if (!strcmp(argv[0], "rename") && argc == 2)
		find(FUNC, argv[1])->name++;
	else if (!strcmp(argv[0], "member") && argc == 3)
		change_member(argv[1], argv[2]);
	else if (!strcmp(argv[0], "loop") && argc == 2)
		change_loop(argv[1]);
	else if (!strcmp(argv[0], "magic") && argc == 1)
		hdr->magic ^= 1;
	else if (!strcmp(argv[0], "cut") && argc == 1)
		size /= 2;
	else
		return 0;
	return 1;
}

int main(int argc, char **argv)
{
	FILE *f;

	if (argc < 4) {
		fputs(USAGE, stderr);
		return 2;
	}
	read_in(argv[1]);
	if (!change(argc - 3, argv + 3)) {
		fputs(USAGE, stderr);
		return 2;
	}
	f = fopen(argv[2], "wb");
	if (!f || fwrite(data, 1, size, f) != (size_t)size || fclose(f))
		die("cannot write the output");
	return 0;
}
