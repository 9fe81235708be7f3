// SPDX-License-Identifier: GPL-2.0
/*
 * Reads function prototypes and member offsets from BTF, trusting nothing in it.
 *
 * One pass over the types checks their bounds, notes where each begins and
 * hashes the names of functions and structures, so that judging a whole table
 * costs one pass and not one per name. References between types are checked
 * where they are followed. A reference may form a loop in a corrupt file, so
 * everything that follows one has a limit.
 */
#include "btf.h"

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/limits.h>
#include <linux/string.h>
#include <linux/vmalloc.h>
#define rg_btf_alloc(size)	vmalloc(size)
#define rg_btf_free(ptr)	vfree(ptr)
#else
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#define rg_btf_alloc(size)	malloc(size)
#define rg_btf_free(ptr)	free(ptr)
#define U32_MAX			UINT32_MAX
#endif

#define RG_BTF_MAGIC		0xeb9f
#define RG_BTF_VERSION		1
#define RG_BTF_HDR_LEN		24	/* of version 1; newer writers append to it */
#define RG_BTF_TYPE_LEN		12
#define RG_BTF_MEMBER_LEN	12
#define RG_BTF_PARAM_LEN	8
#define RG_BTF_NR_HEADS		8192
#define RG_BTF_MAX_DEPTH	16	/* of nested types; the kernel's stack is small */
#define RG_BTF_MAX_CHAIN	32	/* of typedefs and qualifiers */
#define RG_BTF_MAX_VISITS	65536	/* members looked at for one path */

enum rg_btf_kind {
	RG_BTF_VOID,
	RG_BTF_INT,
	RG_BTF_PTR,
	RG_BTF_ARRAY,
	RG_BTF_STRUCT,
	RG_BTF_UNION,
	RG_BTF_ENUM,
	RG_BTF_FWD,
	RG_BTF_TYPEDEF,
	RG_BTF_VOLATILE,
	RG_BTF_CONST,
	RG_BTF_RESTRICT,
	RG_BTF_FUNC,
	RG_BTF_FUNC_PROTO,
	RG_BTF_VAR,
	RG_BTF_DATASEC,
	RG_BTF_FLOAT,
	RG_BTF_DECL_TAG,
	RG_BTF_TYPE_TAG,
	RG_BTF_ENUM64,
	RG_BTF_NR_KINDS
};

#define RG_BTF_BIT(kind)	(1u << (kind))
#define RG_BTF_QUALIFIERS	(RG_BTF_BIT(RG_BTF_CONST) | \
				 RG_BTF_BIT(RG_BTF_VOLATILE) | \
				 RG_BTF_BIT(RG_BTF_RESTRICT) | \
				 RG_BTF_BIT(RG_BTF_TYPE_TAG))
#define RG_BTF_RECORDS		(RG_BTF_BIT(RG_BTF_STRUCT) | \
				 RG_BTF_BIT(RG_BTF_UNION))

/* What follows the common part of each kind: so much, and so much per element. */
static const struct {
	u8 fixed;
	u8 each;
} rg_btf_extra[RG_BTF_NR_KINDS] = {
	[RG_BTF_INT]		= { 4, 0 },
	[RG_BTF_ARRAY]		= { 12, 0 },
	[RG_BTF_STRUCT]		= { 0, RG_BTF_MEMBER_LEN },
	[RG_BTF_UNION]		= { 0, RG_BTF_MEMBER_LEN },
	[RG_BTF_ENUM]		= { 0, 8 },
	[RG_BTF_FUNC_PROTO]	= { 0, RG_BTF_PARAM_LEN },
	[RG_BTF_VAR]		= { 4, 0 },
	[RG_BTF_DATASEC]	= { 0, 12 },
	[RG_BTF_DECL_TAG]	= { 4, 0 },
	[RG_BTF_ENUM64]		= { 0, 12 },
};

struct rg_btf_type {
	const char *name;	/* never NULL */
	const u8 *extra;
	u32 kind;
	u32 vlen;
	u32 ref;		/* a type ID or a size, depending on the kind */
	bool kflag;
};

