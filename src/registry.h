/* SPDX-License-Identifier: GPL-2.0 */
/* Which functions there are: their states, their requester IDs, the look-ups. */
#ifndef RG_REGISTRY_H
#define RG_REGISTRY_H

#include "gate.h"

int rg_registry_init(void);
void rg_registry_defer(struct work_struct *work);
void rg_registry_stop(void);
void rg_registry_exit(void);

struct mutex *rg_group_mutex(const struct rg_state *state);
struct rg_state *rg_registry_find(const struct pci_dev *pdev);
struct rg_state *rg_registry_get(const struct pci_dev *pdev);
void rg_registry_put(struct rg_state *state);
bool rg_registry_has_driver(const struct device_driver *driver,
			    const struct pci_dev *except);
int rg_registry_pick(bool (*match)(const struct rg_state *state, const void *what),
		     const void *what, struct rg_state **states, int room);
void rg_registry_each(void (*fn)(struct rg_state *state, void *data), void *data);

#endif /* RG_REGISTRY_H */
