// SPDX-License-Identifier: GPL-2.0
/*
 * A root port whose link goes down by itself: Downstream Port Containment, which
 * no port of QEMU's has, and the surprise removal of what is below it.
 *
 * In config space the port has one more extended capability, and no power
 * controller (with one, the kernel would cut the power of a slot that was pulled,
 * and QEMU then takes the device away). The kernel sees both when it scans the
 * port: it must be removed and scanned again.
 *
 * While the link is down the functions below answer nothing and writes to them
 * are lost; what they were is lost as well, for QEMU has their bus in reset, by
 * the port's Bridge Control. That write is the event's mark in QEMU's trace. ATS
 * Enable goes with it as in hardware: QEMU's reset leaves it.
 */
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/pci-ats.h>

#include "rglab.h"

#define RGL_DPC_POS	0x800
#define RGL_DPC_FATAL	0x0004	/* status: ERR_FATAL was received */

/* The capability's registers, 16 bits each, in order. */
enum {
	RGL_DPC_ID,
	RGL_DPC_NEXT,
	RGL_DPC_CAP,
	RGL_DPC_CTL,
	RGL_DPC_STATUS,
	RGL_DPC_SOURCE,
	RGL_DPC_REGS
};

/* The only one there is; read without a lock by the accessors. */
struct rgl_port {
	struct pci_bus *bus;	/* a root bus: it never goes */
	unsigned int devfn;
	int express;
	int last;		/* the port's own last extended capability */
	bool shown;		/* what it has besides is seen */
	u16 dpc[RGL_DPC_REGS];	/* this and the next under rgl_port_regs */
	u16 slot;		/* pending events of the slot, write 1 to clear */
	int first, end;		/* numbers of the buses below, while the link is down */
	bool contained;
	bool pulled;
	bool dead;		/* the link stays down when the port leaves containment */
	bool hold;		/* the write by which the driver lets it does not return */
	bool waiting;
	int irq;
	struct irq_work work;
};

static void rgl_port_interrupt(struct irq_work *work);

static DEFINE_MUTEX(rgl_port_lock);
static DEFINE_RAW_SPINLOCK(rgl_port_regs);
static struct rgl_port rgl_port = {
	.work = IRQ_WORK_INIT_HARD(rgl_port_interrupt),
};

static bool rgl_port_is(struct pci_bus *bus, unsigned int devfn)
{
	return READ_ONCE(rgl_port.shown) && rgl_port.bus == bus &&
	       rgl_port.devfn == devfn;
}

/* Clears bits of a register, sets others; what it was. */
static u16 rgl_port_update(u16 *reg, u16 clear, u16 set)
{
	unsigned long flags;
	u16 was;

	raw_spin_lock_irqsave(&rgl_port_regs, flags);
	was = *reg;
	WRITE_ONCE(*reg, (was & ~clear) | set);
	raw_spin_unlock_irqrestore(&rgl_port_regs, flags);
	return was;
}

static bool rgl_port_down(void)
{
	return READ_ONCE(rgl_port.contained) || READ_ONCE(rgl_port.pulled);
}

static bool rgl_port_lost(struct pci_bus *bus)
{
	return rgl_port_down() && bus->number >= READ_ONCE(rgl_port.first) &&
	       bus->number <= READ_ONCE(rgl_port.end) &&
	       pci_domain_nr(bus) == pci_domain_nr(rgl_port.bus);
}

/* @bits of the 16-bit register at @reg, as an access of @size bytes at @where has them. */
static u32 rgl_port_lane(int where, int size, int reg, u16 bits)
{
	int shift = 8 * (reg - where);

	if (reg + 1 < where || reg >= where + size)
		return 0;
	return shift >= 0 ? (u32)bits << shift : bits >> -shift;
}

