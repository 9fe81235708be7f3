/* SPDX-License-Identifier: GPL-2.0 */
/* Writes JSON. */
#ifndef RG_JSON_H
#define RG_JSON_H

#include <stdbool.h>
#include <stdio.h>

#define RG_JSON_SCHEMA 1	/* raised when a key goes or changes its meaning */

struct rg_json {
	FILE *out;
	int depth;
	bool any;		/* something stands before what follows */
	bool line;		/* all on one line */
};

/* A key is NULL in a list. */
void rg_json_start(struct rg_json *json, FILE *out, const char *command);
void rg_json_end(struct rg_json *json);
void rg_json_open(struct rg_json *json, const char *key, char bracket);
void rg_json_close(struct rg_json *json, char bracket);
void rg_json_text(struct rg_json *json, const char *key, const char *text);
void rg_json_number(struct rg_json *json, const char *key, long long val);
void rg_json_bool(struct rg_json *json, const char *key, bool val);
void rg_json_null(struct rg_json *json, const char *key);

#endif /* RG_JSON_H */
