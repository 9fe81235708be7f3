// SPDX-License-Identifier: GPL-2.0
/*
 * The endpoint valve: ATS, PRI and PASID control of a function in reset.
 *
 * While it is closed, the kernel's functions that write these controls change
 * the fields of struct pci_dev only, with the checks and the errors of the real
 * ones, and those that read capabilities answer from what was read while the
 * function could still answer: in reset it reads as all ones, and an IOMMU
 * driver would keep that. Opening makes the registers what the fields say.
 *
 * A replacement may be entered just before the valve opens. It then writes the
 * register itself, under the lock that opening takes last.
 */
#include <linux/pci-ats.h>

#include "compat.h"
#include "endpoint.h"
#include "patch.h"
#include "registry.h"

typedef bool rg_acs_path_fn(struct pci_dev *start, struct pci_dev *end, u16 flags);

RG_CALL_DEFINE(rg_call_acs_path, rg_acs_path_fn);

/* One replacement's hold on a function. */
struct rg_endpoint_hold {
	struct rg_endpoint *ep;
	struct rg_endpoint_caps caps;
	unsigned long flags;
};

/* Stands in for a function whose state went away between divert and here. */
static struct rg_endpoint rg_endpoint_gone = {
	.lock = __RAW_SPIN_LOCK_UNLOCKED(rg_endpoint_gone.lock),
};

/* All ones are no answer: what was read before stays. */
static void rg_endpoint_read_caps(struct rg_endpoint_caps *caps, struct pci_dev *pdev)
{
	u16 word;
	u32 dword;

	if (pdev->ats_cap &&
	    !pci_read_config_word(pdev, pdev->ats_cap + PCI_ATS_CAP, &word) &&
	    word != (u16)~0)
		caps->ats = word;
	if (rg_compat_pasid_cap(pdev) &&
	    !pci_read_config_word(pdev, rg_compat_pasid_cap(pdev) + PCI_PASID_CAP, &word) &&
	    word != (u16)~0)
		caps->pasid = word;
	if (rg_compat_pri_cap(pdev) &&
	    !pci_read_config_dword(pdev, rg_compat_pri_cap(pdev) + PCI_PRI_MAX_REQ, &dword) &&
	    dword != ~0U)
		caps->pri_max = dword;
}

static void rg_endpoint_hold(struct rg_endpoint_hold *hold, struct pci_dev *pdev)
	__acquires(RCU) __acquires(&hold->ep->lock)
{
	struct rg_state *state;

	rcu_read_lock();
	state = rg_registry_find(pdev);
	hold->ep = state ? &state->ep : &rg_endpoint_gone;
	raw_spin_lock_irqsave(&hold->ep->lock, hold->flags);
	hold->caps = hold->ep->caps;
	if (!state)
		rg_endpoint_read_caps(&hold->caps, pdev);
}

static void rg_endpoint_let_go(struct rg_endpoint_hold *hold)
	__releases(&hold->ep->lock) __releases(RCU)
{
	raw_spin_unlock_irqrestore(&hold->ep->lock, hold->flags);
	rcu_read_unlock();
}

static bool rg_endpoint_passes(const struct rg_endpoint_hold *hold)
{
	return !hold->ep->closed;
}

/* PCIe r6.0 sec. 10.5.1.3: the STU of a VF is its PF's. */
static void rg_endpoint_write_ats(struct pci_dev *pdev, bool enable)
{
	u16 ctrl = enable ? PCI_ATS_CTRL_ENABLE : 0;

	if (!pdev->is_virtfn && pdev->ats_stu >= PCI_ATS_MIN_STU)
		ctrl |= PCI_ATS_CTRL_STU(pdev->ats_stu - PCI_ATS_MIN_STU);
	pci_write_config_word(pdev, pdev->ats_cap + PCI_ATS_CTRL, ctrl);
}