static u32 rgl_port_dpc_read(int where, int size, u32 val)
{
	int i;

	val |= rgl_port_lane(where, size, rgl_port.last + 2, RGL_DPC_POS << 4);
	for (i = 0; i < RGL_DPC_REGS; i++)
		val |= rgl_port_lane(where, size, RGL_DPC_POS + 2 * i,
				     READ_ONCE(rgl_port.dpc[i]));
	return val;
}

static u32 rgl_port_express_read(int where, int size, u32 val)
{
	int express = rgl_port.express;

	val &= ~rgl_port_lane(where, size, express + PCI_EXP_SLTCAP, PCI_EXP_SLTCAP_PCP);
	if (rgl_port_down())
		val &= ~rgl_port_lane(where, size, express + PCI_EXP_LNKSTA,
				      PCI_EXP_LNKSTA_DLLLA);
	if (READ_ONCE(rgl_port.pulled))
		val &= ~rgl_port_lane(where, size, express + PCI_EXP_SLTSTA,
				      PCI_EXP_SLTSTA_PDS);
	return val | rgl_port_lane(where, size, express + PCI_EXP_SLTSTA,
				   READ_ONCE(rgl_port.slot));
}

static u32 rgl_port_read(struct pci_bus *bus, unsigned int devfn, int where, int size,
			 u32 val)
{
	if (rgl_port_lost(bus))
		return ~0;
	if (!rgl_port_is(bus, devfn))
		return val;
	return rgl_port_express_read(where, size, rgl_port_dpc_read(where, size, val));
}

/* The bus below goes into reset, or comes out of it. */
static void rgl_port_bridge_reset(bool on)
{
	struct pci_bus *bus = rgl_port.bus;
	u32 ctrl = rgl_shim_read(bus, rgl_port.devfn, PCI_BRIDGE_CONTROL, 2);

	ctrl = on ? ctrl | PCI_BRIDGE_CTL_BUS_RESET : ctrl & ~PCI_BRIDGE_CTL_BUS_RESET;
	rgl_shim_write(bus, rgl_port.devfn, PCI_BRIDGE_CONTROL, 2, ctrl);
}

/* As the reset of the bus leaves them in hardware. */
static void rgl_port_controls_off(void)
{
	struct pci_dev *pdev = NULL;

	for_each_pci_dev(pdev) {
		struct rgl_at at = {
			pci_domain_nr(pdev->bus), pdev->bus->number, pdev->devfn
		};

		if (!rgl_port_lost(pdev->bus))
			continue;
		rgl_caps_reset(&at);
		if (pdev->ats_cap)
			rgl_shim_write(pdev->bus, pdev->devfn,
				       pdev->ats_cap + PCI_ATS_CTRL, 2, 0);
	}
}

static void rgl_port_link_down(bool *why)
{
	struct rgl_port *port = &rgl_port;

	port->first = rgl_shim_read(port->bus, port->devfn, PCI_SECONDARY_BUS, 1);
	port->end = rgl_shim_read(port->bus, port->devfn, PCI_SUBORDINATE_BUS, 1);
	WRITE_ONCE(*why, true);
	rgl_port_bridge_reset(true);
	rgl_port_controls_off();
}

static void rgl_port_link_up(bool *why)
{
	WRITE_ONCE(*why, false);
	if (!rgl_port_down())
		rgl_port_bridge_reset(false);
}

/* The driver lets the port out of containment. */
static void rgl_port_leave(void)
{
	WRITE_ONCE(rgl_port.waiting, true);
	rgl_shim_while(&rgl_port.hold);
	WRITE_ONCE(rgl_port.waiting, false);
	rgl_port_update(&rgl_port.dpc[RGL_DPC_STATUS], PCI_EXP_DPC_STATUS_TRIGGER, 0);
	if (!READ_ONCE(rgl_port.dead))
		rgl_port_link_up(&rgl_port.contained);
}

