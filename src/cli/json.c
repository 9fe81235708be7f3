// SPDX-License-Identifier: GPL-2.0
/* Writes JSON: one document on its own lines, keys in the order of writing. */
#include "json.h"

static void rg_json_string(FILE *out, const char *text)
{
	const unsigned char *at = (const unsigned char *)text;

	fputc('"', out);
	for (; *at; at++) {
		if (*at == '"' || *at == '\\')
			fprintf(out, "\\%c", *at);
		else if (*at == '\n')
			fputs("\\n", out);
		else if (*at < ' ' || *at >= 0x7f)
			/* What is no ASCII need not be UTF-8 either: each byte by its number. */
			fprintf(out, "\\u%04x", *at);
		else
			fputc(*at, out);
	}
	fputc('"', out);
}

static void rg_json_key(struct rg_json *json, const char *key)
{
	if (json->line)
		fputs(json->any ? ", " : "", json->out);
	else
		fprintf(json->out, "%s\n%*s", json->any ? "," : "", json->depth * 2, "");
	if (key) {
		rg_json_string(json->out, key);
		fputs(": ", json->out);
	}
	json->any = true;
}

/**
 * rg_json_open - begin an object or a list
 * @json: the writer
 * @key: its key, or NULL in a list
 * @bracket: '{' or '['
 *
 * Context: User space.
 */
void rg_json_open(struct rg_json *json, const char *key, char bracket)
{
	rg_json_key(json, key);
	fputc(bracket, json->out);
	json->depth++;
	json->any = false;
}

/**
 * rg_json_close - end it
 * @json: the writer
 * @bracket: '}' or ']'
 *
 * Context: User space.
 */
void rg_json_close(struct rg_json *json, char bracket)
{
	json->depth--;
	if (json->any && !json->line)
		fprintf(json->out, "\n%*s", json->depth * 2, "");
	fputc(bracket, json->out);
	json->any = true;
}

/**
 * rg_json_text - write a string
 * @json: the writer
 * @key: its key, or NULL in a list
 * @text: the string
 *
 * Context: User space.
 */
void rg_json_text(struct rg_json *json, const char *key, const char *text)
{
	rg_json_key(json, key);
	rg_json_string(json->out, text);
}

/**
 * rg_json_number - write a number
 * @json: the writer
 * @key: its key, or NULL in a list
 * @val: the number
 *
 * Context: User space.
 */
void rg_json_number(struct rg_json *json, const char *key, long long val)
{
	rg_json_key(json, key);
	fprintf(json->out, "%lld", val);
}

/**
 * rg_json_bool - write true or false
 * @json: the writer
 * @key: its key, or NULL in a list
 * @val: which
 *
 * Context: User space.
 */
void rg_json_bool(struct rg_json *json, const char *key, bool val)
{
	rg_json_key(json, key);
	fputs(val ? "true" : "false", json->out);
}

/**
 * rg_json_null - write that something is not known
 * @json: the writer
 * @key: its key, or NULL in a list
 *
 * Context: User space.
 */
void rg_json_null(struct rg_json *json, const char *key)
{
	rg_json_key(json, key);
	fputs("null", json->out);
}

/**
 * rg_json_start - begin a document
 * @json: the writer
 * @out: where to
 * @command: the sub-command that answers
 *
 * Context: User space.
 */
void rg_json_start(struct rg_json *json, FILE *out, const char *command)
{
	*json = (struct rg_json){ .out = out, .depth = 1 };
	fputc('{', out);
	rg_json_number(json, "schema", RG_JSON_SCHEMA);
	rg_json_text(json, "command", command);
}

/**
 * rg_json_end - end it
 * @json: the writer
 *
 * Context: User space.
 */
void rg_json_end(struct rg_json *json)
{
	rg_json_close(json, '}');
	fputc('\n', json->out);
}