static u16 rg_endpoint_pasid_ctrl(const struct pci_dev *pdev)
{
	return pdev->pasid_enabled ? PCI_PASID_CTRL_ENABLE | rg_compat_pasid_features(pdev) : 0;
}

/* Writes nothing where nothing would change: ATS may be on. */
static void rg_endpoint_write_pasid(struct pci_dev *pdev)
{
	int pos = rg_compat_pasid_cap(pdev) + PCI_PASID_CTRL;
	u16 ctrl;

	pci_read_config_word(pdev, pos, &ctrl);
	if (ctrl != rg_endpoint_pasid_ctrl(pdev))
		pci_write_config_word(pdev, pos, rg_endpoint_pasid_ctrl(pdev));
}

/* The allocation may be changed only while PRI is off: PCIe r6.0 sec. 10.5.2.4. */
static void rg_endpoint_write_pri(struct pci_dev *pdev)
{
	int pos = rg_compat_pri_cap(pdev);
	u16 ctrl;

	pci_read_config_word(pdev, pos + PCI_PRI_CTRL, &ctrl);
	if (!!(ctrl & PCI_PRI_CTRL_ENABLE) == pdev->pri_enabled)
		return;
	pci_write_config_word(pdev, pos + PCI_PRI_CTRL, 0);
	if (!pdev->pri_enabled)
		return;
	pci_write_config_dword(pdev, pos + PCI_PRI_ALLOC_REQ, rg_compat_pri_reqs(pdev));
	pci_write_config_word(pdev, pos + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
}

static void rg_endpoint_write_controls(struct pci_dev *pdev)
{
	if (pdev->is_virtfn)
		return;
	if (rg_compat_pasid_cap(pdev))
		rg_endpoint_write_pasid(pdev);
	if (rg_compat_pri_cap(pdev))
		rg_endpoint_write_pri(pdev);
}

/* The replacements. Each has the checks of the kernel's function of the name. */

static int rg_endpoint_check_ats(struct pci_dev *pdev, int ps)
{
	if (!pci_ats_supported(pdev))
		return -EINVAL;
	if (WARN_ON(pdev->ats_enabled))
		return -EBUSY;
	return ps < PCI_ATS_MIN_STU ? -EINVAL : 0;
}

static int rg_endpoint_enable_ats(struct pci_dev *pdev, int ps)
{
	struct rg_endpoint_hold hold;
	int rc;

	rg_endpoint_hold(&hold, pdev);
	rc = rg_endpoint_check_ats(pdev, ps);
	if (!rc && pdev->is_virtfn && pci_physfn(pdev)->ats_stu != ps)
		rc = -EINVAL;
	if (!rc) {
		if (!pdev->is_virtfn)
			pdev->ats_stu = ps;
		pdev->ats_enabled = 1;
		if (rg_endpoint_passes(&hold))
			rg_endpoint_write_ats(pdev, true);
	}
	rg_endpoint_let_go(&hold);
	return rc;
}

static void rg_endpoint_disable_ats(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;

	rg_endpoint_hold(&hold, pdev);
	if (!WARN_ON(!pdev->ats_enabled)) {
		pdev->ats_enabled = 0;
		if (rg_endpoint_passes(&hold))
			rg_endpoint_write_ats(pdev, false);
	}
	rg_endpoint_let_go(&hold);
}

/* Of a VF it writes nothing: that is left to the kernel's own. */
static int rg_endpoint_prepare_ats(struct pci_dev *pdev, int ps)
{
	struct rg_endpoint_hold hold;
	int rc;

	rg_endpoint_hold(&hold, pdev);
	rc = rg_endpoint_check_ats(pdev, ps);
	if (!rc) {
		pdev->ats_stu = ps;
		if (rg_endpoint_passes(&hold))
			rg_endpoint_write_ats(pdev, false);
	}
	rg_endpoint_let_go(&hold);
	return rc;
}

static void rg_endpoint_restore_ats(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;

	rg_endpoint_hold(&hold, pdev);
	if (pdev->ats_enabled && rg_endpoint_passes(&hold))
		rg_endpoint_write_ats(pdev, true);
	rg_endpoint_let_go(&hold);
}

/* ATS_CAP of a function that is closed, or was a moment ago. */
static u16 rg_endpoint_ats_cap(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;
	u16 cap;

	rg_endpoint_hold(&hold, pdev);
	cap = hold.caps.ats;
	rg_endpoint_let_go(&hold);
	return cap;
}

static int rg_endpoint_ats_queue_depth(struct pci_dev *pdev)
{
	u16 cap;

	if (!pdev->ats_cap)
		return -EINVAL;
	if (pdev->is_virtfn)
		return 0;
	cap = rg_endpoint_ats_cap(pdev);
	return PCI_ATS_CAP_QDEP(cap) ? PCI_ATS_CAP_QDEP(cap) : PCI_ATS_MAX_QDEP;
}

static int rg_endpoint_ats_page_aligned(struct pci_dev *pdev)
{
	if (!pdev->ats_cap)
		return 0;
	return !!(rg_endpoint_ats_cap(pdev) & PCI_ATS_CAP_PAGE_ALIGNED);
}

/* A reset leaves the Stopped bit set, so that check always passes. */
static int rg_endpoint_enable_pri(struct pci_dev *pdev, u32 reqs)
{
	struct rg_endpoint_hold hold;
	int rc = 0;

	if (pdev->is_virtfn)
		return pci_physfn(pdev)->pri_enabled ? 0 : -EINVAL;
	rg_endpoint_hold(&hold, pdev);
	if (WARN_ON(pdev->pri_enabled)) {
		rc = -EBUSY;
	} else if (!rg_compat_pri_cap(pdev)) {
		rc = -EINVAL;
	} else {
		rg_compat_set_pri_reqs(pdev, min(reqs, hold.caps.pri_max));
		pdev->pri_enabled = 1;
		if (rg_endpoint_passes(&hold))
			rg_endpoint_write_pri(pdev);
	}
	rg_endpoint_let_go(&hold);
	return rc;
}

static void rg_endpoint_disable_pri(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;

	if (pdev->is_virtfn)
		return;
	rg_endpoint_hold(&hold, pdev);
	if (!WARN_ON(!pdev->pri_enabled) && rg_compat_pri_cap(pdev)) {
		pdev->pri_enabled = 0;
		if (rg_endpoint_passes(&hold))
			rg_endpoint_write_pri(pdev);
	}
	rg_endpoint_let_go(&hold);
}

/* The reset that is running resets PRI more thoroughly than this would. */
static int rg_endpoint_reset_pri(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;
	int rc = 0;

	if (pdev->is_virtfn)
		return 0;
	rg_endpoint_hold(&hold, pdev);
	if (WARN_ON(pdev->pri_enabled))
		rc = -EBUSY;
	else if (!rg_compat_pri_cap(pdev))
		rc = -EINVAL;
	else if (rg_endpoint_passes(&hold))
		pci_write_config_word(pdev, rg_compat_pri_cap(pdev) + PCI_PRI_CTRL,
				      PCI_PRI_CTRL_RESET);
	rg_endpoint_let_go(&hold);
	return rc;
}

static void rg_endpoint_restore_pri(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;

	if (pdev->is_virtfn || !rg_compat_pri_cap(pdev))
		return;
	rg_endpoint_hold(&hold, pdev);
	if (pdev->pri_enabled && rg_endpoint_passes(&hold))
		rg_endpoint_write_pri(pdev);
	rg_endpoint_let_go(&hold);
}

/* The ACS controls on the path are the bridges', which are not in reset. */
static bool rg_endpoint_pasid_path(struct pci_dev *pdev)
{
	if (!rg_compat_eetlp(pdev) && !pdev->pasid_no_tlp)
		return false;
	return !RG_COMPAT_PASID_WANTS_ACS ||
	       rg_call(rg_call_acs_path)(pdev, NULL, PCI_ACS_RR | PCI_ACS_UF);
}

static int rg_endpoint_enable_pasid(struct pci_dev *pdev, int features)
{
	struct rg_endpoint_hold hold;
	bool path = rg_endpoint_pasid_path(pdev);
	u16 supported;
	int rc = 0;

	if (pdev->is_virtfn)
		return pci_physfn(pdev)->pasid_enabled ? 0 : -EINVAL;
	rg_endpoint_hold(&hold, pdev);
	supported = hold.caps.pasid & (PCI_PASID_CAP_EXEC | PCI_PASID_CAP_PRIV);
	if (WARN_ON(pdev->pasid_enabled)) {
		rc = -EBUSY;
	} else if (!rg_compat_pasid_cap(pdev) || !path ||
		   (supported & features) != features) {
		rc = -EINVAL;
	} else {
		rg_compat_set_pasid_features(pdev, features);
		pdev->pasid_enabled = 1;
		if (rg_endpoint_passes(&hold))
			rg_endpoint_write_pasid(pdev);
	}
	rg_endpoint_let_go(&hold);
	return rc;
}

static void rg_endpoint_disable_pasid(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;

	if (pdev->is_virtfn)
		return;
	rg_endpoint_hold(&hold, pdev);
	if (!WARN_ON(!pdev->pasid_enabled) && rg_compat_pasid_cap(pdev)) {
		pdev->pasid_enabled = 0;
		if (rg_endpoint_passes(&hold))
			rg_endpoint_write_pasid(pdev);
	}
	rg_endpoint_let_go(&hold);
}

static void rg_endpoint_restore_pasid(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;

	if (pdev->is_virtfn || !rg_compat_pasid_cap(pdev))
		return;
	rg_endpoint_hold(&hold, pdev);
	if (pdev->pasid_enabled && rg_endpoint_passes(&hold))
		rg_endpoint_write_pasid(pdev);
	rg_endpoint_let_go(&hold);
}

static int rg_endpoint_pasid_cap(struct pci_dev *pdev)
{
	struct rg_endpoint_hold hold;
	u16 cap;

	pdev = pci_physfn(pdev);
	if (!rg_compat_pasid_cap(pdev))
		return -EINVAL;
	rg_endpoint_hold(&hold, pdev);
	cap = hold.caps.pasid;
	rg_endpoint_let_go(&hold);
	return cap;
}

static int rg_endpoint_pasid_features(struct pci_dev *pdev)
{
	int cap = rg_endpoint_pasid_cap(pdev);

	return cap < 0 ? cap : cap & (PCI_PASID_CAP_EXEC | PCI_PASID_CAP_PRIV);
}

/* Max PASID Width, bits 12:8: PCIe r6.0 sec. 7.8.9.2. */
static int rg_endpoint_max_pasids(struct pci_dev *pdev)
{
	int cap = rg_endpoint_pasid_cap(pdev);

	return cap < 0 ? cap : 1 << (cap >> 8 & 0x1f);
}

/* The diverts. */

static notrace bool rg_endpoint_is_closed(const struct pci_dev *pdev)
{
	struct rg_state *state = rg_registry_find(pdev);

	return state && READ_ONCE(state->ep.closed);
}

#define RG_ENDPOINT_DIVERT(name)						\
static notrace void *rg_divert_##name(struct ftrace_regs *fregs,		\
				      unsigned long parent_ip)			\
{										\
	struct pci_dev *pdev = (void *)rg_compat_arg(fregs, 0);		\
										\
	return rg_endpoint_is_closed(pdev) ? rg_endpoint_##name : NULL;		\
}