struct rg_btf_render {
	const struct rg_btf *btf;
	char *text;
	u32 len;
	u32 depth;
	int err;		/* the first error; nothing is written after it */
};

struct rg_btf_walk {
	const struct rg_btf *btf;
	u64 bit_off;
	u32 bit_size;
	u32 type;
	u32 visits;
};

/* The data may be unaligned: it can be part of a file. */
static u32 rg_btf_u32(const u8 *at)
{
	u32 val;

	memcpy(&val, at, sizeof(val));
	return val;
}

static const char *rg_btf_str(const struct rg_btf *btf, u32 off)
{
	return off < btf->strs_len ? btf->strs + off : NULL;
}

static u32 rg_btf_hash(const char *name)
{
	u32 hash = 2166136261u;

	while (*name)
		hash = (hash ^ (u8)*name++) * 16777619u;
	return (hash ^ hash >> 16) % RG_BTF_NR_HEADS;
}

/* Writers before Linux 7.x use fewer bits of info, and leave the others zero. */
static void rg_btf_decode(const struct rg_btf *btf, u32 off,
			  struct rg_btf_type *type)
{
	const u8 *at = btf->types + off;
	u32 info = rg_btf_u32(at + 4);

	type->name = rg_btf_str(btf, rg_btf_u32(at));
	type->extra = at + RG_BTF_TYPE_LEN;
	type->kind = info >> 24 & 0x7f;
	type->vlen = info & 0xffffff;
	type->ref = rg_btf_u32(at + 8);
	type->kflag = info >> 31;
}

/* False when there is no type of that ID; ID 0 is void. */
static bool rg_btf_get(const struct rg_btf *btf, u32 id,
		       struct rg_btf_type *type)
{
	if (id > btf->nr_types)
		return false;
	if (!id)
		*type = (struct rg_btf_type){ .name = "void" };
	else
		rg_btf_decode(btf, btf->offs[id], type);
	return true;
}

/* Length of the type at @off, or 0 if it is not a whole and known type. */
static u32 rg_btf_type_len(const struct rg_btf *btf, u32 off)
{
	u32 left = btf->types_len - off;
	struct rg_btf_type type;
	u32 len;

	if (left < RG_BTF_TYPE_LEN)
		return 0;
	rg_btf_decode(btf, off, &type);
	if (!type.name || type.kind == RG_BTF_VOID ||
	    type.kind >= RG_BTF_NR_KINDS)
		return 0;
	len = RG_BTF_TYPE_LEN + rg_btf_extra[type.kind].fixed +
	      rg_btf_extra[type.kind].each * type.vlen;
	return len <= left ? len : 0;
}

static void rg_btf_hash_type(struct rg_btf *btf, u32 id)
{
	struct rg_btf_type type;
	u32 *head;

	rg_btf_decode(btf, btf->offs[id], &type);
	if (type.kind != RG_BTF_FUNC &&
	    !(RG_BTF_BIT(type.kind) & RG_BTF_RECORDS))
		return;
	head = &btf->heads[rg_btf_hash(type.name)];
	btf->next[id] = *head;
	*head = id;
}

static int rg_btf_index(struct rg_btf *btf)
{
	u32 off, len;

	for (off = 0; off < btf->types_len; off += len) {
		len = rg_btf_type_len(btf, off);
		if (!len)
			return -EINVAL;
		btf->offs[++btf->nr_types] = off;
		rg_btf_hash_type(btf, btf->nr_types);
	}
	return 0;
}

static bool rg_btf_within(u64 start, u64 len, size_t size)
{
	return start <= size && len <= size - start;
}

static int rg_btf_header(struct rg_btf *btf, const u8 *data, size_t size)
{
	u64 hdr_len, types, strs;

	if (size < RG_BTF_HDR_LEN ||
	    (data[0] | data[1] << 8) != RG_BTF_MAGIC ||
	    data[2] != RG_BTF_VERSION)
		return -EINVAL;
	hdr_len = rg_btf_u32(data + 4);
	types = hdr_len + rg_btf_u32(data + 8);
	btf->types_len = rg_btf_u32(data + 12);
	strs = hdr_len + rg_btf_u32(data + 16);
	btf->strs_len = rg_btf_u32(data + 20);
	if (hdr_len < RG_BTF_HDR_LEN || !btf->strs_len ||
	    !rg_btf_within(types, btf->types_len, size) ||
	    !rg_btf_within(strs, btf->strs_len, size))
		return -EINVAL;
	btf->types = data + types;
	btf->strs = (const char *)data + strs;
	/* So every string that begins inside the section ends inside it. */
	return btf->strs[btf->strs_len - 1] ? -EINVAL : 0;
}

