/* SPDX-License-Identifier: GPL-2.0 */
/* What the command-line programs have in common; _GNU_SOURCE is defined. */
#ifndef RGX_H
#define RGX_H

#include <stdio.h>
#include <string.h>

/* One line of answer, and the exit status that goes with it. */
static inline int answer(long ret, const char *text)
{
	if (ret >= 0 && *text)
		printf("%s\n", text);
	else if (ret >= 0)
		printf("%ld\n", ret);
	else
		printf("%ld %s%s%s\n", ret, strerrorname_np(-ret) ?: "?",
		       *text ? " " : "", text);
	return ret < 0;
}

#endif
