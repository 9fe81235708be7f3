// SPDX-License-Identifier: GPL-2.0
/*
 * Takes the machine's name and the addresses of networks out of a text. An address
 * of a PCI function has two colons, one of a network adapter more.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "report.h"
#include "sysfs.h"

#define RG_MASK_MAC	17	/* characters */

static bool rg_mask_in_word(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

/* The name without its domain; empty: none that tells machines apart. */
static void rg_mask_host(char *host, size_t size)
{
	struct utsname name;
	char path[PATH_MAX];

	if (rg_read_line(rg_path(path, "/proc/sys/kernel/hostname"), host, size) < 0)
		snprintf(host, size, "%s", uname(&name) ? "" : name.nodename);
	host[strcspn(host, ".")] = '\0';
	if (!strcmp(host, "localhost") || *host == '(')
		*host = '\0';
}

/* With its domain, if that follows. */
static size_t rg_mask_host_at(const char *text, const char *host)
{
	size_t len = strlen(host);

	if (!len || strncasecmp(text, host, len) || rg_mask_in_word(text[len]))
		return 0;
	while (text[len] == '.' && isalnum((unsigned char)text[len + 1]))
		len += 1 + strspn(text + len + 1, "abcdefghijklmnopqrstuvwxyz0123456789-");
	return len;
}

/* Six pairs of digits with dashes between, or an interface that is named after them. */
static size_t rg_mask_mac_at(const char *text)
{
	static const char digits[] = "0123456789abcdefABCDEF";
	size_t i;

	if (!strncmp(text, "enx", 3) && strspn(text + 3, digits) == 12)
		return 15;
	for (i = 0; i < RG_MASK_MAC; i++)
		if (i % 3 == 2 ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return 0;
	return rg_mask_in_word(text[i]) || text[i] == '-' ? 0 : RG_MASK_MAC;
}

static size_t rg_mask_ip4_at(const char *text)
{
	size_t len = strspn(text, "0123456789.");
	struct in_addr address;
	char copy[16];

	while (len && text[len - 1] == '.')
		len--;
	if (len < 7 || len >= sizeof(copy) || rg_mask_in_word(text[len]))
		return 0;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return inet_pton(AF_INET, copy, &address) == 1 ? len : 0;
}

/* IPv6, or a hardware address of any length: three colons, or two together. */
static size_t rg_mask_colons_at(const char *text)
{
	size_t len = strspn(text, "0123456789abcdefABCDEF:"), colons = 0, i;
	bool two = false;

	while (len > 1 && text[len - 1] == ':' && text[len - 2] != ':')
		len--;
	for (i = 0; i < len; i++) {
		colons += text[i] == ':';
		two |= i && text[i] == ':' && text[i - 1] == ':';
	}
	if (len < 3 || (colons < 3 && !two))
		return 0;
	/* A dotted address may be the end of one. */
	return text[len] == '.' ? len + strspn(text + len, "0123456789.") : len;
}

static size_t rg_mask_at(const char *text, const char *host, const char **mask)
{
	size_t len = rg_mask_host_at(text, host);

	*mask = "<host>";
	if (len)
		return len;
	*mask = "<address>";
	len = rg_mask_mac_at(text);
	if (!len)
		len = rg_mask_ip4_at(text);
	return len ? len : rg_mask_colons_at(text);
}

/**
 * rg_report_mask - a text without the machine's name and addresses of networks
 * @text: the text
 *
 * Context: User space.
 * Return: a copy, to be freed; NULL if there is no memory.
 */
char *rg_report_mask(const char *text)
{
	char host[80], *masked = NULL;
	const char *at = text, *mask;
	size_t size = 0, len;
	FILE *out = open_memstream(&masked, &size);

	if (!out)
		return NULL;
	rg_mask_host(host, sizeof(host));
	while (*at) {
		len = at > text && rg_mask_in_word(at[-1]) ? 0 : rg_mask_at(at, host, &mask);
		if (len)
			fputs(mask, out);
		else
			fputc(*at++, out);
		at += len;
	}
	if (fclose(out)) {
		free(masked);
		return NULL;
	}
	return masked;
}