/**
 * rg_btf_open - check and index a BTF blob
 * @btf: the reader, to be released with rg_btf_close()
 * @data: the blob, which must outlive the reader
 * @size: its size in bytes
 *
 * Context: May sleep.
 * Return: 0, -EINVAL if the blob is not a whole and known BTF of this machine's
 * byte order, -ENOMEM.
 */
int rg_btf_open(struct rg_btf *btf, const void *data, size_t size)
{
	size_t max, words;
	int err;

	memset(btf, 0, sizeof(*btf));
	err = rg_btf_header(btf, data, size);
	if (err)
		return err;

	max = btf->types_len / RG_BTF_TYPE_LEN + 1;
	words = 2 * max + RG_BTF_NR_HEADS;
	btf->offs = rg_btf_alloc(words * sizeof(*btf->offs));
	if (!btf->offs)
		return -ENOMEM;
	memset(btf->offs, 0, words * sizeof(*btf->offs));
	btf->next = btf->offs + max;
	btf->heads = btf->next + max;

	err = rg_btf_index(btf);
	if (err)
		rg_btf_close(btf);
	return err;
}

/**
 * rg_btf_close - release what rg_btf_open() allocated
 * @btf: the reader; closing twice is harmless
 *
 * Context: May sleep.
 */
void rg_btf_close(struct rg_btf *btf)
{
	rg_btf_free(btf->offs);
	memset(btf, 0, sizeof(*btf));
}

/* The next type after @id (0: the first) of that name and one of @kinds. */
static u32 rg_btf_find(const struct rg_btf *btf, u32 id, const char *name,
		       u32 kinds)
{
	struct rg_btf_type type;

	id = id ? btf->next[id] : btf->heads[rg_btf_hash(name)];
	for (; id; id = btf->next[id]) {
		rg_btf_decode(btf, btf->offs[id], &type);
		if ((RG_BTF_BIT(type.kind) & kinds) &&
		    !strcmp(type.name, name))
			return id;
	}
	return 0;
}

/* Skips @kinds; U32_MAX, which no type has, if that leads nowhere. */
static u32 rg_btf_skip(const struct rg_btf *btf, u32 id, u32 kinds)
{
	struct rg_btf_type type;
	int i;

	for (i = 0; i < RG_BTF_MAX_CHAIN; i++) {
		if (!rg_btf_get(btf, id, &type))
			return U32_MAX;
		if (!(RG_BTF_BIT(type.kind) & kinds))
			return id;
		id = type.ref;
	}
	return U32_MAX;
}

static void rg_btf_put(struct rg_btf_render *r, const char *text)
{
	size_t len = strlen(text);

	if (r->err)
		return;
	if (len >= RG_BTF_TEXT - r->len) {
		r->err = -E2BIG;
		return;
	}
	memcpy(r->text + r->len, text, len + 1);
	r->len += len;
}

/* A space, unless what follows clings to what is there. */
static void rg_btf_space(struct rg_btf_render *r)
{
	char last = r->len ? r->text[r->len - 1] : '(';

	if (last != '*' && last != '(' && last != ' ')
		rg_btf_put(r, " ");
}

static void rg_btf_put_number(struct rg_btf_render *r, u32 val)
{
	char text[11];
	char *at = text + sizeof(text) - 1;

	*at = '\0';
	do {
		*--at = '0' + val % 10;
		val /= 10;
	} while (val);
	rg_btf_put(r, at);
}

static void rg_btf_put_named(struct rg_btf_render *r, const char *keyword,
			     const char *name)
{
	rg_btf_put(r, keyword);
	rg_btf_put(r, *name ? name : "(anonymous)");
}

