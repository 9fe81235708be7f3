// SPDX-License-Identifier: GPL-2.0
/*
 * The table of what the module touches in the kernel, and its comparison to BTF.
 *
 * A private function or structure is used only if the running kernel's BTF
 * shows exactly what the code was written for; otherwise its whole set is off
 * and @lost tells the administrator what that costs.
 */
#include "targets.h"

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/string.h>
#else
#include <errno.h>
#include <string.h>
#endif

#define RG_PCI_INT	"int (struct pci_dev *)"
#define RG_PCI_INT_INT	"int (struct pci_dev *, int)"
#define RG_PCI_INT_U32	"int (struct pci_dev *, u32)"
#define RG_PCI_VOID	"void (struct pci_dev *)"

const char *const rg_set_names[RG_NR_SETS] = {
	[RG_SET_CORE]		= "core",
	[RG_SET_RESET]		= "reset",
	[RG_SET_BUS]		= "bus",
	[RG_SET_RECOVERY]	= "recovery",
	[RG_SET_NATIVE]		= "native",
	[RG_SET_ATTACH]		= "attach",
	[RG_SET_ENDPOINT]	= "endpoint",
	[RG_SET_VTD]		= "vtd",
	[RG_SET_AMD]		= "amd",
	[RG_SET_SMMUV3]		= "smmuv3",
};

const enum rg_arch rg_set_arches[RG_NR_SETS] = {
	[RG_SET_VTD]		= RG_ARCH_X86,
	[RG_SET_AMD]		= RG_ARCH_X86,
	[RG_SET_SMMUV3]		= RG_ARCH_ARM64,
};

