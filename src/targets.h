/* SPDX-License-Identifier: GPL-2.0 */
/* What the module touches in the kernel. Builds in user space too. */
#ifndef RG_TARGETS_H
#define RG_TARGETS_H

#include "btf.h"

/* A set is installed whole or not at all. */
enum rg_set {
	RG_SET_CORE,		/* the patch engine's and the gate's own needs */
	RG_SET_RESET,		/* the reset functions' wrappers */
	RG_SET_BUS,		/* resets of everything below a bridge or in a slot */
	RG_SET_RECOVERY,	/* recovery from errors */
	RG_SET_NATIVE,		/* upstream's own gate, 7.0 and later */
	RG_SET_ATTACH,		/* the calls that attach, for policy=busy and wait */
	RG_SET_ENDPOINT,	/* ATS, PRI and PASID control of the endpoint */
	RG_SET_VTD,		/* Intel VT-d */
	RG_SET_AMD,		/* AMD-Vi */
	RG_SET_SMMUV3,		/* Arm SMMUv3 */
	RG_NR_SETS
};

/* Where a set is looked for. */
enum rg_arch {
	RG_ARCH_ANY,
	RG_ARCH_X86,
	RG_ARCH_ARM64,
};

enum rg_use {
	RG_USE_CALL,		/* called directly, never patched */
	RG_USE_REDIRECT,	/* ftrace with IPMODIFY; may be called too */
	RG_USE_OBSERVE,		/* ftrace without IPMODIFY, armed for a window */
	RG_USE_DATA,		/* address of an object, or of code never entered */
};

enum rg_target_id {
	RG_T_KALLSYMS_EACH_MATCH,
	RG_T_KALLSYMS_LOOKUP_SIZE,
	RG_T_FTRACE_LOCATION,
	RG_T_PCI_FOR_EACH_DMA_ALIAS,

	RG_T_PCI_RESET_FUNCTION,
	RG_T_PCI_RESET_FUNCTION_LOCKED,
	RG_T_PCI_TRY_RESET_FUNCTION,
	RG_T___PCI_RESET_FUNCTION_LOCKED,
	RG_T_PCIE_FLR,

	RG_T_RESET_SECONDARY_BUS,
	RG_T_RESET_HOTPLUG_SLOT,
	RG_T_PCI_RESET_BUS,
	RG_T___PCI_RESET_BUS,
	RG_T_PCI_TRY_RESET_BRIDGE,

	RG_T_PCIE_DO_RECOVERY,

	RG_T_RESET_IOMMU_PREPARE,
	RG_T_RESET_IOMMU_DONE,

	RG_T_ATTACH_DEVICE,
	RG_T_ATTACH_GROUP,
	RG_T_ATTACH_HANDLE,
	RG_T_REPLACE_DOMAIN,
	RG_T_REPLACE_HANDLE,
	RG_T_ATTACH_PASID,
	RG_T_REPLACE_PASID,
	RG_T_SVA_BIND,
	RG_T_STORE_TYPE,

	RG_T_ENABLE_ATS,
	RG_T_DISABLE_ATS,
	RG_T_PREPARE_ATS,
	RG_T_RESTORE_ATS,
	RG_T_ATS_QUEUE_DEPTH,
	RG_T_ATS_PAGE_ALIGNED,
	RG_T_ENABLE_PRI,
	RG_T_DISABLE_PRI,
	RG_T_RESET_PRI,
	RG_T_RESTORE_PRI,
	RG_T_ENABLE_PASID,
	RG_T_DISABLE_PASID,
	RG_T_RESTORE_PASID,
	RG_T_PASID_FEATURES,
	RG_T_MAX_PASIDS,
	RG_T_ACS_PATH_ENABLED,

	RG_T_VTD_OPS,
	RG_T_VTD_ENABLED,
	RG_T_VTD_SM,
	RG_T_VTD_CONTEXT_ADDR,
	RG_T_VTD_QI_SUBMIT,
	RG_T_VTD_FLUSH_PASID_CACHE,
	RG_T_VTD_FLUSH_WRITE_BUFFER,
	RG_T_VTD_FREE_DMAR_IOMMU,

	RG_T_AMD_OPS,
	RG_T_AMD_LIST,
	RG_T_AMD_SNP_EN,
	RG_T_AMD_UPDATE_DTE,
	RG_T_AMD_SET_DTE,
	RG_T_AMD_CLONE_ALIAS,
	RG_T_AMD_QUEUE_COMMAND,

	RG_T_SMMU_PAGE_RESPONSE,
	RG_T_SMMU_STE_OPS,
	RG_T_SMMU_WRITE_ENTRY,
	RG_T_SMMU_QUEUE,
	RG_T_SMMU_QUEUE_INNER,
	RG_T_SMMU_GUEST_INV,
	RG_NR_TARGETS
};

#define RG_OLDER_PROTOS 2

