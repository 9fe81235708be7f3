// SPDX-License-Identifier: GPL-2.0
/* The endpoint itself: config space, edu's DMA, what its driver shows. */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/pci-ats.h>

#include "rglab.h"

#define RGL_MARK_OFF	0x2c	/* read-only in QEMU: it only shows in the trace */

#define RGL_EDU_SRC	0x80
#define RGL_EDU_DST	0x88
#define RGL_EDU_CNT	0x90
#define RGL_EDU_CMD	0x98
#define RGL_EDU_BUF	0x40000
#define RGL_EDU_LEN	64
#define RGL_EDU_RUN	1
#define RGL_EDU_TO_RAM	2

long rgl_cmd_mark(struct rgl_req *rq)
{
	struct pci_dev *host;
	u64 n;

	if (rgl_u64(rq, 1, &n))
		return -EINVAL;
	host = pci_get_domain_bus_and_slot(0, 0, 0);
	if (!host)
		return -ENODEV;
	pci_write_config_dword(host, RGL_MARK_OFF, n);
	pci_dev_put(host);
	return 0;
}

static int rgl_cfg_read(struct pci_dev *pdev, int off, int width, u32 *val)
{
	u16 w = 0;
	u8 b = 0;
	int ret;

	if (width == 1) {
		ret = pci_read_config_byte(pdev, off, &b);
		*val = b;
	} else if (width == 2) {
		ret = pci_read_config_word(pdev, off, &w);
		*val = w;
	} else {
		ret = pci_read_config_dword(pdev, off, val);
	}
	return ret;
}

static int rgl_cfg_write(struct pci_dev *pdev, int off, int width, u32 val)
{
	if (width == 1)
		return pci_write_config_byte(pdev, off, val);
	if (width == 2)
		return pci_write_config_word(pdev, off, val);
	return pci_write_config_dword(pdev, off, val);
}

long rgl_cmd_cfg(struct rgl_req *rq)
{
	static const char *const words[] = { "read", "write", NULL };
	int w = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	u64 off, width, val = 0;
	u32 got = 0;
	int ret;

	if (w < 0)
		return w;
	if (rgl_u64(rq, 3, &off) || rgl_u64(rq, 4, &width))
		return -EINVAL;
	if (rq->argc != (w ? 6 : 5))
		return rgl_usage(rq, "usage: cfg BDF read OFF WIDTH | write OFF WIDTH VAL");
	if (w && rgl_u64(rq, 5, &val))
		return -EINVAL;
	if ((width != 1 && width != 2 && width != 4) || off > 4095 ||
	    off & (width - 1))
		return rgl_usage(rq, "no such register");
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	if (w)
		ret = rgl_cfg_write(pdev, off, width, val);
	else
		ret = rgl_cfg_read(pdev, off, width, &got);
	pci_dev_put(pdev);
	if (ret)
		return pcibios_err_to_errno(ret);
	if (!w)
		rgl_say(rq, "0x%x", got);
	return 0;
}

/*
 * on: as no kernel does it in a reset. The addresses are put back too, for a
 * reset that cleared them.
 */
long rgl_cmd_busmaster(struct rgl_req *rq)
{
	static const char *const words[] = { "off", "on", NULL };
	int on = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	u16 cmd;
	int i;

	if (on < 0)
		return on;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	for (i = 0; on && i < PCI_STD_NUM_BARS; i++) {
		if (!(pci_resource_flags(pdev, i) & IORESOURCE_MEM))
			continue;
		pci_write_config_dword(pdev, PCI_BASE_ADDRESS_0 + 4 * i,
				       pci_resource_start(pdev, i));
		if (pci_resource_flags(pdev, i) & IORESOURCE_MEM_64)
			pci_write_config_dword(pdev, PCI_BASE_ADDRESS_1 + 4 * i,
					       (u64)pci_resource_start(pdev, i) >> 32);
	}
	pci_read_config_word(pdev, PCI_COMMAND, &cmd);
	if (on)
		cmd |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	else
		cmd &= ~PCI_COMMAND_MASTER;
	pci_write_config_word(pdev, PCI_COMMAND, cmd);
	pci_dev_put(pdev);
	return 0;
}

static int rgl_edu_run(void __iomem *bar, u64 iova, bool load)
{
	int i;

	writeq(load ? iova : RGL_EDU_BUF, bar + RGL_EDU_SRC);
	writeq(load ? RGL_EDU_BUF : iova, bar + RGL_EDU_DST);
	writeq(RGL_EDU_LEN, bar + RGL_EDU_CNT);
	writeq(RGL_EDU_RUN | (load ? 0 : RGL_EDU_TO_RAM), bar + RGL_EDU_CMD);
	for (i = 0; i < 200; i++) {
		u64 cmd = readq(bar + RGL_EDU_CMD);

		if (cmd == ~0ULL)
			return -ENXIO;	/* it does not decode memory */
		if (!(cmd & RGL_EDU_RUN))
			return 0;
		usleep_range(5000, 6000);
	}
	return -ETIMEDOUT;
}

/* dma: 64 bytes of edu's buffer to memory; load: from memory to the buffer. */
long rgl_cmd_edu(struct rgl_req *rq)
{
	static const char *const words[] = { "dma", "load", NULL };
	int w = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	void __iomem *bar;
	long ret;
	u64 iova;

	if (w < 0)
		return w;
	if (rgl_u64(rq, 3, &iova))
		return -EINVAL;
	if (iova >= 0x10000000)
		return rgl_usage(rq, "edu reaches 256 MiB only: %s", rq->argv[3]);
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	if (pdev->vendor != 0x1234 || pdev->device != 0x11e8) {
		pci_dev_put(pdev);
		return rgl_usage(rq, "not an edu: %s", rq->argv[1]);
	}
	bar = ioremap(pci_resource_start(pdev, 0), pci_resource_len(pdev, 0));
	ret = bar ? rgl_edu_run(bar, iova, w) : -ENOMEM;
	if (bar)
		iounmap(bar);
	pci_dev_put(pdev);
	return ret;
}

long rgl_cmd_ats(struct rgl_req *rq)
{
	struct pci_dev *pdev = rgl_pdev(rq, 1);

	if (!pdev)
		return -EINVAL;
	rgl_say(rq, "ctrl=0x%04x enabled=%d cap=0x%x", rgl_ats_ctrl(pdev),
		pdev->ats_enabled, pdev->ats_cap);
	pci_dev_put(pdev);
	return 0;
}

/* Whose table of error handlers stands in the driver: its name, or an address. */
long rgl_cmd_errh(struct rgl_req *rq)
{
	struct pci_dev *pdev = rgl_pdev(rq, 1);
	const struct pci_error_handlers *eh;
	struct pci_driver *drv;

	if (!pdev)
		return -EINVAL;
	device_lock(&pdev->dev);
	drv = pci_dev_driver(pdev);
	if (!drv) {
		rgl_say(rq, "unbound");
	} else {
		eh = READ_ONCE(drv->err_handler);
		if (eh)
			rgl_say(rq, "%s %pS", drv->name, eh);
		else
			rgl_say(rq, "%s none", drv->name);
	}
	device_unlock(&pdev->dev);
	pci_dev_put(pdev);
	return 0;
}