/* Is @id, but for qualifiers, one of @kinds? */
static bool rg_btf_is(const struct rg_btf *btf, u32 id, u32 kinds)
{
	struct rg_btf_type type;

	id = rg_btf_skip(btf, id, RG_BTF_QUALIFIERS);
	return rg_btf_get(btf, id, &type) && (RG_BTF_BIT(type.kind) & kinds);
}

/* In C a pointer to one of these needs parentheses. */
static bool rg_btf_binds(const struct rg_btf *btf, u32 id)
{
	return rg_btf_is(btf, id, RG_BTF_BIT(RG_BTF_ARRAY) |
				  RG_BTF_BIT(RG_BTF_FUNC_PROTO));
}

static bool rg_btf_enter(struct rg_btf_render *r, u32 id,
			 struct rg_btf_type *type)
{
	if (r->err)
		return false;
	if (r->depth >= RG_BTF_MAX_DEPTH || !rg_btf_get(r->btf, id, type)) {
		r->err = -EINVAL;
		return false;
	}
	r->depth++;
	return true;
}

static void rg_btf_left(struct rg_btf_render *r, u32 id);
static void rg_btf_right(struct rg_btf_render *r, u32 id);

static void rg_btf_left_pointer(struct rg_btf_render *r, u32 target)
{
	rg_btf_left(r, target);
	rg_btf_space(r);
	rg_btf_put(r, rg_btf_binds(r->btf, target) ? "(*" : "*");
}

static void rg_btf_left_qualifier(struct rg_btf_render *r, u32 target,
				  const char *word)
{
	if (rg_btf_is(r->btf, target, RG_BTF_BIT(RG_BTF_PTR))) {
		rg_btf_left(r, target);
		rg_btf_space(r);
		rg_btf_put(r, word);
	} else {
		rg_btf_put(r, word);
		rg_btf_space(r);
		rg_btf_left(r, target);
	}
}

/* Writes the part of a type that in C stands before what it declares. */
static void rg_btf_left(struct rg_btf_render *r, u32 id)
{
	struct rg_btf_type type;

	if (!rg_btf_enter(r, id, &type))
		return;
	switch (type.kind) {
	case RG_BTF_VOID:
	case RG_BTF_INT:
	case RG_BTF_FLOAT:
	case RG_BTF_TYPEDEF:
		rg_btf_put_named(r, "", type.name);
		break;
	case RG_BTF_STRUCT:
		rg_btf_put_named(r, "struct ", type.name);
		break;
	case RG_BTF_UNION:
		rg_btf_put_named(r, "union ", type.name);
		break;
	case RG_BTF_FWD:
		rg_btf_put_named(r, type.kflag ? "union " : "struct ", type.name);
		break;
	case RG_BTF_ENUM:
	case RG_BTF_ENUM64:
		rg_btf_put_named(r, "enum ", type.name);
		break;
	case RG_BTF_PTR:
		rg_btf_left_pointer(r, type.ref);
		break;
	case RG_BTF_CONST:
		rg_btf_left_qualifier(r, type.ref, "const");
		break;
	case RG_BTF_VOLATILE:
		rg_btf_left_qualifier(r, type.ref, "volatile");
		break;
	case RG_BTF_RESTRICT:
		rg_btf_left_qualifier(r, type.ref, "restrict");
		break;
	case RG_BTF_ARRAY:
		rg_btf_left(r, rg_btf_u32(type.extra));
		break;
	case RG_BTF_FUNC_PROTO:
	case RG_BTF_TYPE_TAG:
		rg_btf_left(r, type.ref);
		break;
	default:
		r->err = -EINVAL;
	}
	r->depth--;
}

static void rg_btf_type_text(struct rg_btf_render *r, u32 id)
{
	rg_btf_left(r, id);
	if (rg_btf_is(r->btf, id, RG_BTF_BIT(RG_BTF_FUNC_PROTO)))
		rg_btf_space(r);
	rg_btf_right(r, id);
}

