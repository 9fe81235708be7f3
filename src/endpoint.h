/* SPDX-License-Identifier: GPL-2.0 */
/* The endpoint valve: ATS, PRI and PASID control of a function in reset. */
#ifndef RG_ENDPOINT_H
#define RG_ENDPOINT_H

#include <linux/pci.h>
#include <linux/spinlock.h>

struct rg_state;

/**
 * struct rg_endpoint_caps - what a function in reset cannot tell
 * @ats: ATS capability register
 * @pasid: PASID capability register
 * @pri_max: Outstanding Page Request Capacity
 */
struct rg_endpoint_caps {
	u16 ats;
	u16 pasid;
	u32 pri_max;
};

/**
 * struct rg_endpoint - what stands between the kernel and the function
 * @lock: the rest, and the ATS, PRI and PASID fields of struct pci_dev. Raw:
 *	some IOMMU drivers enable ATS under an irq-saving lock of their own
 * @closed: control writes are withheld, only the fields of struct pci_dev change
 * @caps: read while the function last answered
 */
struct rg_endpoint {
	raw_spinlock_t lock;
	bool closed;
	struct rg_endpoint_caps caps;
};

int rg_endpoint_install(void);
void rg_endpoint_remove(void);
void rg_endpoint_adopt(struct rg_endpoint *ep, struct pci_dev *pdev);
void rg_endpoint_close(struct rg_endpoint *ep, struct pci_dev *pdev, bool touch);
void rg_endpoint_ats_off(struct pci_dev *pdev);
void rg_endpoint_controls(struct rg_endpoint *ep, struct pci_dev *pdev);
void rg_endpoint_open(struct rg_endpoint *ep, struct pci_dev *pdev);
bool rg_endpoint_answers(struct pci_dev *pdev);

#endif /* RG_ENDPOINT_H */