/* What a VF reads of its PF's capability is closed when the PF is. */
#define RG_ENDPOINT_DIVERT_PF(name)						\
static notrace void *rg_divert_##name(struct ftrace_regs *fregs,		\
				      unsigned long parent_ip)			\
{										\
	struct pci_dev *pdev = (void *)rg_compat_arg(fregs, 0);		\
										\
	return rg_endpoint_is_closed(pci_physfn(pdev)) ?			\
		rg_endpoint_##name : NULL;					\
}

RG_ENDPOINT_DIVERT(enable_ats)
RG_ENDPOINT_DIVERT(disable_ats)
RG_ENDPOINT_DIVERT(restore_ats)
RG_ENDPOINT_DIVERT(ats_queue_depth)
RG_ENDPOINT_DIVERT(ats_page_aligned)
RG_ENDPOINT_DIVERT(enable_pri)
RG_ENDPOINT_DIVERT(disable_pri)
RG_ENDPOINT_DIVERT(reset_pri)
RG_ENDPOINT_DIVERT(enable_pasid)
RG_ENDPOINT_DIVERT(disable_pasid)
RG_ENDPOINT_DIVERT_PF(pasid_features)
RG_ENDPOINT_DIVERT_PF(max_pasids)

static notrace void *rg_divert_prepare_ats(struct ftrace_regs *fregs,
					   unsigned long parent_ip)
{
	struct pci_dev *pdev = (void *)rg_compat_arg(fregs, 0);

	return !pdev->is_virtfn && rg_endpoint_is_closed(pdev) ?
		rg_endpoint_prepare_ats : NULL;
}

