// SPDX-License-Identifier: GPL-2.0
/* Resets, by each of the ways in which drivers ask for them. */
#include <linux/slab.h>

#include "rglab.h"

#define RGL_BELOW	32

/* What a raw reset concerns: the function, or a bridge and all below it. */
struct rgl_below {
	struct pci_dev *pdev[RGL_BELOW];
	int nr;
};

static int rgl_reset_device_locked(struct pci_dev *pdev, int (*fn)(struct pci_dev *))
{
	int ret;

	device_lock(&pdev->dev);
	ret = fn(pdev);
	device_unlock(&pdev->dev);
	return ret;
}

static int rgl_below_add(struct pci_dev *pdev, void *data)
{
	struct rgl_below *below = data;

	if (below->nr == RGL_BELOW)
		return -ENOSPC;
	below->pdev[below->nr++] = pci_dev_get(pdev);
	return 0;
}

/* In the kernel's own order: a bridge first, then what is below it. */
static void rgl_below_save(struct rgl_below *below)
{
	int i;

	for (i = 0; i < below->nr; i++)
		pci_dev_lock(below->pdev[i]);
	for (i = 0; i < below->nr; i++)
		pci_save_state(below->pdev[i]);
}

static void rgl_below_restore(struct rgl_below *below)
{
	int i;

	for (i = 0; i < below->nr; i++)
		pci_restore_state(below->pdev[i]);
	for (i = below->nr; i--;) {
		/* Recovery from an error restores what was saved last. */
		pci_save_state(below->pdev[i]);
		pci_dev_unlock(below->pdev[i]);
	}
}

/*
 * As those do who call a bare reset: they save config space before and restore
 * it afterwards, with the locks that keep others away.
 */
static int rgl_reset_restored(struct pci_dev *pdev, int (*fn)(struct pci_dev *))
{
	struct rgl_below *below = kzalloc(sizeof(*below), GFP_KERNEL);
	int ret;

	if (!below)
		return -ENOMEM;
	rgl_below_add(pdev, below);
	if (pdev->subordinate)
		pci_walk_bus(pdev->subordinate, rgl_below_add, below);
	if (below->nr < RGL_BELOW) {
		rgl_below_save(below);
		ret = fn(pdev);
		rgl_below_restore(below);
	} else {
		ret = -ENOSPC;
	}
	while (below->nr)
		pci_dev_put(below->pdev[--below->nr]);
	kfree(below);
	return ret;
}

static int rgl_reset_locked(struct pci_dev *pdev)
{
	return rgl_reset_device_locked(pdev, pci_reset_function_locked);
}

static int rgl_reset_bare(struct pci_dev *pdev)
{
	return rgl_reset_device_locked(pdev, __pci_reset_function_locked);
}

/*
 * As a driver does that resets its device over the bus: it tells, saves, swings the
 * port's reset, restores and tells, and knows better than to wait in between.
 */
static int rgl_reset_swing(struct pci_dev *pdev)
{
	unsigned long symbol = rgl_symbol("pcibios_reset_secondary_bus");
	void (*swing)(struct pci_dev *bridge) = (void *)symbol;
	struct pci_dev *bridge = pci_upstream_bridge(pdev);
	struct pci_driver *drv;
	long ret;

	if (!swing || !bridge)
		return -ENODEV;
	device_lock(&pdev->dev);
	drv = pci_dev_driver(pdev);
	ret = rgl_tell_driver(drv, pdev, RGL_PREPARE);
	if (!ret) {
		pci_save_state(pdev);
		swing(bridge);
		pci_restore_state(pdev);
		ret = rgl_tell_driver(drv, pdev, RGL_DONE);
	}
	device_unlock(&pdev->dev);
	return ret;
}

static const struct {
	int (*plain)(struct pci_dev *pdev);
	int (*bare)(struct pci_dev *pdev);	/* restores nothing itself */
} rgl_resets[] = {
	{ pci_reset_function },
	{ rgl_reset_locked },
	{ pci_try_reset_function },
	{ rgl_reset_bare, __pci_reset_function_locked },
	{ pcie_flr, pcie_flr },
	{ pci_reset_bus },
	{ pci_bridge_secondary_bus_reset, pci_bridge_secondary_bus_reset },
	{ rgl_reset_swing },
};

/* reset BDF HOW [restore] */
long rgl_cmd_reset(struct rgl_req *rq)
{
	static const char *const words[] = {
		"function", "locked", "try", "__locked", "flr", "hot", "secondary",
		"swing", NULL
	};
	static const char *const then[] = { "restore", NULL };
	int w = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	long ret;

	if (w < 0)
		return w;
	if (rq->argc == 4) {
		ret = rgl_word(rq, 3, then);
		if (ret < 0)
			return ret;
		if (!rgl_resets[w].bare)
			return rgl_usage(rq, "%s restores by itself", rq->argv[2]);
	}
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	if (rq->argc == 4)
		ret = rgl_reset_restored(pdev, rgl_resets[w].bare);
	else
		ret = rgl_resets[w].plain(pdev);
	pci_dev_put(pdev);
	return ret;
}

/*
 * A quirk over an FLR: the function takes the ID of one for which the kernel
 * waits 250 ms after its FLR, inside the device-specific method.
 */
long rgl_cmd_nested(struct rgl_req *rq)
{
	struct pci_dev *pdev = rgl_pdev(rq, 1);
	u8 methods[PCI_NUM_RESET_METHODS];
	u16 vendor, device;
	long ret;

	if (!pdev)
		return -EINVAL;
	device_lock(&pdev->dev);
	vendor = pdev->vendor;
	device = pdev->device;
	memcpy(methods, pdev->reset_methods, sizeof(methods));
	memset(pdev->reset_methods, 0, sizeof(methods));
	pdev->reset_methods[0] = 1;	/* device_specific */
	pdev->vendor = PCI_VENDOR_ID_INTEL;
	pdev->device = 0x0953;
	ret = __pci_reset_function_locked(pdev);
	pdev->vendor = vendor;
	pdev->device = device;
	memcpy(pdev->reset_methods, methods, sizeof(methods));
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return ret;
}
