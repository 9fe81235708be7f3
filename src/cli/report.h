/* SPDX-License-Identifier: GPL-2.0 */
/* What a report takes of the log, and what it takes out. */
#ifndef RG_REPORT_H
#define RG_REPORT_H

#include <stdio.h>

void rg_report_log(FILE *out);
char *rg_report_mask(const char *text);

#endif /* RG_REPORT_H */
