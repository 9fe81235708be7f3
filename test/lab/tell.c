// SPDX-License-Identifier: GPL-2.0
/* The steps around a reset one by one, in whatever order: nobody should do that. */
#include "rglab.h"

static const char *const rgl_steps[] = {
	"prepare", "done", "slot_reset", "resume", "native_prepare", "native_done",
	NULL
};

static long rgl_tell_native(struct pci_dev *pdev, enum rgl_step step)
{
	if (!RGL_HAVE_NATIVE)
		return -EOPNOTSUPP;
	if (step == RGL_NATIVE_PREPARE)
		return rgl_native_prepare(pdev);
	rgl_native_done(pdev);
	return 0;
}

/* As the kernel does it: the pointers are read from the driver's table now. */
long rgl_tell_driver(struct pci_driver *drv, struct pci_dev *pdev, enum rgl_step step)
{
	const struct pci_error_handlers *eh = drv ? READ_ONCE(drv->err_handler) : NULL;

	if (!eh)
		return -ENOENT;
	if (step == RGL_PREPARE && eh->reset_prepare)
		eh->reset_prepare(pdev);
	else if (step == RGL_DONE && eh->reset_done)
		eh->reset_done(pdev);
	else if (step == RGL_SLOT_RESET && eh->slot_reset)
		eh->slot_reset(pdev);
	else if (step == RGL_RESUME && eh->resume)
		eh->resume(pdev);
	else
		return -ENOENT;
	return 0;
}

long rgl_cmd_tell(struct rgl_req *rq)
{
	int step = rgl_word(rq, 2, rgl_steps);
	struct pci_dev *pdev;
	long ret;

	if (step < 0)
		return step;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	device_lock(&pdev->dev);
	if (step >= RGL_NATIVE_PREPARE)
		ret = rgl_tell_native(pdev, step);
	else
		ret = rgl_tell_driver(pci_dev_driver(pdev), pdev, step);
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return ret;
}

/* What pci_ats_supported() answers depends on it. */
long rgl_cmd_untrusted(struct rgl_req *rq)
{
	static const char *const words[] = { "off", "on", NULL };
	int on = rgl_word(rq, 2, words);
	struct pci_dev *pdev;

	if (on < 0)
		return on;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	pdev->untrusted = on;
	pci_dev_put(pdev);
	return 0;
}
