/* SPDX-License-Identifier: GPL-2.0 */
/* sysfs: what people see of each function, and of the module. */
#ifndef RG_STATUS_H
#define RG_STATUS_H

#include <linux/types.h>

struct rg_state;

int rg_status_init(bool tested);
void rg_status_exit(void);
void rg_status_add(struct rg_state *state);
void rg_status_del(struct rg_state *state);

#endif /* RG_STATUS_H */