static void rgl_port_dpc_write(int reg, u16 val)
{
	u16 was;

	if (reg == RGL_DPC_CTL)
		rgl_port_update(&rgl_port.dpc[RGL_DPC_CTL], ~0, val);
	if (reg != RGL_DPC_STATUS)
		return;
	was = rgl_port_update(&rgl_port.dpc[RGL_DPC_STATUS],
			      val & PCI_EXP_DPC_STATUS_INTERRUPT, 0);
	if (val & was & PCI_EXP_DPC_STATUS_TRIGGER)
		rgl_port_leave();
}

/* true: the write reaches nothing else. */
static bool rgl_port_write(struct pci_bus *bus, unsigned int devfn, int where, int size,
			   u32 val)
{
	if (rgl_port_lost(bus))
		return true;
	if (!rgl_port_is(bus, devfn))
		return false;
	if (size == 2 && where == rgl_port.express + PCI_EXP_SLTSTA)
		rgl_port_update(&rgl_port.slot, val, 0);
	if (where < RGL_DPC_POS || where >= RGL_DPC_POS + 2 * RGL_DPC_REGS)
		return false;
	if (size == 2)
		rgl_port_dpc_write((where - RGL_DPC_POS) / 2, val);
	return true;
}

const struct rgl_tap rgl_port_tap = {
	.read = rgl_port_read,
	.write = rgl_port_write,
};

static void rgl_port_interrupt(struct irq_work *work)
{
	generic_handle_irq(rgl_port.irq);
}

static long rgl_port_raise(struct pci_dev *pdev)
{
	rgl_port.irq = pci_irq_vector(pdev, 0);
	if (rgl_port.irq < 0)
		return rgl_port.irq;
	/* An interrupt controller that can be asked for one has to see it end, too. */
	if (irq_set_irqchip_state(rgl_port.irq, IRQCHIP_STATE_PENDING, true))
		irq_work_queue(&rgl_port.work);
	return 0;
}

/* What the port shows besides is seen from the next scan on. */
static long rgl_port_show(struct pci_dev *pdev)
{
	struct rgl_port *port = &rgl_port;
	int pos = PCI_CFG_SPACE_SIZE;
	u32 header;

	if (port->shown)
		return -EBUSY;
	if (rgl_shim_bus(pdev->bus))
		return -ENOSPC;
	do {
		port->last = pos;
		pci_read_config_dword(pdev, pos, &header);
		pos = PCI_EXT_CAP_NEXT(header);
	} while (pos);
	port->bus = pdev->bus;
	port->devfn = pdev->devfn;
	port->express = pci_pcie_cap(pdev);
	port->slot = 0;
	memset(port->dpc, 0, sizeof(port->dpc));
	port->dpc[RGL_DPC_ID] = PCI_EXT_CAP_ID_DPC;
	port->dpc[RGL_DPC_NEXT] = 1;	/* version 1, and none follows */
	WRITE_ONCE(port->shown, true);
	return 0;
}

static long rgl_port_hide(void)
{
	if (rgl_port_down())
		return -EBUSY;
	WRITE_ONCE(rgl_port.shown, false);
	return 0;
}

/* trigger [hold] [dead] */
static long rgl_port_trigger(struct rgl_req *rq, struct pci_dev *pdev)
{
	static const char *const words[] = { "hold", "dead", NULL };
	u16 on = PCI_EXP_DPC_CTL_EN_FATAL | PCI_EXP_DPC_CTL_INT_EN;
	bool chosen[2] = {};
	int i, w;

	for (i = 3; i < rq->argc; i++) {
		w = rgl_word(rq, i, words);
		if (w < 0)
			return w;
		chosen[w] = true;
	}
	if ((rgl_port.dpc[RGL_DPC_CTL] & on) != on)
		return -ENXIO;		/* no driver has enabled it */
	if (rgl_port_down())
		return -EBUSY;
	WRITE_ONCE(rgl_port.hold, chosen[0]);
	WRITE_ONCE(rgl_port.dead, chosen[1]);
	rgl_port_link_down(&rgl_port.contained);
	rgl_port.dpc[RGL_DPC_SOURCE] = PCI_DEVID(rgl_port.first, 0);
	rgl_port_update(&rgl_port.dpc[RGL_DPC_STATUS], ~0,
			PCI_EXP_DPC_STATUS_TRIGGER | RGL_DPC_FATAL |
			PCI_EXP_DPC_STATUS_INTERRUPT);
	return rgl_port_raise(pdev);
}