const struct rg_target rg_targets[RG_NR_TARGETS] = {
	[RG_T_KALLSYMS_EACH_MATCH] = {
		"kallsyms_on_each_match_symbol",
		"int (int (*)(void *, long unsigned int), const char *, void *)",
		RG_SET_CORE, RG_USE_CALL, false,
		"Kernel functions cannot be looked up, so nothing is gated." },
	[RG_T_KALLSYMS_LOOKUP_SIZE] = {
		"kallsyms_lookup_size_offset",
		"int (long unsigned int, long unsigned int *, long unsigned int *)",
		RG_SET_CORE, RG_USE_CALL, false,
		"The length of a kernel function is unknown, so nothing is gated." },
	[RG_T_FTRACE_LOCATION] = {
		"ftrace_location", "long unsigned int (long unsigned int)",
		RG_SET_CORE, RG_USE_CALL, false,
		"No kernel function can be redirected, so nothing is gated." },
	[RG_T_PCI_FOR_EACH_DMA_ALIAS] = {
		"pci_for_each_dma_alias",
		"int (struct pci_dev *, int (*)(struct pci_dev *, u16, void *), void *)",
		RG_SET_CORE, RG_USE_CALL, false,
		"The requester IDs of a device are unknown, so nothing is gated." },

	[RG_T_PCI_RESET_FUNCTION] = {
		"pci_reset_function", RG_PCI_INT,
		RG_SET_RESET, RG_USE_REDIRECT, false,
		"Resets through sysfs and by drivers open before the device is restored." },
	[RG_T_PCI_RESET_FUNCTION_LOCKED] = {
		"pci_reset_function_locked", RG_PCI_INT,
		RG_SET_RESET, RG_USE_REDIRECT, false,
		"Resets by drivers that hold the device lock open before the device is restored." },
	[RG_T_PCI_TRY_RESET_FUNCTION] = {
		"pci_try_reset_function", RG_PCI_INT,
		RG_SET_RESET, RG_USE_REDIRECT, false,
		"Resets by VFIO for a guest open before the device is restored." },
	[RG_T___PCI_RESET_FUNCTION_LOCKED] = {
		"__pci_reset_function_locked", RG_PCI_INT,
		RG_SET_RESET, RG_USE_REDIRECT, false,
		"Resets of single functions are not gated." },
	[RG_T_PCIE_FLR] = {
		"pcie_flr", RG_PCI_INT,
		RG_SET_RESET, RG_USE_REDIRECT, false,
		"Function-level resets that drivers do themselves are not gated." },

	[RG_T_RESET_SECONDARY_BUS] = {
		"pcibios_reset_secondary_bus", RG_PCI_VOID,
		RG_SET_BUS, RG_USE_REDIRECT, false,
		"Resets of everything below a bridge are not gated." },
	[RG_T_RESET_HOTPLUG_SLOT] = {
		"pci_reset_hotplug_slot", "int (struct hotplug_slot *, bool)",
		RG_SET_BUS, RG_USE_REDIRECT, false,
		"Resets of hotplug slots are not gated." },
	[RG_T_PCI_RESET_BUS] = {
		"pci_reset_bus", RG_PCI_INT,
		RG_SET_BUS, RG_USE_REDIRECT, false,
		"Hot resets by VFIO open before the devices are restored." },
	[RG_T___PCI_RESET_BUS] = {
		"__pci_reset_bus", "int (struct pci_bus *)",
		RG_SET_BUS, RG_USE_REDIRECT, true,
		"Bus resets through sysfs open before the devices are restored." },
	[RG_T_PCI_TRY_RESET_BRIDGE] = {
		"pci_try_reset_bridge", RG_PCI_INT,
		RG_SET_BUS, RG_USE_REDIRECT, true,
		"Bus resets through sysfs open before the devices are restored." },

	[RG_T_PCIE_DO_RECOVERY] = {
		"pcie_do_recovery",
		"pci_ers_result_t (struct pci_dev *, pci_channel_state_t, pci_ers_result_t (*)(struct pci_dev *))",
		RG_SET_RECOVERY, RG_USE_REDIRECT, false,
		"Resets in the recovery from errors are not gated." },

	[RG_T_RESET_IOMMU_PREPARE] = {
		"pci_dev_reset_iommu_prepare", RG_PCI_INT,
		RG_SET_NATIVE, RG_USE_REDIRECT, true,
		"The kernel's own reset gate, if it has one, works beside this module's." },
	[RG_T_RESET_IOMMU_DONE] = {
		"pci_dev_reset_iommu_done", RG_PCI_VOID,
		RG_SET_NATIVE, RG_USE_REDIRECT, true,
		"The kernel's own reset gate, if it has one, works beside this module's." },

	[RG_T_ATTACH_DEVICE] = {
		"iommu_attach_device",
		"int (struct iommu_domain *, struct device *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, false,
		"Attaches in a reset are recorded, whatever policy says." },
	[RG_T_ATTACH_GROUP] = {
		"iommu_attach_group",
		"int (struct iommu_domain *, struct iommu_group *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, false,
		"Attaches by VFIO in a reset are recorded, whatever policy says." },
	[RG_T_ATTACH_HANDLE] = {
		"iommu_attach_group_handle",
		"int (struct iommu_domain *, struct iommu_group *, struct iommu_attach_handle *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, true,
		"Policy is for attaches by IOMMUFD, too." },
	[RG_T_REPLACE_DOMAIN] = {
		"iommu_group_replace_domain",
		"int (struct iommu_group *, struct iommu_domain *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, true,
		"Policy is for replacements, too." },
	[RG_T_REPLACE_HANDLE] = {
		"iommu_replace_group_handle",
		"int (struct iommu_group *, struct iommu_domain *, struct iommu_attach_handle *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, true,
		"Policy is for replacements, too." },
	[RG_T_ATTACH_PASID] = {
		"iommu_attach_device_pasid",
		"int (struct iommu_domain *, struct device *, ioasid_t, struct iommu_attach_handle *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, true,
		"Policy is for PASIDs, too." },
	[RG_T_REPLACE_PASID] = {
		"iommu_replace_device_pasid",
		"int (struct iommu_domain *, struct device *, ioasid_t, struct iommu_attach_handle *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, true,
		"Policy is for PASIDs, too." },
	[RG_T_SVA_BIND] = {
		"iommu_sva_bind_device",
		"struct iommu_sva *(struct device *, struct mm_struct *)",
		RG_SET_ATTACH, RG_USE_REDIRECT, true,
		"Policy is for processes bound to a device, too.",
		{ "struct iommu_sva *(struct device *, struct mm_struct *, void *)" } },
	[RG_T_STORE_TYPE] = {
		"iommu_group_store_type",
		"ssize_t (struct iommu_group *, const char *, size_t)",
		RG_SET_ATTACH, RG_USE_REDIRECT, false,
		"A change of the default domain in a reset is recorded, whatever policy says." },

	[RG_T_ENABLE_ATS] = {
		"pci_enable_ats", RG_PCI_INT_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A device in reset may have its ATS turned on under it." },
	[RG_T_DISABLE_ATS] = {
		"pci_disable_ats", RG_PCI_VOID,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A device in reset may have its ATS control register written." },
	[RG_T_PREPARE_ATS] = {
		"pci_prepare_ats", RG_PCI_INT_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, true,
		"A device in reset may have its ATS page size written." },
	[RG_T_RESTORE_ATS] = {
		"pci_restore_ats_state", RG_PCI_VOID,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"Restoring a device after its reset turns ATS on before its gate opens." },
	[RG_T_ATS_QUEUE_DEPTH] = {
		"pci_ats_queue_depth", RG_PCI_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A driver attached during a reset may keep a wrong ATS queue depth." },
	[RG_T_ATS_PAGE_ALIGNED] = {
		"pci_ats_page_aligned", RG_PCI_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A driver attached during a reset may keep a wrong ATS alignment." },
	[RG_T_ENABLE_PRI] = {
		"pci_enable_pri", RG_PCI_INT_U32,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A device in reset may have its page requests turned on under it.",
		.with = "pri_cap" },
	[RG_T_DISABLE_PRI] = {
		"pci_disable_pri", RG_PCI_VOID,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A device in reset may have its page request control register written.",
		.with = "pri_cap" },
	[RG_T_RESET_PRI] = {
		"pci_reset_pri", RG_PCI_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A device in reset may have its page request interface reset.",
		.with = "pri_cap" },
	[RG_T_RESTORE_PRI] = {
		"pci_restore_pri_state", RG_PCI_VOID,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"Restoring a device after its reset turns page requests on before its gate opens.",
		.with = "pri_cap" },
	[RG_T_ENABLE_PASID] = {
		"pci_enable_pasid", RG_PCI_INT_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A device in reset may have PASIDs turned on under it.",
		.with = "pasid_cap" },
	[RG_T_DISABLE_PASID] = {
		"pci_disable_pasid", RG_PCI_VOID,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A device in reset may have its PASID control register written.",
		.with = "pasid_cap" },
	[RG_T_RESTORE_PASID] = {
		"pci_restore_pasid_state", RG_PCI_VOID,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"Restoring a device after its reset turns PASIDs on before its gate opens.",
		.with = "pasid_cap" },
	[RG_T_PASID_FEATURES] = {
		"pci_pasid_features", RG_PCI_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A driver attached during a reset may keep wrong PASID features.",
		.with = "pasid_cap" },
	[RG_T_MAX_PASIDS] = {
		"pci_max_pasids", RG_PCI_INT,
		RG_SET_ENDPOINT, RG_USE_REDIRECT, false,
		"A driver attached during a reset may keep a wrong number of PASIDs.",
		.with = "pasid_cap" },

	[RG_T_ACS_PATH_ENABLED] = {
		"pci_acs_path_enabled", "bool (struct pci_dev *, struct pci_dev *, u16)",
		RG_SET_ENDPOINT, RG_USE_CALL, false,
		"PASIDs enabled during a reset could not be checked against ACS." },

	[RG_T_VTD_OPS] = {
		"intel_iommu_ops", NULL,
		RG_SET_VTD, RG_USE_DATA, false,
		"Devices behind an Intel VT-d IOMMU are not recognised, nor gated." },
	[RG_T_VTD_ENABLED] = {
		"intel_iommu_enabled", NULL,
		RG_SET_VTD, RG_USE_DATA, false,
		"Whether VT-d is in use cannot be told." },
	[RG_T_VTD_SM] = {
		"intel_iommu_sm", NULL,
		RG_SET_VTD, RG_USE_DATA, false,
		"The mode of Intel VT-d is unknown, so devices behind it are not gated." },
	[RG_T_VTD_CONTEXT_ADDR] = {
		"iommu_context_addr",
		"struct context_entry *(struct intel_iommu *, u8, u8, int)",
		RG_SET_VTD, RG_USE_REDIRECT, false,
		"Context entries of Intel VT-d cannot be blocked, so devices behind it are not gated." },
	[RG_T_VTD_QI_SUBMIT] = {
		"qi_submit_sync",
		"int (struct intel_iommu *, struct qi_desc *, unsigned int, long unsigned int)",
		RG_SET_VTD, RG_USE_OBSERVE, false,
		"ATS invalidations of Intel VT-d cannot be withheld, so devices behind it are not gated." },
	[RG_T_VTD_FLUSH_PASID_CACHE] = {
		"qi_flush_pasid_cache", "void (struct intel_iommu *, u16, u64, u32)",
		RG_SET_VTD, RG_USE_CALL, false,
		"Blocked PASIDs of Intel VT-d may stay cached, so devices behind it are not gated." },
	[RG_T_VTD_FLUSH_WRITE_BUFFER] = {
		"iommu_flush_write_buffer", "void (struct intel_iommu *)",
		RG_SET_VTD, RG_USE_CALL, false,
		"Intel VT-d may not see what is written, so devices behind it are not gated." },
	[RG_T_VTD_FREE_DMAR_IOMMU] = {
		"free_dmar_iommu", NULL,
		RG_SET_VTD, RG_USE_DATA, false,
		"Removing an Intel VT-d IOMMU would free the wrong table, so devices behind it are not gated." },

	[RG_T_AMD_OPS] = {
		"amd_iommu_ops", NULL,
		RG_SET_AMD, RG_USE_DATA, false,
		"Devices behind an AMD IOMMU are not recognised, nor gated." },
	[RG_T_AMD_LIST] = {
		"amd_iommu_list", NULL,
		RG_SET_AMD, RG_USE_DATA, false,
		"Whether AMD-Vi is in use cannot be told." },
	[RG_T_AMD_SNP_EN] = {
		"amd_iommu_snp_en", NULL,
		RG_SET_AMD, RG_USE_DATA, false,
		"What a device table entry may hold with SNP is unknown, so devices behind an AMD IOMMU are not gated." },
	[RG_T_AMD_UPDATE_DTE] = {
		"dev_update_dte", "void (struct iommu_dev_data *, bool)",
		RG_SET_AMD, RG_USE_REDIRECT, true,
		"Device table entries of an AMD IOMMU cannot be withheld, so devices behind it are not gated.",
		.needed = { RG_T_AMD_SET_DTE,
			    1 << RG_AMD_SET_DTE_WITH_TOP | 1 << RG_AMD_SET_DTE_BY_DATA } },
	[RG_T_AMD_SET_DTE] = {
		"set_dte_entry",
		"void (struct amd_iommu *, struct iommu_dev_data *, phys_addr_t, unsigned int)",
		RG_SET_AMD, RG_USE_REDIRECT, false,
		"Device table entries of an AMD IOMMU cannot be withheld, so devices behind it are not gated.",
		{ "void (struct amd_iommu *, struct iommu_dev_data *)",
		  "void (struct amd_iommu *, u16, struct protection_domain *, bool, bool)" } },
	[RG_T_AMD_CLONE_ALIAS] = {
		"clone_alias", "int (struct pci_dev *, u16, void *)",
		RG_SET_AMD, RG_USE_REDIRECT, false,
		"Device table entries of DMA aliases cannot be withheld, so devices behind an AMD IOMMU are not gated." },
	[RG_T_AMD_QUEUE_COMMAND] = {
		"__iommu_queue_command_sync", "int (struct amd_iommu *, struct iommu_cmd *, bool)",
		RG_SET_AMD, RG_USE_OBSERVE, false,
		"ATS invalidations of an AMD IOMMU cannot be withheld, so devices behind it are not gated." },

	[RG_T_SMMU_PAGE_RESPONSE] = {
		"arm_smmu_page_response",
		"void (struct device *, struct iopf_fault *, struct iommu_page_response *)",
		RG_SET_SMMUV3, RG_USE_DATA, false,
		"Devices behind an Arm SMMUv3 are not recognised, nor gated." },
	[RG_T_SMMU_STE_OPS] = {
		"arm_smmu_ste_writer_ops", NULL,
		RG_SET_SMMUV3, RG_USE_DATA, false,
		"Stream table entries cannot be told from others, so devices behind an Arm SMMUv3 are not gated." },
	[RG_T_SMMU_WRITE_ENTRY] = {
		"arm_smmu_write_entry",
		"void (struct arm_smmu_entry_writer *, __le64 *, const __le64 *)",
		RG_SET_SMMUV3, RG_USE_REDIRECT, false,
		"Stream table entries of an Arm SMMUv3 cannot be withheld, so devices behind it are not gated." },
	[RG_T_SMMU_QUEUE] = {
		"arm_smmu_cmdq_issue_cmdlist",
		"int (struct arm_smmu_device *, struct arm_smmu_cmdq *, struct arm_smmu_cmd *, int, bool)",
		RG_SET_SMMUV3, RG_USE_OBSERVE, false,
		"ATS invalidations of an Arm SMMUv3 cannot be withheld, so devices behind it are not gated.",
		{ "int (struct arm_smmu_device *, struct arm_smmu_cmdq *, u64 *, int, bool)" } },
	[RG_T_SMMU_QUEUE_INNER] = {
		"__arm_smmu_cmdq_issue_cmdlist",
		"int (struct arm_smmu_device *, struct arm_smmu_cmdq *, struct arm_smmu_cmd *, int, bool)",
		RG_SET_SMMUV3, RG_USE_OBSERVE, true,
		"Only here ATS invalidations of an Arm SMMUv3 can be withheld." },
	[RG_T_SMMU_GUEST_INV] = {
		"arm_vsmmu_cache_invalidate", NULL,
		RG_SET_SMMUV3, RG_USE_DATA, true,
		"A gate closes more slowly, for guests send ATS invalidations of their own." },
};

const struct rg_member rg_members[RG_NR_MEMBERS] = {
	[RG_M_GROUP_MUTEX] = {
		"iommu_group", "mutex", "struct mutex", RG_SET_CORE, -1 },

	[RG_M_VTD_CAP] = {
		"intel_iommu", "cap", "u64", RG_SET_VTD, -1 },
	[RG_M_VTD_ECAP] = {
		"intel_iommu", "ecap", "u64", RG_SET_VTD, -1 },
	[RG_M_VTD_SEGMENT] = {
		"intel_iommu", "segment", "u16", RG_SET_VTD, -1 },
	[RG_M_VTD_COPIED_TABLES] = {
		"intel_iommu", "copied_tables", "long unsigned int *",
		RG_SET_VTD, -1 },
	[RG_M_VTD_LOCK] = {
		"intel_iommu", "lock", "spinlock_t", RG_SET_VTD, -1 },
	[RG_M_VTD_FLUSH_CONTEXT] = {
		"intel_iommu", "flush.flush_context",
		"void (*)(struct intel_iommu *, u16, u16, u8, u64)",
		RG_SET_VTD, -1 },
	[RG_M_VTD_FLUSH_IOTLB] = {
		"intel_iommu", "flush.flush_iotlb",
		"void (*)(struct intel_iommu *, u16, u64, unsigned int, u64)",
		RG_SET_VTD, -1 },
	[RG_M_VTD_INFO_BUS] = {
		"device_domain_info", "bus", "u8", RG_SET_VTD, -1 },
	[RG_M_VTD_INFO_DEVFN] = {
		"device_domain_info", "devfn", "u8", RG_SET_VTD, -1 },
	[RG_M_VTD_INFO_IOMMU] = {
		"device_domain_info", "iommu", "struct intel_iommu *",
		RG_SET_VTD, -1 },
	[RG_M_VTD_CONTEXT_LO] = {
		"context_entry", "lo", "u64", RG_SET_VTD, 0 },
	[RG_M_VTD_CONTEXT_HI] = {
		"context_entry", "hi", "u64", RG_SET_VTD, 8 },
	[RG_M_VTD_QI_QW0] = { "qi_desc", "qw0", "u64", RG_SET_VTD, 0 },
	[RG_M_VTD_QI_QW1] = { "qi_desc", "qw1", "u64", RG_SET_VTD, 8 },
	[RG_M_VTD_QI_QW2] = { "qi_desc", "qw2", "u64", RG_SET_VTD, 16 },
	[RG_M_VTD_QI_QW3] = { "qi_desc", "qw3", "u64", RG_SET_VTD, 24 },

	[RG_M_AMD_LOCK] = {
		"amd_iommu", "lock", "raw_spinlock_t", RG_SET_AMD, -1 },
	[RG_M_AMD_PCI_SEG] = {
		"amd_iommu", "pci_seg", "struct amd_iommu_pci_seg *", RG_SET_AMD, -1 },
	[RG_M_AMD_SEM] = {
		"amd_iommu", "cmd_sem", "volatile u64 *", RG_SET_AMD, -1 },
	[RG_M_AMD_SEM_PHYS] = {
		"amd_iommu", "cmd_sem_paddr", "u64", RG_SET_AMD, -1, true },
	[RG_M_AMD_DEVICE] = {
		"amd_iommu", "iommu", "struct iommu_device", RG_SET_AMD, -1 },
	[RG_M_AMD_SEG_ID] = {
		"amd_iommu_pci_seg", "id", "u16", RG_SET_AMD, -1 },
	[RG_M_AMD_SEG_LAST_BDF] = {
		"amd_iommu_pci_seg", "last_bdf", "u16", RG_SET_AMD, -1 },
	[RG_M_AMD_SEG_DEV_TABLE] = {
		"amd_iommu_pci_seg", "dev_table", "struct dev_table_entry *", RG_SET_AMD, -1 },
	[RG_M_AMD_SEG_ALIAS_TABLE] = {
		"amd_iommu_pci_seg", "alias_table", "u16 *", RG_SET_AMD, -1 },
	[RG_M_AMD_DATA_DOMAIN] = {
		"iommu_dev_data", "domain", "struct protection_domain *", RG_SET_AMD, -1 },
	[RG_M_AMD_DATA_DEV] = {
		"iommu_dev_data", "dev", "struct device *", RG_SET_AMD, -1 },
	[RG_M_AMD_DATA_DEVID] = {
		"iommu_dev_data", "devid", "u16", RG_SET_AMD, -1 },
	[RG_M_AMD_DATA_ATS] = {
		"iommu_dev_data", "ats.enabled", "bool", RG_SET_AMD, -1, true,
		.needed = { RG_T_AMD_SET_DTE, 1 << RG_AMD_SET_DTE_BY_ID } },
	[RG_M_AMD_DATA_V2] = {
		"iommu_dev_data", "iommu_v2", "bool", RG_SET_AMD, -1, true,
		.needed = { RG_T_AMD_SET_DTE, 1 << RG_AMD_SET_DTE_BY_ID } },
	[RG_M_AMD_DOMAIN_LOCK] = {
		"protection_domain", "lock", "spinlock_t", RG_SET_AMD, -1 },
	[RG_M_AMD_DTE] = { "dev_table_entry", "data", "u64[4]", RG_SET_AMD, 0 },
	[RG_M_AMD_COMMAND] = { "iommu_cmd", "data", "u32[4]", RG_SET_AMD, 0 },

	/* SMMUv2's driver has a structure of this name as well. */
	[RG_M_SMMU_BASE] = {
		"arm_smmu_device", "base", "void *", RG_SET_SMMUV3, -1, false, "strtab_cfg" },
	[RG_M_SMMU_CMDQ] = {
		"arm_smmu_device", "cmdq", "struct arm_smmu_cmdq",
		RG_SET_SMMUV3, -1, false, "strtab_cfg" },
	[RG_M_SMMU_LINEAR] = {
		"arm_smmu_device", "strtab_cfg.linear.table", "struct arm_smmu_ste *",
		RG_SET_SMMUV3, -1, false, "strtab_cfg" },
	[RG_M_SMMU_L2PTRS] = {
		"arm_smmu_device", "strtab_cfg.l2.l2ptrs", "struct arm_smmu_strtab_l2 **",
		RG_SET_SMMUV3, -1, false, "strtab_cfg" },
	[RG_M_SMMU_MASTER_SMMU] = {
		"arm_smmu_master", "smmu", "struct arm_smmu_device *", RG_SET_SMMUV3, -1 },
	[RG_M_SMMU_WRITER_OPS] = {
		"arm_smmu_entry_writer", "ops", "const struct arm_smmu_entry_writer_ops *",
		RG_SET_SMMUV3, 0 },
	[RG_M_SMMU_WRITER_MASTER] = {
		"arm_smmu_entry_writer", "master", "struct arm_smmu_master *",
		RG_SET_SMMUV3, 8 },
	[RG_M_SMMU_STE_WRITER] = {
		"arm_smmu_ste_writer", "writer", "struct arm_smmu_entry_writer",
		RG_SET_SMMUV3, 0 },
	[RG_M_SMMU_STE_WRITER_SID] = {
		"arm_smmu_ste_writer", "sid", "u32", RG_SET_SMMUV3, 16 },
	[RG_M_SMMU_STE] = { "arm_smmu_ste", "data", "__le64[8]", RG_SET_SMMUV3, 0 },
	[RG_M_SMMU_L2] = {
		"arm_smmu_strtab_l2", "stes", "struct arm_smmu_ste[256]", RG_SET_SMMUV3, 0 },
	[RG_M_SMMU_COMMAND] = {
		"arm_smmu_cmd", "data", "u64[2]", RG_SET_SMMUV3, 0, true,
		.needed = { RG_T_SMMU_QUEUE, 1 << RG_SMMU_QUEUE_OF_STRUCTS } },
	[RG_M_SMMU_INVS_LOCK] = {
		"arm_smmu_invs", "rwlock", "rwlock_t", RG_SET_SMMUV3, -1, true },
};

/* All the texts are literals, or of the same size as @found. */
static void rg_target_say(char *found, const char *text)
{
	memcpy(found, text, strlen(text) + 1);
}

/* Says in @found why there is no text to compare. */
static void rg_target_explain(int err, char *found)
{
	const char *why = "unreadable type information";

	if (err == -EEXIST)
		why = "several under one name, which differ";
	else if (err == -E2BIG)
		why = "a type too long to compare";
	rg_target_say(found, why);
}

/**
 * rg_target_variant_of - which of a target's prototypes one is
 * @id: the target
 * @proto: as rg_btf_func() renders it
 *
 * Context: Any.
 * Return: 0 for the newest, 1 and up for those of older kernels, -1 for none.
 */
int rg_target_variant_of(enum rg_target_id id, const char *proto)
{
	const struct rg_target *target = &rg_targets[id];
	int i;

	if (!strcmp(proto, target->proto))
		return 0;
	for (i = 0; i < RG_OLDER_PROTOS && target->older[i]; i++)
		if (!strcmp(proto, target->older[i]))
			return i + 1;
	return -1;
}

/**
 * rg_target_judge - is a function what the table says?
 * @btf: the kernel's type information
 * @id: the target
 * @found: RG_BTF_TEXT bytes for the prototype found, empty if there is none
 *
 * BTF describes no objects, and it says nothing about symbols: that a target
 * has exactly one address, and can be traced, has to be checked apart from this.
 *
 * Context: Any.
 * Return: the verdict; always RG_MATCH where the table states no prototype.
 */
enum rg_verdict rg_target_judge(const struct rg_btf *btf, enum rg_target_id id,
				char *found)
{
	const struct rg_target *target = &rg_targets[id];
	int err;

	*found = '\0';
	if (!target->proto)
		return RG_MATCH;
	err = rg_btf_func(btf, target->name, found);
	if (err == -ENOENT)
		return RG_ABSENT;
	if (err)
		rg_target_explain(err, found);
	else if (rg_target_variant_of(id, found) >= 0)
		return RG_MATCH;
	return RG_DIFFERS;
}

static bool rg_target_has_need(const struct rg_btf *btf, const struct rg_needed *needed)
{
	char found[RG_BTF_TEXT];
	int variant;

	if (!needed->variants || rg_btf_func(btf, rg_targets[needed->by].name, found))
		return false;
	variant = rg_target_variant_of(needed->by, found);
	return variant >= 0 && (needed->variants >> variant & 1);
}

/**
 * rg_target_is_needed - is a function's absence a difference?
 * @btf: the kernel's type information
 * @id: the target
 *
 * A kernel that was configured without a capability has neither the functions for it
 * nor room for it in struct pci_dev.
 *
 * Context: Any.
 * Return: false if this kernel does well without it.
 */
bool rg_target_is_needed(const struct rg_btf *btf, enum rg_target_id id)
{
	const struct rg_target *target = &rg_targets[id];
	struct rg_btf_member is;

	if (target->optional)
		return rg_target_has_need(btf, &target->needed);
	return !target->with ||
	       rg_btf_member(btf, "pci_dev", NULL, target->with, &is) != -ENOENT;
}

/**
 * rg_member_is_needed - is a member's absence a difference?
 * @btf: the kernel's type information
 * @id: the member
 *
 * Context: Any.
 * Return: false if this kernel does well without it.
 */
bool rg_member_is_needed(const struct rg_btf *btf, enum rg_member_id id)
{
	const struct rg_member *member = &rg_members[id];

	return !member->optional || rg_target_has_need(btf, &member->needed);
}

/**
 * rg_member_judge - is a structure's member what the table says?
 * @btf: the kernel's type information
 * @id: the member
 * @off: its offset in bytes, for RG_MATCH only
 * @found: RG_BTF_TEXT bytes for the type found, empty if there is none
 *
 * Context: Any.
 * Return: the verdict; RG_DIFFERS also where the type is right and the place
 * is not.
 */
enum rg_verdict rg_member_judge(const struct rg_btf *btf, enum rg_member_id id,
				u32 *off, char *found)
{
	const struct rg_member *member = &rg_members[id];
	struct rg_btf_member is;
	int err;

	*off = 0;
	*found = '\0';
	err = rg_btf_member(btf, member->strct, member->having, member->path, &is);
	if (err == -ENOENT)
		return RG_ABSENT;
	if (err) {
		rg_target_explain(err, found);
		return RG_DIFFERS;
	}
	rg_target_say(found, is.type);
	if (strcmp(found, member->type))
		return RG_DIFFERS;
	if (is.bit_size || is.bit_off % 8 ||
	    (member->at >= 0 && is.bit_off != (u32)member->at * 8)) {
		rg_target_say(found, "the same type at another place");
		return RG_DIFFERS;
	}
	*off = is.bit_off / 8;
	return RG_MATCH;
}