/*
 * These also outside a window: a caller that nobody brackets restores after the
 * gate opened, with ATS and PRI on, and must not write what is there already.
 */
static notrace void *rg_divert_restore_pri(struct ftrace_regs *fregs,
					   unsigned long parent_ip)
{
	struct pci_dev *pdev = (void *)rg_compat_arg(fregs, 0);

	return rg_registry_find(pdev) ? rg_endpoint_restore_pri : NULL;
}

static notrace void *rg_divert_restore_pasid(struct ftrace_regs *fregs,
					     unsigned long parent_ip)
{
	struct pci_dev *pdev = (void *)rg_compat_arg(fregs, 0);

	return rg_registry_find(pdev) ? rg_endpoint_restore_pasid : NULL;
}

static const struct rg_hook rg_endpoint_hooks[] = {
	{ RG_T_ENABLE_ATS, rg_divert_enable_ats },
	{ RG_T_DISABLE_ATS, rg_divert_disable_ats },
	{ RG_T_PREPARE_ATS, rg_divert_prepare_ats },
	{ RG_T_RESTORE_ATS, rg_divert_restore_ats },
	{ RG_T_ATS_QUEUE_DEPTH, rg_divert_ats_queue_depth },
	{ RG_T_ATS_PAGE_ALIGNED, rg_divert_ats_page_aligned },
	{ RG_T_ENABLE_PRI, rg_divert_enable_pri },
	{ RG_T_DISABLE_PRI, rg_divert_disable_pri },
	{ RG_T_RESET_PRI, rg_divert_reset_pri },
	{ RG_T_RESTORE_PRI, rg_divert_restore_pri },
	{ RG_T_ENABLE_PASID, rg_divert_enable_pasid },
	{ RG_T_DISABLE_PASID, rg_divert_disable_pasid },
	{ RG_T_RESTORE_PASID, rg_divert_restore_pasid },
	{ RG_T_PASID_FEATURES, rg_divert_pasid_features },
	{ RG_T_MAX_PASIDS, rg_divert_max_pasids },
};