/* Until the driver wants to let the port out of the containment that is held. */
static long rgl_port_wait(void)
{
	unsigned long end = jiffies + 20 * HZ;

	while (!READ_ONCE(rgl_port.waiting)) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		usleep_range(300, 600);
	}
	return 0;
}

static long rgl_port_dpc(struct rgl_req *rq, struct pci_dev *pdev, int w)
{
	if (w == 0)
		return rgl_port_show(pdev);
	if (!rgl_port_is(pdev->bus, pdev->devfn))
		return -ENOENT;
	switch (w) {
	case 1:
		return rgl_port_hide();
	case 2:
		return rgl_port_trigger(rq, pdev);
	case 3:
		return rgl_port_wait();
	}
	WRITE_ONCE(rgl_port.hold, false);
	return 0;
}

static struct pci_dev *rgl_port_pdev(struct rgl_req *rq)
{
	struct pci_dev *pdev = rgl_pdev(rq, 1);

	if (!pdev || (pci_is_root_bus(pdev->bus) && pci_is_pcie(pdev) &&
		      pci_pcie_type(pdev) == PCI_EXP_TYPE_ROOT_PORT))
		return pdev;
	pci_dev_put(pdev);
	rgl_usage(rq, "not a root port: %s", rq->argv[1]);
	return NULL;
}

long rgl_cmd_dpc(struct rgl_req *rq)
{
	static const char *const words[] = {
		"on", "off", "trigger", "wait", "release", NULL
	};
	int w = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	long ret;

	if (w < 0)
		return w;
	if (rq->argc > 3 && w != 2)
		return rgl_usage(rq, "usage: dpc BDF %s", words[w]);
	pdev = rgl_port_pdev(rq);
	if (!pdev)
		return -EINVAL;
	/* Others let go of what one waits for. */
	if (w < 3)
		mutex_lock(&rgl_port_lock);
	ret = rgl_port_dpc(rq, pdev, w);
	if (w < 3)
		mutex_unlock(&rgl_port_lock);
	pci_dev_put(pdev);
	return ret;
}

/* link BDF down|up: what is below is pulled, or plugged in again. */
static long rgl_port_link(struct pci_dev *pdev, bool up)
{
	if (!rgl_port_is(pdev->bus, pdev->devfn))
		return -ENOENT;
	if (up ? !rgl_port_down() : rgl_port.pulled)
		return -EALREADY;
	if (!up) {
		rgl_port_link_down(&rgl_port.pulled);
	} else {
		WRITE_ONCE(rgl_port.contained, false);
		rgl_port_link_up(&rgl_port.pulled);
	}
	rgl_port_update(&rgl_port.slot, 0, PCI_EXP_SLTSTA_DLLSC | PCI_EXP_SLTSTA_PDC);
	return rgl_port_raise(pdev);
}

long rgl_cmd_link(struct rgl_req *rq)
{
	static const char *const words[] = { "down", "up", NULL };
	int w = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	long ret;

	if (w < 0)
		return w;
	pdev = rgl_port_pdev(rq);
	if (!pdev)
		return -EINVAL;
	mutex_lock(&rgl_port_lock);
	ret = rgl_port_link(pdev, w);
	mutex_unlock(&rgl_port_lock);
	pci_dev_put(pdev);
	return ret;
}

void rgl_port_exit(void)
{
	WRITE_ONCE(rgl_port.hold, false);
	irq_work_sync(&rgl_port.work);
}
