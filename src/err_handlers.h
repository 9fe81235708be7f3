/* SPDX-License-Identifier: GPL-2.0 */
/* The interposed pci_error_handlers. */
#ifndef RG_ERR_HANDLERS_H
#define RG_ERR_HANDLERS_H

#include <linux/pci.h>

struct rg_state;

void rg_err_handlers_stop(void);
void rg_err_handlers_exit(void);
void rg_err_handlers_notify(struct pci_dev *pdev, unsigned long action,
			    struct rg_state *state);

#endif /* RG_ERR_HANDLERS_H */
