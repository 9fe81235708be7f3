/* SPDX-License-Identifier: GPL-2.0 */
/* The known-answer test of the patch engine. */
#ifndef RG_SELFTEST_H
#define RG_SELFTEST_H

int rg_selftest(void);

#endif /* RG_SELFTEST_H */