/**
 * rg_endpoint_install - put the endpoint valve in force
 *
 * Context: Process context, at load.
 * Return: 0, or an error and nothing is installed.
 */
int rg_endpoint_install(void)
{
	if (!rg_set_usable(RG_SET_ENDPOINT))
		return -EOPNOTSUPP;
	rg_call_aim(rg_call_acs_path, RG_T_ACS_PATH_ENABLED);
	return rg_patch_install(RG_SET_ENDPOINT, rg_endpoint_hooks,
				ARRAY_SIZE(rg_endpoint_hooks));
}

/**
 * rg_endpoint_remove - take the endpoint valve out of force
 *
 * Context: Process context, at unload; no gate is closed.
 */
void rg_endpoint_remove(void)
{
	rg_patch_remove(RG_SET_ENDPOINT);
}

/**
 * rg_endpoint_adopt - a new function's endpoint valve, open
 * @ep: zeroed
 * @pdev: the function
 *
 * Context: Process context, when the function appears.
 */
void rg_endpoint_adopt(struct rg_endpoint *ep, struct pci_dev *pdev)
{
	raw_spin_lock_init(&ep->lock);
	rg_endpoint_read_caps(&ep->caps, pdev);
}

/**
 * rg_endpoint_close - withhold control writes from here on
 * @ep: of the function
 * @pdev: the function
 * @touch: it may be accessed: read its capabilities again, for it may have been
 *	asleep when it appeared
 *
 * Context: Process context, under the group mutex.
 */