/* Which prototype of RG_T_AMD_SET_DTE and of RG_T_SMMU_QUEUE a kernel has: rg_target_variant_of(). */
enum rg_amd_set_dte {
	RG_AMD_SET_DTE_WITH_TOP,
	RG_AMD_SET_DTE_BY_DATA,
	RG_AMD_SET_DTE_BY_ID,
};

enum rg_smmu_queue {
	RG_SMMU_QUEUE_OF_STRUCTS,
	RG_SMMU_QUEUE_OF_QWORDS,
};

/* What is optional is needed after all where a target has one of some prototypes. */
struct rg_needed {
	enum rg_target_id by;
	u8 variants;		/* a bit for each; 0: nothing needs it */
};

struct rg_target {
	const char *name;
	const char *proto;	/* as rg_btf_func() renders it; NULL: not a function we enter */
	enum rg_set set;
	enum rg_use use;
	bool optional;		/* newer or older kernels lack it, and need it not */
	const char *lost;	/* what is lost without it, for people */
	const char *older[RG_OLDER_PROTOS]; /* of older kernels, as well known; the newest first */
	struct rg_needed needed;
	const char *with;	/* a member of struct pci_dev: what lacks that may lack this; or NULL */
};

enum rg_member_id {
	RG_M_GROUP_MUTEX,

	RG_M_VTD_CAP,
	RG_M_VTD_ECAP,
	RG_M_VTD_SEGMENT,
	RG_M_VTD_COPIED_TABLES,
	RG_M_VTD_LOCK,
	RG_M_VTD_FLUSH_CONTEXT,
	RG_M_VTD_FLUSH_IOTLB,
	RG_M_VTD_INFO_BUS,
	RG_M_VTD_INFO_DEVFN,
	RG_M_VTD_INFO_IOMMU,
	RG_M_VTD_CONTEXT_LO,
	RG_M_VTD_CONTEXT_HI,
	RG_M_VTD_QI_QW0,
	RG_M_VTD_QI_QW1,
	RG_M_VTD_QI_QW2,
	RG_M_VTD_QI_QW3,

	RG_M_AMD_LOCK,
	RG_M_AMD_PCI_SEG,
	RG_M_AMD_SEM,
	RG_M_AMD_SEM_PHYS,
	RG_M_AMD_DEVICE,
	RG_M_AMD_SEG_ID,
	RG_M_AMD_SEG_LAST_BDF,
	RG_M_AMD_SEG_DEV_TABLE,
	RG_M_AMD_SEG_ALIAS_TABLE,
	RG_M_AMD_DATA_DOMAIN,
	RG_M_AMD_DATA_DEV,
	RG_M_AMD_DATA_DEVID,
	RG_M_AMD_DATA_ATS,
	RG_M_AMD_DATA_V2,
	RG_M_AMD_DOMAIN_LOCK,
	RG_M_AMD_DTE,
	RG_M_AMD_COMMAND,

	RG_M_SMMU_BASE,
	RG_M_SMMU_CMDQ,
	RG_M_SMMU_LINEAR,
	RG_M_SMMU_L2PTRS,
	RG_M_SMMU_MASTER_SMMU,
	RG_M_SMMU_WRITER_OPS,
	RG_M_SMMU_WRITER_MASTER,
	RG_M_SMMU_STE_WRITER,
	RG_M_SMMU_STE_WRITER_SID,
	RG_M_SMMU_STE,
	RG_M_SMMU_L2,
	RG_M_SMMU_COMMAND,
	RG_M_SMMU_INVS_LOCK,
	RG_NR_MEMBERS
};

struct rg_member {
	const char *strct;
	const char *path;	/* "flush.flush_context" goes through an inner structure */
	const char *type;	/* as rg_btf_member() renders it */
	enum rg_set set;
	int at;			/* bytes it must be at where code relies on it; -1: anywhere */
	bool optional;		/* newer or older kernels lack it, and need it not */
	const char *having;	/* what tells the structure from others of its name; NULL: nothing */
	struct rg_needed needed;
};

extern const struct rg_target rg_targets[RG_NR_TARGETS];
extern const struct rg_member rg_members[RG_NR_MEMBERS];
extern const char *const rg_set_names[RG_NR_SETS];
extern const enum rg_arch rg_set_arches[RG_NR_SETS];

enum rg_verdict {
	RG_MATCH,		/* as the table says */
	RG_ABSENT,		/* BTF does not know it */
	RG_DIFFERS,		/* BTF knows another prototype or type */
};

int rg_target_variant_of(enum rg_target_id id, const char *proto);
bool rg_target_is_needed(const struct rg_btf *btf, enum rg_target_id id);
bool rg_member_is_needed(const struct rg_btf *btf, enum rg_member_id id);
enum rg_verdict rg_target_judge(const struct rg_btf *btf, enum rg_target_id id,
				char *found);
enum rg_verdict rg_member_judge(const struct rg_btf *btf, enum rg_member_id id,
				u32 *off, char *found);

#endif /* RG_TARGETS_H */
