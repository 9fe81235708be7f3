/* SPDX-License-Identifier: GPL-2.0 */
/* The PCI functions that the module covers, as sysfs shows them. */
#ifndef RG_FUNCTION_H
#define RG_FUNCTION_H

#include <stddef.h>

#define RG_BDF_TEXT	24	/* a domain has up to eight digits */
#define RG_WORD		32

struct rg_function {
	char bdf[RG_BDF_TEXT];
	char state[RG_WORD];
	char mode[RG_WORD];
	char policy[RG_WORD];	/* empty: the module has no policy of each function */
	char reason[RG_WORD];
	char driver[RG_WORD];	/* empty: none */
	long long depth;
	long long windows;
	long long last_window_us;
	long long recorded;
	long long dropped;
	long long last_error;
};

struct rg_functions {
	struct rg_function *at;
	size_t nr;
	size_t room;
	int brief;		/* without depth and driver */
};

int rg_bdf_parse(const char *text, char *bdf);
int rg_function_find(const char *text, char *bdf);
int rg_function_read(const char *bdf, struct rg_function *function);
int rg_functions_read(struct rg_functions *functions);

#endif /* RG_FUNCTION_H */
