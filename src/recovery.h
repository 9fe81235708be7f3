/* SPDX-License-Identifier: GPL-2.0 */
/* Recovery from errors: AER, DPC, EDR. */
#ifndef RG_RECOVERY_H
#define RG_RECOVERY_H

struct pci_dev;
struct rg_scope;

struct rg_scope *rg_recovery_below(const struct pci_dev *bridge);
int rg_recovery_install(void);

#endif /* RG_RECOVERY_H */
