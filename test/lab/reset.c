// SPDX-License-Identifier: GPL-2.0
/* Resets, by each of the ways in which drivers ask for them. */
#include "rglab.h"

static int rgl_reset_device_locked(struct pci_dev *pdev, int (*fn)(struct pci_dev *))
{
	int ret;

	device_lock(&pdev->dev);
	ret = fn(pdev);
	device_unlock(&pdev->dev);
	return ret;
}

long rgl_cmd_reset(struct rgl_req *rq)
{
	static const char *const words[] = {
		"function", "locked", "try", "__locked", "flr", "hot", "secondary",
		NULL
	};
	int w = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	long ret = -EINVAL;

	if (w < 0)
		return w;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	switch (w) {
	case 0:
		ret = pci_reset_function(pdev);
		break;
	case 1:
		ret = rgl_reset_device_locked(pdev, pci_reset_function_locked);
		break;
	case 2:
		ret = pci_try_reset_function(pdev);
		break;
	case 3:
		ret = rgl_reset_device_locked(pdev, __pci_reset_function_locked);
		break;
	case 4:
		ret = pcie_flr(pdev);
		break;
	case 5:
		ret = pci_reset_bus(pdev);
		break;
	case 6:
		ret = pci_bridge_secondary_bus_reset(pdev);
		break;
	}
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
