// SPDX-License-Identifier: GPL-2.0
/*
 * resetgate: while a PCI function is being reset, its IOMMU attachments may
 * change, but the IOMMU hardware does not see it until the reset is done.
 *
 * Load, in order:
 *   status    what people see
 *   resolve   every target of the table, against the kernel's own BTF
 *   self-test the patch engine on a function of our own
 *   endpoint  the endpoint valve
 *   back ends their table valves; the invalidation valves stay unarmed
 *   functions a state each, their drivers' error handlers
 *   resets    from here on gates close
 *   attaches  where another policy than record is wanted
 *
 * Unload: the attaches, the resets, the error handlers, the valves, and the functions last, for
 * what is redirected still may look at one.
 */
#include <linux/module.h>
#include <linux/string.h>
#include <linux/utsname.h>

#include "attach.h"
#include "backend.h"
#include "compat.h"
#include "endpoint.h"
#include "err_handlers.h"
#include "params.h"
#include "patch.h"
#include "registry.h"
#include "reset_path.h"
#include "selftest.h"
#include "status.h"
#include "valve.h"

static const char *const rg_tested_series[] = { RG_TESTED_SERIES };

static bool rg_main_is_tested(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(rg_tested_series); i++)
		if (strstarts(init_utsname()->release, rg_tested_series[i]))
			return true;
	return false;
}

static int rg_main_check_kernel(bool tested)
{
	if (tested || rg_param_allow_untested())
		return 0;
	pr_err("kernel %s: expected a tested series (the newest is %s*), found none of them; look for a newer resetgate, or load with allow_untested=1\n",
	       init_utsname()->release, rg_tested_series[ARRAY_SIZE(rg_tested_series) - 1]);
	return -EOPNOTSUPP;
}

static int rg_main_arm(void)
{
	int rc;

	rc = rg_patch_resolve(rg_param_btf());
	if (!rc && !rg_set_usable(RG_SET_CORE))
		rc = -EOPNOTSUPP;
	if (!rc)
		rc = rg_selftest();
	if (rc)
		return rc;
	rc = rg_valves_init();
	if (rc)
		return rc;
	rc = rg_endpoint_install();
	if (rc)
		goto out_valves;
	rc = rg_backends_init();
	if (rc)
		goto out_endpoint;
	rc = rg_registry_init();
	if (rc)
		goto out_endpoint;
	rc = rg_reset_path_install();
	if (rc)
		goto out_registry;
	rg_attach_start();
	return 0;

out_registry:
	rg_registry_stop();
	rg_err_handlers_exit();
	rg_registry_exit();
out_endpoint:
	rg_endpoint_remove();
	rg_backends_exit();
out_valves:
	rg_valves_exit();
	return rc;
}

/* Closed and parked functions hold the module: none is left. */
static void rg_main_disarm(void)
{
	rg_attach_stop();
	rg_reset_path_remove();
	rg_registry_stop();
	rg_err_handlers_exit();
	rg_endpoint_remove();
	rg_backends_exit();
	rg_registry_exit();
	rg_valves_exit();
}

static int __init rg_main_init(void)
{
	bool tested = rg_main_is_tested();
	int rc;

	if (!rg_param_disarm()) {
		rc = rg_main_check_kernel(tested);
		if (rc)
			return rc;
	}
	/* First, for nothing can be taken back once a gate may be closed. */
	rc = rg_status_init(tested);
	if (rc || rg_param_disarm())
		return rc;
	rc = rg_main_arm();
	if (rc)
		rg_status_exit();
	return rc;
}

static void __exit rg_main_exit(void)
{
	if (!rg_param_disarm())
		rg_main_disarm();
	rg_status_exit();
}

module_init(rg_main_init);
module_exit(rg_main_exit);

MODULE_DESCRIPTION("Keeps the IOMMU's hands off PCI functions in reset");
MODULE_AUTHOR("The resetgate developers");
MODULE_LICENSE("GPL");
MODULE_VERSION("0.1.0");
