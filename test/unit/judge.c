// SPDX-License-Identifier: GPL-2.0
/*
 * rg-judge: compares the target table to a BTF file, without booting anything.
 *
 *   rg-judge FILE.btf              judge every target and member that is meant
 *                                  for the file's architecture
 *   rg-judge --func FILE NAME      print one function's prototype
 *   rg-judge --member FILE STRUCT PATH [HAVING]
 *                                  print one member's bit offset, bits and type;
 *                                  of the structures with the member HAVING
 *   rg-judge --table               print the table's prototypes and types
 *
 * Exit codes: 0 all match, or only what the kernel does without is absent; 1 something
 * differs or is missing; 2 wrong usage or unreadable file; 3 not a valid BTF;
 * 4 --func or --member found nothing; 5 --func or --member found several;
 * 6 the text does not fit.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/targets.h"

enum rg_exit {
	RG_EXIT_OK,
	RG_EXIT_DIFFERS,
	RG_EXIT_USAGE,
	RG_EXIT_CORRUPT,
	RG_EXIT_ABSENT,
	RG_EXIT_SEVERAL,
	RG_EXIT_LONG,
};

static const char *const rg_judge_words[] = {
	[RG_MATCH]	= "match",
	[RG_ABSENT]	= "absent",
	[RG_DIFFERS]	= "differs",
};

static int rg_judge_exit(int err)
{
	switch (err) {
	case 0:
		return RG_EXIT_OK;
	case -ENOENT:
		return RG_EXIT_ABSENT;
	case -EEXIST:
		return RG_EXIT_SEVERAL;
	case -E2BIG:
		return RG_EXIT_LONG;
	default:
		return RG_EXIT_CORRUPT;
	}
}

/* Allocates exactly the file's size, so that the sanitizer sees every overrun. */
static void *rg_judge_read(const char *path, size_t *size)
{
	FILE *file = fopen(path, "rb");
	void *data = NULL;
	long len;

	if (!file)
		return NULL;
	len = fseek(file, 0, SEEK_END) ? -1 : ftell(file);
	if (len >= 0) {
		rewind(file);
		*size = len;
		data = malloc(len ? len : 1);
		if (data && fread(data, 1, len, file) != (size_t)len) {
			free(data);
			data = NULL;
		}
	}
	fclose(file);
	return data;
}

static bool rg_judge_target(const struct rg_btf *btf, enum rg_target_id id)
{
	const struct rg_target *target = &rg_targets[id];
	char found[RG_BTF_TEXT];
	enum rg_verdict verdict = rg_target_judge(btf, id, found);
	bool needed = rg_target_is_needed(btf, id);

	printf("%-8s %-8s %s%s", rg_judge_words[verdict],
	       rg_set_names[target->set], target->name,
	       needed ? "" : " (optional)");
	if (verdict == RG_DIFFERS)
		printf("\n\tfound    %s\n\texpected %s", found, target->proto);
	else if (!target->proto)
		printf(" (not in BTF)");
	putchar('\n');
	return verdict == RG_MATCH || (verdict == RG_ABSENT && !needed);
}

static bool rg_judge_member(const struct rg_btf *btf, enum rg_member_id id)
{
	const struct rg_member *member = &rg_members[id];
	char found[RG_BTF_TEXT];
	u32 off;
	enum rg_verdict verdict = rg_member_judge(btf, id, &off, found);
	bool needed = rg_member_is_needed(btf, id);

	printf("%-8s %-8s %s.%s", rg_judge_words[verdict],
	       rg_set_names[member->set], member->strct, member->path);
	if (verdict == RG_MATCH)
		printf(" at %u", off);
	if (verdict == RG_DIFFERS) {
		printf("\n\tfound    %s\n\texpected %s", found, member->type);
		if (member->at >= 0)
			printf(" at %d", member->at);
	}
	printf("%s\n", verdict == RG_ABSENT && !needed ? " (optional)" : "");
	return verdict == RG_MATCH || (verdict == RG_ABSENT && !needed);
}

