// SPDX-License-Identifier: GPL-2.0
/* What is said to people: one line for what went wrong, colours on a terminal. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "cli.h"

/**
 * rg_clean - let a text of others stay in its place
 * @text: the text; what is no printable ASCII becomes a question mark
 *
 * A name from an image, a signature or a file may hold newlines, or what a
 * terminal obeys.
 *
 * Context: User space.
 * Return: @text.
 */
char *rg_clean(char *text)
{
	char *at;

	for (at = text; *at; at++)
		if ((unsigned char)*at < ' ' || (unsigned char)*at >= 0x7f)
			*at = '?';
	return text;
}

static FILE *rg_said_to;

/**
 * rg_say_to - let what is said be written elsewhere, too
 * @also: where to; NULL: nowhere
 *
 * Context: User space.
 */
void rg_say_to(FILE *also)
{
	rg_said_to = also;
}

static void rg_say(const char *format, va_list args)
{
	char text[1024];

	vsnprintf(text, sizeof(text), format, args);
	rg_clean(text);
	fprintf(stderr, "resetgate: %s\n", text);
	if (rg_said_to)
		fprintf(rg_said_to, "(%s)\n", text);
}

/**
 * rg_fail - say in one line what went wrong
 * @code: the exit code
 * @format: names the thing, what was found, and the way out
 *
 * Context: User space.
 * Return: @code.
 */
int rg_fail(int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	rg_say(format, args);
	va_end(args);
	return code;
}

/**
 * rg_note - say something that does not end the run
 * @format: the line
 *
 * Context: User space.
 */
void rg_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	rg_say(format, args);
	va_end(args);
}

/**
 * rg_errno_code - the exit code of an error
 * @error: an errno
 *
 * Context: User space.
 * Return: the code.
 */
int rg_errno_code(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return RG_EXIT_PERMISSION;
	case ENOENT:
	case ENOTDIR:
	case ENODEV:
		return RG_EXIT_ABSENT;
	case ENOMEM:
	case ENOSPC:
	case EIO:
	case EMFILE:
	case ENFILE:
		return RG_EXIT_SYSTEM;
	default:
		return RG_EXIT_BAD;
	}
}

/**
 * rg_way_out - what to do about an error of a file
 * @error: an errno
 *
 * Context: User space.
 * Return: what follows strerror() in a line, or "".
 */
const char *rg_way_out(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return "; run it as root";
	case EISDIR:
		return "; give a file";
	case ENOENT:
	case ENOTDIR:
		return "; give a file that is there";
	default:
		return "";
	}
}

/* Red, yellow and green are for what asks for somebody, may, or does not. */
static const struct {
	const char *word;
	const char *code;
} rg_colours[] = {
	{ "open", "\033[32m" },
	{ "on", "\033[32m" },
	{ "covered", "\033[32m" },
	{ "closed", "\033[33m" },
	{ "in part", "\033[33m" },
	{ "untested", "\033[33m" },
	{ "parked", "\033[31m" },
	{ "off", "\033[31m" },
	{ "not covered", "\033[31m" },
	{ "unreadable", "\033[31m" },
};

/**
 * rg_paint - what turns a word's colour on
 * @cli: the run
 * @word: the word
 *
 * Context: User space.
 * Return: an escape sequence, or "" where there is no terminal or no colour.
 */
const char *rg_paint(const struct rg_cli *cli, const char *word)
{
	size_t i;

	for (i = 0; cli->colour && i < ARRAY_SIZE(rg_colours); i++)
		if (!strcmp(rg_colours[i].word, word))
			return rg_colours[i].code;
	return "";
}

/**
 * rg_unpaint - what turns it off again
 * @cli: the run
 * @word: the word
 *
 * Context: User space.
 * Return: an escape sequence or "".
 */
const char *rg_unpaint(const struct rg_cli *cli, const char *word)
{
	return *rg_paint(cli, word) ? "\033[0m" : "";
}