static void rg_btf_params(struct rg_btf_render *r,
			  const struct rg_btf_type *proto)
{
	const u8 *param = proto->extra;
	u32 i, id;

	rg_btf_put(r, proto->vlen ? "(" : "(void");
	for (i = 0; i < proto->vlen && !r->err; i++) {
		id = rg_btf_u32(param + 4);
		if (i)
			rg_btf_put(r, ", ");
		if (!id && i == proto->vlen - 1)
			rg_btf_put(r, "...");
		else
			rg_btf_type_text(r, id);
		param += RG_BTF_PARAM_LEN;
	}
	rg_btf_put(r, ")");
}

/* Writes the part that stands after what is declared. */
static void rg_btf_right(struct rg_btf_render *r, u32 id)
{
	struct rg_btf_type type;

	if (!rg_btf_enter(r, id, &type))
		return;
	if (RG_BTF_BIT(type.kind) & RG_BTF_QUALIFIERS) {
		rg_btf_right(r, type.ref);
	} else if (type.kind == RG_BTF_PTR) {
		if (rg_btf_binds(r->btf, type.ref))
			rg_btf_put(r, ")");
		rg_btf_right(r, type.ref);
	} else if (type.kind == RG_BTF_FUNC_PROTO) {
		rg_btf_params(r, &type);
		rg_btf_right(r, type.ref);
	} else if (type.kind == RG_BTF_ARRAY) {
		rg_btf_put(r, "[");
		rg_btf_put_number(r, rg_btf_u32(type.extra + 8));
		rg_btf_put(r, "]");
		rg_btf_right(r, rg_btf_u32(type.extra));
	}
	r->depth--;
}

static int rg_btf_text(const struct rg_btf *btf, u32 id, char *text)
{
	struct rg_btf_render r = { .btf = btf, .text = text };

	*text = '\0';
	rg_btf_type_text(&r, id);
	return r.err;
}

static int rg_btf_proto(const struct rg_btf *btf, u32 func, char *text)
{
	struct rg_btf_type type;

	rg_btf_decode(btf, btf->offs[func], &type);
	func = type.ref;
	if (!rg_btf_get(btf, func, &type) || type.kind != RG_BTF_FUNC_PROTO)
		return -EINVAL;
	return rg_btf_text(btf, func, text);
}

/**
 * rg_btf_func - the prototype of a function as C text
 * @btf: the reader
 * @name: the function's name
 * @proto: RG_BTF_TEXT bytes for the text, such as "int (struct pci_dev *)"
 *
 * Type names are kept as the source has them: a typedef is not resolved.
 *
 * Context: Any.
 * Return: 0, -ENOENT if there is no such function, -EEXIST if functions of this
 * name have different prototypes (@proto then has one of them), -E2BIG if the
 * text does not fit, -EINVAL if the BTF is corrupt.
 */
int rg_btf_func(const struct rg_btf *btf, const char *name, char *proto)
{
	u32 kinds = RG_BTF_BIT(RG_BTF_FUNC);
	char other[RG_BTF_TEXT];
	u32 id;
	int err;

	*proto = '\0';
	id = rg_btf_find(btf, 0, name, kinds);
	if (!id)
		return -ENOENT;
	err = rg_btf_proto(btf, id, proto);
	while (!err) {
		id = rg_btf_find(btf, id, name, kinds);
		if (!id)
			break;
		err = rg_btf_proto(btf, id, other);
		if (!err && strcmp(proto, other))
			err = -EEXIST;
	}
	return err;
}

static bool rg_btf_name_is(const char *name, const char *part, size_t len)
{
	return !strncmp(name, part, len) && !name[len];
}

static int rg_btf_field(struct rg_btf_walk *w, u32 record, const char *name,
			size_t len, int depth);

/* Is this the member, or is it inside this anonymous member? */
static int rg_btf_try_field(struct rg_btf_walk *w, const u8 *member, bool kflag,
			    const char *name, size_t len, int depth)
{
	const char *found = rg_btf_str(w->btf, rg_btf_u32(member));
	u32 type = rg_btf_u32(member + 4);
	u32 off = rg_btf_u32(member + 8);
	u32 bit_size = kflag ? off >> 24 : 0;
	int err;

	if (!found || ++w->visits > RG_BTF_MAX_VISITS)
		return -EINVAL;
	if (kflag)
		off &= 0xffffff;
	if (!*found && !bit_size) {
		err = rg_btf_field(w, type, name, len, depth + 1);
		if (err)
			return err;
	} else if (rg_btf_name_is(found, name, len)) {
		w->type = type;
		w->bit_size = bit_size;
	} else {
		return -ENOENT;
	}
	w->bit_off += off;
	return 0;
}

