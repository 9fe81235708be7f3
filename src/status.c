// SPDX-License-Identifier: GPL-2.0
/*
 * sysfs: what people see of each function, in resetgate/ below its PCI device,
 * and of the module, in /sys/kernel/resetgate/.
 */
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/sysfs.h>
#include <linux/utsname.h>

#include "attach.h"
#include "backend.h"
#include "closing.h"
#include "params.h"
#include "patch.h"
#include "registry.h"
#include "status.h"

static const char *const rg_phase_names[] = {
	[RG_OPEN] = "open",
	[RG_CLOSED] = "closed",
	[RG_PARKED] = "parked",
};

static const char *const rg_mode_names[] = {
	[RG_MODE_AUTO] = "auto",
	[RG_MODE_OFF] = "off",
	[RG_MODE_ON] = "on",
};

static const char *const rg_why_names[RG_NR_WHYS] = {
	[RG_WHY_NONE] = "none",
	[RG_WHY_FUNCTION_RESET] = "function_reset",
	[RG_WHY_FLR] = "flr",
	[RG_WHY_BUS_RESET] = "bus_reset",
	[RG_WHY_SLOT_RESET] = "slot_reset",
	[RG_WHY_RECOVERY] = "recovery",
	[RG_WHY_PF_RESET] = "pf_reset",
	[RG_WHY_SILENT] = "silent",
	[RG_WHY_FAILED] = "recovery_failed",
	[RG_WHY_TIMEOUT] = "timeout",
};

/* The tracepoints have their own list of these, by number. */
static_assert(RG_WHY_NONE == 0 && RG_WHY_TIMEOUT == 9 && RG_NR_WHYS == 10);

/* Of the function. A file may outlive its state by a moment. */

typedef ssize_t rg_show_fn(struct rg_state *state, char *buf);

static ssize_t rg_status_show(struct device *dev, char *buf, rg_show_fn *show)
{
	struct rg_state *state = rg_registry_get(to_pci_dev(dev));
	ssize_t len;

	if (!state)
		return -ENODEV;
	len = show(state, buf);
	rg_registry_put(state);
	return len;
}

#define RG_STATUS_SHOW(name, format, value)					\
static ssize_t rg_status_##name(struct rg_state *state, char *buf)		\
{										\
	return sysfs_emit(buf, format "\n", value);				\
}										\
static ssize_t name##_show(struct device *dev,					\
			   struct device_attribute *attr, char *buf)		\
{										\
	return rg_status_show(dev, buf, rg_status_##name);			\
}

RG_STATUS_SHOW(state, "%s", rg_phase_names[READ_ONCE(state->phase)])
RG_STATUS_SHOW(depth, "%d", READ_ONCE(state->depth))
RG_STATUS_SHOW(reason, "%s", rg_why_names[READ_ONCE(state->reason)])
RG_STATUS_SHOW(windows, "%llu", READ_ONCE(state->windows))
RG_STATUS_SHOW(recorded, "%llu", rg_rids_recorded(state))
RG_STATUS_SHOW(dropped, "%llu", rg_rids_dropped(state))
RG_STATUS_SHOW(last_window_us, "%llu", READ_ONCE(state->last_window_us))
RG_STATUS_SHOW(last_error, "%d", READ_ONCE(state->last_error))
RG_STATUS_SHOW(mode, "%s", rg_mode_names[READ_ONCE(state->mode)])
RG_STATUS_SHOW(policy, "%s", rg_policy_names[READ_ONCE(state->policy)])

static ssize_t state_store(struct device *dev, struct device_attribute *attr,
			   const char *buf, size_t count)
{
	struct rg_state *state;
	int rc;

	if (!sysfs_streq(buf, "open")) {
		pci_err(to_pci_dev(dev), "resetgate/state: expected open, found '%.*s'; nothing was changed\n",
			(int)min_t(size_t, strcspn(buf, "\n"), 16), buf);
		return -EINVAL;
	}
	state = rg_registry_get(to_pci_dev(dev));
	if (!state)
		return -ENODEV;
	rc = rg_gate_reopen(state);
	rg_registry_put(state);
	if (rc == -EINVAL)
		pci_err(to_pci_dev(dev), "resetgate/state: expected a parked function, found one that is open already; nothing was changed\n");
	return rc ?: count;
}

static ssize_t mode_store(struct device *dev, struct device_attribute *attr,
			  const char *buf, size_t count)
{
	struct rg_state *state;
	int mode;

	mode = __sysfs_match_string(rg_mode_names, ARRAY_SIZE(rg_mode_names), buf);
	if (mode < 0) {
		pci_err(to_pci_dev(dev), "resetgate/mode: expected auto, off or on, found '%.*s'; nothing was changed\n",
			(int)min_t(size_t, strcspn(buf, "\n"), 16), buf);
		return -EINVAL;
	}
	state = rg_registry_get(to_pci_dev(dev));
	if (!state)
		return -ENODEV;
	WRITE_ONCE(state->mode, mode);
	rg_registry_put(state);
	return count;
}

static ssize_t policy_store(struct device *dev, struct device_attribute *attr,
			    const char *buf, size_t count)
{
	struct rg_state *state;
	int policy, rc;

	policy = __sysfs_match_string(rg_policy_names, RG_NR_POLICIES, buf);
	if (policy < 0) {
		pci_err(to_pci_dev(dev), "resetgate/policy: expected default, record, busy or wait, found '%.*s'; nothing was changed\n",
			(int)min_t(size_t, strcspn(buf, "\n"), 16), buf);
		return -EINVAL;
	}
	rc = rg_attach_allow(policy);
	if (rc)
		return rc;
	state = rg_registry_get(to_pci_dev(dev));
	if (!state)
		return -ENODEV;
	WRITE_ONCE(state->policy, policy);
	rg_registry_put(state);
	rg_attach_wake();
	return count;
}

static DEVICE_ATTR_RW(state);
static DEVICE_ATTR_RO(depth);
static DEVICE_ATTR_RO(reason);
static DEVICE_ATTR_RO(windows);
static DEVICE_ATTR_RO(recorded);
static DEVICE_ATTR_RO(dropped);
static DEVICE_ATTR_RO(last_window_us);
static DEVICE_ATTR_RO(last_error);
static DEVICE_ATTR_RW(mode);
static DEVICE_ATTR_RW(policy);

static struct attribute *rg_status_function_attrs[] = {
	&dev_attr_state.attr,
	&dev_attr_depth.attr,
	&dev_attr_reason.attr,
	&dev_attr_windows.attr,
	&dev_attr_recorded.attr,
	&dev_attr_dropped.attr,
	&dev_attr_last_window_us.attr,
	&dev_attr_last_error.attr,
	&dev_attr_mode.attr,
	&dev_attr_policy.attr,
	NULL
};

static const struct attribute_group rg_status_function_group = {
	.name = "resetgate",
	.attrs = rg_status_function_attrs,
};

/**
 * rg_status_add - show a function
 * @state: its state
 *
 * Context: Process context, sleeps.
 */
void rg_status_add(struct rg_state *state)
{
	int rc = sysfs_create_group(&state->pdev->dev.kobj, &rg_status_function_group);

	if (rc)
		pci_warn(state->pdev, "no resetgate/ in sysfs (%d): the function is covered, but cannot be watched\n",
			 rc);
	state->shown = !rc;
}

/**
 * rg_status_del - stop showing a function
 * @state: its state
 *
 * Context: Process context; waits for those who are reading.
 */
void rg_status_del(struct rg_state *state)
{
	if (state->shown)
		sysfs_remove_group(&state->pdev->dev.kobj, &rg_status_function_group);
	state->shown = false;
}

/* Of the module. */

static struct kobject *rg_status_kobj;
static bool rg_status_tested;

static ssize_t version_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%s\n", THIS_MODULE->version);
}