/* BTF does not say which architecture it is of; a task's registers do. */
static enum rg_arch rg_judge_arch(const struct rg_btf *btf)
{
	struct rg_btf_member member;

	return rg_btf_member(btf, "pt_regs", NULL, "pstate", &member) ? RG_ARCH_X86 :
									RG_ARCH_ARM64;
}

static int rg_judge_all(const struct rg_btf *btf)
{
	enum rg_arch arch = rg_judge_arch(btf), of;
	bool good = true;
	int i;

	for (i = 0; i < RG_NR_TARGETS; i++) {
		of = rg_set_arches[rg_targets[i].set];
		if (of == RG_ARCH_ANY || of == arch)
			good &= rg_judge_target(btf, i);
	}
	for (i = 0; i < RG_NR_MEMBERS; i++) {
		of = rg_set_arches[rg_members[i].set];
		if (of == RG_ARCH_ANY || of == arch)
			good &= rg_judge_member(btf, i);
	}
	return good ? RG_EXIT_OK : RG_EXIT_DIFFERS;
}

static int rg_judge_table(void)
{
	int i, j;

	for (i = 0; i < RG_NR_TARGETS; i++) {
		printf("target\t%s\t%s\t%s\t%s\n", rg_targets[i].name,
		       rg_set_names[rg_targets[i].set],
		       rg_targets[i].proto ? rg_targets[i].proto : "-",
		       rg_targets[i].lost);
		for (j = 0; j < RG_OLDER_PROTOS && rg_targets[i].older[j]; j++)
			printf("older\t%s\t%s\t%s\t%s\n", rg_targets[i].name,
			       rg_set_names[rg_targets[i].set], rg_targets[i].older[j],
			       rg_targets[i].lost);
		if (rg_targets[i].with)
			printf("with\tpci_dev.%s\t%s\tu16\t-1\n", rg_targets[i].with,
			       rg_set_names[rg_targets[i].set]);
	}
	for (i = 0; i < RG_NR_MEMBERS; i++)
		printf("member\t%s.%s\t%s\t%s\t%d\n", rg_members[i].strct,
		       rg_members[i].path, rg_set_names[rg_members[i].set],
		       rg_members[i].type, rg_members[i].at);
	return RG_EXIT_OK;
}

static int rg_judge_one(const struct rg_btf *btf, int argc, char **argv)
{
	struct rg_btf_member member;
	char proto[RG_BTF_TEXT];
	int err;

	if (argc == 4) {
		err = rg_btf_func(btf, argv[3], proto);
		if (!err)
			puts(proto);
	} else {
		err = rg_btf_member(btf, argv[3], argc == 6 ? argv[5] : NULL, argv[4],
				    &member);
		if (!err)
			printf("%u %u %s\n", member.bit_off, member.bit_size,
			       member.type);
	}
	return rg_judge_exit(err);
}

static int rg_judge_file(int argc, char **argv)
{
	const char *path = argc == 2 ? argv[1] : argv[2];
	struct rg_btf btf;
	size_t size = 0;
	void *data;
	int ret;

	data = rg_judge_read(path, &size);
	if (!data) {
		perror(path);
		return RG_EXIT_USAGE;
	}
	ret = rg_judge_exit(rg_btf_open(&btf, data, size));
	if (ret == RG_EXIT_OK) {
		ret = argc == 2 ? rg_judge_all(&btf) :
				  rg_judge_one(&btf, argc, argv);
		rg_btf_close(&btf);
	} else {
		fprintf(stderr, "%s: not a valid BTF\n", path);
	}
	free(data);
	return ret;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--table"))
		return rg_judge_table();
	if ((argc == 2 && argv[1][0] != '-') ||
	    (argc == 4 && !strcmp(argv[1], "--func")) ||
	    ((argc == 5 || argc == 6) && !strcmp(argv[1], "--member")))
		return rg_judge_file(argc, argv);
	fprintf(stderr, "usage: rg-judge FILE | --func FILE NAME | --member FILE STRUCT PATH [HAVING] | --table\n");
	return RG_EXIT_USAGE;
}