/* Finds a member by name; adds its offset within @record to the walk's. */
static int rg_btf_field(struct rg_btf_walk *w, u32 record, const char *name,
			size_t len, int depth)
{
	u32 skip = RG_BTF_QUALIFIERS | RG_BTF_BIT(RG_BTF_TYPEDEF);
	struct rg_btf_type type;
	int err = -ENOENT;
	u32 i;

	record = rg_btf_skip(w->btf, record, skip);
	if (depth >= RG_BTF_MAX_DEPTH || !rg_btf_get(w->btf, record, &type))
		return -EINVAL;
	if (!(RG_BTF_BIT(type.kind) & RG_BTF_RECORDS))
		return -ENOENT;
	for (i = 0; i < type.vlen && err == -ENOENT; i++)
		err = rg_btf_try_field(w, type.extra + i * RG_BTF_MEMBER_LEN,
				       type.kflag, name, len, depth);
	return err;
}

static int rg_btf_path(const struct rg_btf *btf, u32 record, const char *path,
		       struct rg_btf_member *out)
{
	struct rg_btf_walk w = { .btf = btf, .type = record };
	size_t len;
	int err;

	for (;; path += len + 1) {
		len = strcspn(path, ".");
		if (!len || w.bit_size)
			return -ENOENT;
		err = rg_btf_field(&w, w.type, path, len, 0);
		if (err)
			return err;
		if (!path[len])
			break;
	}
	if (w.bit_off > U32_MAX)
		return -EINVAL;
	out->bit_off = w.bit_off;
	out->bit_size = w.bit_size;
	return rg_btf_text(btf, w.type, out->type);
}

static bool rg_btf_same(const struct rg_btf_member *a,
			const struct rg_btf_member *b)
{
	return a->bit_off == b->bit_off && a->bit_size == b->bit_size &&
	       !strcmp(a->type, b->type);
}

/* The next structure of a name, of those that have the member @having where it is given. */
static int rg_btf_record(const struct rg_btf *btf, u32 *id, const char *strct,
			 const char *having)
{
	struct rg_btf_member is;
	int err;

	do {
		*id = rg_btf_find(btf, *id, strct, RG_BTF_RECORDS);
		if (!*id)
			return -ENOENT;
		err = having ? rg_btf_path(btf, *id, having, &is) : 0;
	} while (err == -ENOENT);
	return err;
}

/**
 * rg_btf_member - where a member of a structure or union is, and its type
 * @btf: the reader
 * @strct: the structure's name
 * @having: a member by which it is told from others of that name, or NULL
 * @path: the member's name; "a.b" for b of the structure that is member a.
 *        Members of anonymous structures and unions need no component.
 * @out: the answer
 *
 * Context: Any.
 * Return: 0, -ENOENT if there is no such structure or member, -EEXIST if several
 * structures of this name disagree, -E2BIG if the type's text does not fit,
 * -EINVAL if the BTF is corrupt.
 */
int rg_btf_member(const struct rg_btf *btf, const char *strct, const char *having,
		  const char *path, struct rg_btf_member *out)
{
	struct rg_btf_member other;
	u32 id = 0;
	int err, err2;

	memset(out, 0, sizeof(*out));
	err = rg_btf_record(btf, &id, strct, having);
	if (err)
		return err;
	err = rg_btf_path(btf, id, path, out);
	while (!err || err == -ENOENT) {
		err2 = rg_btf_record(btf, &id, strct, having);
		if (err2 == -ENOENT)
			break;
		if (!err2)
			err2 = rg_btf_path(btf, id, path, &other);
		if (err2 != err)
			err = err2 && err2 != -ENOENT ? err2 : -EEXIST;
		else if (!err && !rg_btf_same(out, &other))
			err = -EEXIST;
	}
	return err;
}