static ssize_t kernel_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%s %s\n", init_utsname()->release,
			  rg_status_tested ? "tested" : "untested");
}

static ssize_t backends_show(struct kobject *kobj, struct kobj_attribute *attr,
			     char *buf)
{
	return rg_backends_show(buf);
}

static ssize_t targets_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return rg_patch_show(buf);
}

struct rg_status_count {
	int functions;
	int closed;
	int parked;
};

static void rg_status_tally(struct rg_state *state, void *data)
{
	struct rg_status_count *count = data;

	count->functions++;
	count->closed += READ_ONCE(state->phase) == RG_CLOSED;
	count->parked += READ_ONCE(state->phase) == RG_PARKED;
}

static ssize_t status_show(struct kobject *kobj, struct kobj_attribute *attr,
			   char *buf)
{
	struct rg_status_count count = { };
	ssize_t len;

	rg_registry_each(rg_status_tally, &count);
	len = sysfs_emit(buf, "armed: %s\n", rg_param_disarm() ? "no" : "yes");
	len += rg_patch_show_sets(buf, len);
	len += sysfs_emit_at(buf, len,
			     "functions: %d\nclosed: %d\nparked: %d\nclose_timeouts: %llu\nclosed_late: %llu\n",
			     count.functions, count.closed, count.parked,
			     rg_closing_timeouts(), rg_closing_lates());
	return len;
}

static struct kobj_attribute rg_status_version = __ATTR_RO(version);
static struct kobj_attribute rg_status_kernel = __ATTR_RO(kernel);
static struct kobj_attribute rg_status_backends = __ATTR_RO(backends);
static struct kobj_attribute rg_status_targets = __ATTR_RO(targets);
static struct kobj_attribute rg_status_status = __ATTR_RO(status);

static struct attribute *rg_status_module_attrs[] = {
	&rg_status_version.attr,
	&rg_status_kernel.attr,
	&rg_status_backends.attr,
	&rg_status_targets.attr,
	&rg_status_status.attr,
	NULL
};

static const struct attribute_group rg_status_module_group = {
	.attrs = rg_status_module_attrs,
};

/**
 * rg_status_init - show the module
 * @tested: whether the running kernel's series is on the tested list
 *
 * Context: Process context, at load.
 * Return: 0 or an error.
 */
int rg_status_init(bool tested)
{
	int rc;

	rg_status_tested = tested;
	rg_status_kobj = kobject_create_and_add("resetgate", kernel_kobj);
	if (!rg_status_kobj)
		return -ENOMEM;
	rc = sysfs_create_group(rg_status_kobj, &rg_status_module_group);
	if (rc)
		kobject_put(rg_status_kobj);
	return rc;
}

/**
 * rg_status_exit - stop showing the module
 *
 * Context: Process context, at unload.
 */
void rg_status_exit(void)
{
	kobject_put(rg_status_kobj);
}
