// SPDX-License-Identifier: GPL-2.0
/*
 * Does the kernel have the key that the module's file was signed by?
 *
 * All keys that dkms makes have one name, so a name tells little: with /var/lib/dkms
 * made anew the module's key is another than the one that was enrolled. A signature
 * has its certificate's serial number; the kernel shows its keys by subject key
 * identifier. Only the certificate has both, so it is looked for where it is kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel.h"
#include "sysfs.h"

#define RG_KEY_ID	64	/* bytes; serial numbers and identifiers have 20 */

struct rg_key_id {
	u8 bytes[RG_KEY_ID];
	size_t size;
};

/* Debian's and Fedora's dkms, Ubuntu's. */
static const char *const rg_certificates[] = {
	"/var/lib/dkms/mok.pub", "/var/lib/shim-signed/mok/MOK.der",
};

/* "4E:A3:45", as modinfo has it; empty if it is anything else. */
static struct rg_key_id rg_key_id_parse(const char *text)
{
	struct rg_key_id id = { };
	unsigned int byte;
	int used;

	for (; id.size < RG_KEY_ID; text += used) {
		if (sscanf(text, "%2x%n", &byte, &used) != 1 || used != 2)
			break;
		id.bytes[id.size++] = byte;
		text += text[used] == ':';
		if (!text[used])
			return id;
	}
	id.size = 0;
	return id;
}

/* A certificate begins with its version, which is 3, and its serial number: RFC 5280, 4.1. */
static bool rg_certificate_has_serial(struct rg_part der, const struct rg_key_id *serial)
{
	static const u8 version[] = { 0xa0, 3, 2, 1, 2, 2 };
	const u8 *at = der.size ? memmem(der.at, der.size < 32 ? der.size : 32, version,
					 sizeof(version)) : NULL;
	struct rg_part rest, found;

	if (!at)
		return false;
	at += sizeof(version);
	rest = (struct rg_part){ at, der.size - (at - der.at) };
	found = rg_part_of(rest, 1, rest.size ? *at : 0);
	/* What would be negative has a zero before it. */
	while (found.size && !*found.at) {
		found.at++;
		found.size--;
	}
	return found.size && found.size == serial->size &&
	       !memcmp(found.at, serial->bytes, found.size);
}

/* An extension, 2.5.29.14, in two wrappings. */
static struct rg_part rg_certificate_key_id(struct rg_part der)
{
	static const u8 oid[] = { 6, 3, 0x55, 0x1d, 0x0e, 4 };
	const u8 *at = memmem(der.at, der.size, oid, sizeof(oid));
	struct rg_part rest = { };

	if (!at)
		return rest;
	at += sizeof(oid);
	rest = (struct rg_part){ at, der.size - (at - der.at) };
	if (rest.size < 3 || at[1] != 4 || at[2] > RG_KEY_ID)
		return (struct rg_part){ };
	return rg_part_of(rest, 3, at[2]);
}

/*
 * Keys of the firmware and of the machine's owner are the kernel's, too: "... asymmetri
 * [ORGANISATION: ]NAME: KEY-ID: X509.rsa ..."; the serial number where there is no id.
 */
static bool rg_keys_have(const char *keys, const char *signer, struct rg_part id)
{
	char what[160 + 2 * RG_KEY_ID], *line, *copy, *rest;
	size_t len, i;
	bool found = false;

	len = snprintf(what, 160, " %s: ", signer);
	for (i = 0; i < id.size && i < RG_KEY_ID; i++)
		len += snprintf(what + len, sizeof(what) - len, "%02x", id.at[i]);
	if (id.size)
		snprintf(what + len, sizeof(what) - len, ": ");
	copy = rest = strdup(keys);
	while (!found && (line = strsep(&rest, "\n")))
		found = strstr(line, " asymmetri") && strstr(line, what);
	free(copy);
	return found;
}

/* 1, 0, or -1 where its certificate is nowhere. */
static int rg_signature_certified(const char *keys, const struct rg_module_file *file)
{
	struct rg_key_id serial = rg_key_id_parse(file->serial);
	struct rg_part der = { }, id;
	char path[PATH_MAX], *data;
	int error, enrolled = -1;
	size_t i;

	for (i = 0; enrolled < 0 && i < ARRAY_SIZE(rg_certificates); i++) {
		data = rg_read_all(rg_path(path, "%s", rg_certificates[i]), 1u << 16, &der.size,
				   &error);
		der.at = (u8 *)data;
		if (data && serial.size && rg_certificate_has_serial(der, &serial)) {
			id = rg_certificate_key_id(der);
			if (!id.size)
				id = (struct rg_part){ serial.bytes, serial.size };
			enrolled = rg_keys_have(keys, file->signer, id);
		}
		free(data);
	}
	return enrolled;
}

/**
 * rg_signature_find - ask whether the kernel has the module's key
 * @file: signer and serial are set; receives enrolled and namesake
 *
 * Others than root see but their own keys.
 *
 * Context: User space.
 */
void rg_signature_find(struct rg_module_file *file)
{
	char path[PATH_MAX], *keys;
	size_t size = 0;
	int error;

	file->enrolled = -1;
	if (!*file->signer || geteuid())
		return;
	keys = rg_read_all(rg_path(path, "/proc/keys"), 1u << 20, &size, &error);
	if (keys && size) {
		file->namesake = rg_keys_have(keys, file->signer, (struct rg_part){ });
		file->enrolled = file->namesake ? rg_signature_certified(keys, file) : 0;
	}
	free(keys);
}
