/* SPDX-License-Identifier: GPL-2.0 */
/* A kernel, and whether the module would cover it. */
#ifndef RG_KERNEL_H
#define RG_KERNEL_H

#include <limits.h>

#include "image.h"

enum rg_covered {
	RG_COVERED,
	RG_COVERED_IN_PART,
	RG_NOT_COVERED,
	RG_UNREADABLE,
};

/* Why a set is off: the module says the same when it is loaded there. */
struct rg_reason {
	enum rg_set set;
	char name[96];
	char expected[RG_BTF_TEXT];
	char found[RG_BTF_TEXT];
	const char *lost;
};

#define RG_REASONS (RG_NR_TARGETS + RG_NR_MEMBERS)

/* The file of the module that a kernel would load. */
struct rg_module_file {
	char path[PATH_MAX];	/* empty: none is installed for it */
	char version[32];
	char signer[128];	/* empty: it is not signed */
	char serial[64];	/* of the signer's certificate: 4E:A3:... */
	bool known;		/* modinfo was there to tell of it */
	int enrolled;		/* the signer's key is among the kernel's: 1, 0, -1 if unknown */
	bool namesake;		/* one of its name is */
};

struct rg_kernel {
	char path[PATH_MAX];	/* empty: the running one's own memory */
	char release[80];
	const char *format;
	enum rg_arch arch;
	bool running;
	bool tested;
	bool symbols;		/* it tells of them */
	bool off[RG_NR_SETS];
	struct rg_reason *reasons;
	size_t nr_reasons;
	enum rg_covered covered;
	char why[RG_WHY];	/* of one that is unreadable, or of an architecture without back ends */
	char config[PATH_MAX];	/* empty: not found */
	char lacks[256];	/* options that dkms wants and it has not */
	bool sig_force;		/* it takes signed modules only */
	struct rg_module_file module;
	bool installed;		/* its modules are in /lib/modules, or it is in /boot */
	int loads;		/* the module's file is there, and its signature will do: 1, 0, -1 */
	int initramfs;		/* the module is in it: 1, 0, -1 if unknown */
};

int rg_kernel_read(struct rg_kernel *kernel, const char *path, const char *iommu);
int rg_kernel_read_running(struct rg_kernel *kernel, const char *iommu);
void rg_kernel_surroundings(struct rg_kernel *kernel);
void rg_signature_find(struct rg_module_file *file);
bool rg_kernel_has_set(const struct rg_kernel *kernel, enum rg_set set);
bool rg_set_is_backend(enum rg_set set);
bool rg_arch_is_here(enum rg_arch arch);

extern const char *const rg_covered_words[];
extern const char *const rg_arch_words[];

#endif /* RG_KERNEL_H */
