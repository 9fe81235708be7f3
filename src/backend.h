/* SPDX-License-Identifier: GPL-2.0 */
/* What the core asks of the back end of an IOMMU driver. */
#ifndef RG_BACKEND_H
#define RG_BACKEND_H

#include "gate.h"
#include "patch.h"
#include "valve.h"

/**
 * struct rg_backend - one vendor's IOMMU driver
 * @name: for people
 * @hint: what has to be in use for it, for people
 * @set: its rows in the table of targets
 * @hooks: the table valve: redirects that are armed as long as we are loaded
 * @nr_hooks: how many
 * @valve: the invalidation valve
 * @init: makes its calls ready; the set is usable. Returns 0, -ENODEV
 *	where no such IOMMU is in use, or an error
 * @exit: undoes @init
 * @preempted: whether what submits an invalidation may be preempted between the
 *	valve and the end of its wait for the hardware, outside of any RCU read
 *	section and of the group mutex. NULL: never
 * @match: whether this driver translates for the device
 * @ids: has rg_rids_add() add each requester ID of the function as its IOMMU knows
 *	it, the function's own first; returns 0 or the error of that
 * @adopt: learns all that @block and @unblock will need, allocations included;
 *	may sleep. Returns 0, or an error and the function stays uncovered
 * @takes: whether the hardware takes a command now, seen by one that does nothing. Of the
 *	space of a requester ID; in a worker and under no lock, for it may wait for
 *	ever. NULL: a grace period shows it, for who submits waits until it does
 * @block: withholds the driver's writes of the entry, blocks it, flushes the
 *	IOMMU's caches. Under the group mutex; cannot fail. The function is one of
 *	those that have the requester ID; NULL where the last that closed is gone
 * @unblock: puts in force what the driver would have in the entry by now, makes
 *	the IOMMU see it. Under the group mutex; cannot fail. The function is the
 *	one that opens; its own requester ID comes before its aliases
 * @flush: makes the IOMMU forget the translations that a translation request of
 *	the function could be answered from. Under the group mutex; cannot fail
 */
struct rg_backend {
	const char *name;
	const char *hint;
	enum rg_set set;
	const struct rg_hook *hooks;
	int nr_hooks;
	struct rg_valve *valve;

	int (*init)(void);
	void (*exit)(void);
	bool (*preempted)(void);
	bool (*match)(struct device *dev);
	int (*ids)(struct rg_state *state);
	int (*adopt)(struct rg_rid *rid, struct pci_dev *pdev);
	bool (*takes)(const void *space);
	void (*block)(struct rg_rid *rid, struct pci_dev *pdev);
	void (*unblock)(struct rg_rid *rid, struct pci_dev *pdev);
	void (*flush)(struct rg_rid *rid);
};

int rg_backends_init(void);
void rg_backends_exit(void);
const struct rg_backend *rg_backends_match(struct device *dev);
ssize_t rg_backends_show(char *buf);

extern const struct rg_backend rg_vtd_backend;
extern const struct rg_backend rg_amd_backend;
extern const struct rg_backend rg_smmuv3_backend;

#endif /* RG_BACKEND_H */
