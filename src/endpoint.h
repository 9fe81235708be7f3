/* SPDX-License-Identifier: GPL-2.0 */
/* The endpoint valve: ATS, PRI and PASID control of a function in reset. */
#ifndef RG_ENDPOINT_H
#define RG_ENDPOINT_H

#include <linux/pci.h>
#include <linux/spinlock.h>

struct rg_state;

/**
 * struct rg_endpoint - what stands between the kernel and the function
 * @lock: @closed and the ATS, PRI and PASID fields of struct pci_dev. Raw:
 *	6.1 enables ATS under an IOMMU driver's irq-saving lock
 * @closed: control writes are withheld, only the fields of struct pci_dev change
 * @ats_cap: ATS capability register, read while the function answered
 * @pasid_cap: PASID capability register, likewise
 * @pri_max: Outstanding Page Request Capacity, likewise
 */
struct rg_endpoint {
	raw_spinlock_t lock;
	bool closed;
	u16 ats_cap;
	u16 pasid_cap;
	u32 pri_max;
};

int rg_endpoint_install(void);
void rg_endpoint_remove(void);
void rg_endpoint_adopt(struct rg_endpoint *ep, struct pci_dev *pdev);
void rg_endpoint_close(struct rg_endpoint *ep);
void rg_endpoint_ats_off(struct pci_dev *pdev);
void rg_endpoint_controls(struct rg_endpoint *ep, struct pci_dev *pdev);
void rg_endpoint_open(struct rg_endpoint *ep, struct pci_dev *pdev, bool answers);
bool rg_endpoint_answers(struct pci_dev *pdev);

#endif /* RG_ENDPOINT_H */
