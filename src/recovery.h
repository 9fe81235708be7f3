/* SPDX-License-Identifier: GPL-2.0 */
/* Recovery from errors: AER, DPC, EDR. */
#ifndef RG_RECOVERY_H
#define RG_RECOVERY_H

int rg_recovery_install(void);

#endif /* RG_RECOVERY_H */