void rg_endpoint_close(struct rg_endpoint *ep, struct pci_dev *pdev, bool touch)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&ep->lock, flags);
	if (touch)
		rg_endpoint_read_caps(&ep->caps, pdev);
	WRITE_ONCE(ep->closed, true);
	raw_spin_unlock_irqrestore(&ep->lock, flags);
}

/**
 * rg_endpoint_ats_off - switch ATS off in config space
 * @pdev: a closed function
 *
 * What the driver and struct pci_dev believe stays as it is. A function that
 * does not answer is left alone.
 *
 * Context: Process context.
 */
void rg_endpoint_ats_off(struct pci_dev *pdev)
{
	u16 ctrl;

	if (!pdev->ats_cap)
		return;
	pci_read_config_word(pdev, pdev->ats_cap + PCI_ATS_CTRL, &ctrl);
	if (ctrl == (u16)~0 || !(ctrl & PCI_ATS_CTRL_ENABLE))
		return;
	pci_write_config_word(pdev, pdev->ats_cap + PCI_ATS_CTRL,
			      ctrl & ~PCI_ATS_CTRL_ENABLE);
}

/**
 * rg_endpoint_controls - make PASID and PRI control what their fields say
 * @ep: of the function
 * @pdev: the function; ATS is off in its config space
 *
 * Context: Process context, under the group mutex; the valve stays closed.
 */
void rg_endpoint_controls(struct rg_endpoint *ep, struct pci_dev *pdev)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&ep->lock, flags);
	rg_endpoint_write_controls(pdev);
	raw_spin_unlock_irqrestore(&ep->lock, flags);
}

/**
 * rg_endpoint_open - make ATS what its field says; the last step of opening
 * @ep: of the function
 * @pdev: the function
 *
 * Context: Process context, under the group mutex.
 */
void rg_endpoint_open(struct rg_endpoint *ep, struct pci_dev *pdev)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&ep->lock, flags);
	/* probe_finalize changes them outside the group mutex. */
	rg_endpoint_write_controls(pdev);
	if (pdev->ats_cap)
		rg_endpoint_write_ats(pdev, pdev->ats_enabled);
	WRITE_ONCE(ep->closed, false);
	raw_spin_unlock_irqrestore(&ep->lock, flags);
}

/**
 * rg_endpoint_answers - whether a function answers config reads
 * @pdev: the function
 *
 * Reads Command, since a VF's vendor ID is all ones always.
 *
 * Context: Process context.
 * Return: true if it does.
 */
bool rg_endpoint_answers(struct pci_dev *pdev)
{
	u16 command;

	return !pci_read_config_word(pdev, PCI_COMMAND, &command) &&
	       command != (u16)~0;
}
