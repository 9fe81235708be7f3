// SPDX-License-Identifier: GPL-2.0
/* The back ends: which there are, which of them are in force. */
#include <linux/sysfs.h>

#include "../backend.h"

static const struct rg_backend *const rg_backends[] = {
#ifdef CONFIG_X86_64
	&rg_vtd_backend,
	&rg_amd_backend,
#endif
#ifdef CONFIG_ARM64
	&rg_smmuv3_backend,
#endif
};

static bool rg_backends_up[ARRAY_SIZE(rg_backends)];

static int rg_backends_start(const struct rg_backend *be)
{
	int rc;

	if (!rg_set_usable(be->set))
		return -EOPNOTSUPP;
	rc = be->init();
	if (rc == -ENODEV)
		rg_set_rest(be->set);
	else if (rc)
		rg_set_turn_off(be->set);
	if (rc)
		return rc;
	rc = rg_patch_join(be->set, RG_SET_ENDPOINT, be->hooks, be->nr_hooks);
	if (rc)
		be->exit();
	return rc;
}

static void rg_backends_complain(int rc)
{
	char hints[96] = "";
	size_t len = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(rg_backends); i++)
		len += scnprintf(hints + len, sizeof(hints) - len, "%s%s", i ? " or " : "",
				 rg_backends[i]->hint);
	pr_err("no IOMMU of this machine can be gated (%d): expected %s, found it not in use or not as the table of targets has it; see /sys/class/iommu and the lines before this one\n",
	       rc, hints);
}

/**
 * rg_backends_init - put every back end in force that this machine can use
 *
 * Their redirects go with those of the endpoint valve: rg_endpoint_remove().
 *
 * Context: Process context, at load; that valve is in force.
 * Return: 0 if there is at least one, else the error of one that is in use, or
 * -ENODEV.
 */
int rg_backends_init(void)
{
	int error = -ENODEV, up = 0, i, rc;

	for (i = 0; i < ARRAY_SIZE(rg_backends); i++) {
		rc = rg_backends_start(rg_backends[i]);
		rg_backends_up[i] = !rc;
		up += !rc;
		if (rc && rc != -ENODEV)
			error = rc;
	}
	if (up)
		return 0;
	rg_backends_complain(error);
	return error;
}

/**
 * rg_backends_exit - take every back end out of force
 *
 * Context: Process context, at unload, after rg_endpoint_remove(); no gate is closed.
 */
void rg_backends_exit(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(rg_backends); i++) {
		if (!rg_backends_up[i])
			continue;
		rg_valve_shut_down(rg_backends[i]->valve);
		rg_backends[i]->exit();
		rg_backends_up[i] = false;
	}
}

/**
 * rg_backends_match - the back end of the IOMMU that a device is behind
 * @dev: the device
 *
 * Context: Process context.
 * Return: the back end, or NULL if there is none in force.
 */
const struct rg_backend *rg_backends_match(struct device *dev)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(rg_backends); i++)
		if (rg_backends_up[i] && rg_backends[i]->match(dev))
			return rg_backends[i];
	return NULL;
}

/**
 * rg_backends_show - a line for each back end
 * @buf: a page
 *
 * Context: Process context.
 * Return: bytes written.
 */
ssize_t rg_backends_show(char *buf)
{
	ssize_t len = 0;
	int i;

	for (i = 0; i < ARRAY_SIZE(rg_backends); i++)
		len += sysfs_emit_at(buf, len, "%s %s\n", rg_backends[i]->name,
				     rg_backends_up[i] ? "on" : "off");
	return len;
}
