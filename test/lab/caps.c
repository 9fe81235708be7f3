// SPDX-License-Identifier: GPL-2.0
/*
 * PRI and PASID capabilities for a function that has none: no QEMU device does.
 *
 * The shim over config space (shim.c) asks here for what a read gives and tells
 * of every write and reset. The capabilities are linked behind the function's
 * last one; a rescan finds them. Their control registers keep what is written,
 * and a reset clears them, as hardware does. The writes go on to the function,
 * where nothing is at that place: QEMU's trace has them in order with those of
 * the function's own ATS control.
 */
#include <linux/pci-ats.h>

#include "rglab.h"

#define RGL_CAPS_FNS	4
#define RGL_CAPS_START	0x800
#define RGL_CAPS_PASID	0x810
#define RGL_CAPS_END	0x818
#define RGL_CAPS_LEN	(RGL_CAPS_END - RGL_CAPS_START)

#define RGL_PRI_MAX	16
#define RGL_PASID_WIDTH	20
#define RGL_PASID_CAPS	(PCI_PASID_CAP_EXEC | PCI_PASID_CAP_PRIV)

/* PCIe r6.0 sec. 7.5.3.15: End-End TLP Prefix Supported. */
#define RGL_EE_PREFIX	BIT(21)

/* Read without a lock by the accessors: entries are only ever added. */
struct rgl_caps {
	struct rgl_at at;
	bool on;
	int last;		/* the function's own last capability */
	int devcap2;
	u8 regs[RGL_CAPS_LEN];
};

static DEFINE_MUTEX(rgl_caps_lock);
static struct rgl_caps rgl_caps[RGL_CAPS_FNS];
static int rgl_nr_caps;

static struct rgl_caps *rgl_caps_at(const struct rgl_at *at)
{
	/* Pairs with rgl_caps_new(): an entry that counts is complete. */
	int i, n = smp_load_acquire(&rgl_nr_caps);

	for (i = 0; i < n; i++)
		if (rgl_caps[i].at.segment == at->segment &&
		    rgl_caps[i].at.bus == at->bus && rgl_caps[i].at.devfn == at->devfn)
			return &rgl_caps[i];
	return NULL;
}

static struct rgl_caps *rgl_caps_find(struct pci_bus *bus, unsigned int devfn)
{
	struct rgl_at at = { pci_domain_nr(bus), bus->number, devfn };

	return rgl_caps_at(&at);
}

static u8 *rgl_caps_reg(struct rgl_caps *caps, int where)
{
	return &caps->regs[where - RGL_CAPS_START];
}

/* Which bits of the byte at @where can be written. */
static u8 rgl_caps_mask(int where)
{
	if (where == RGL_CAPS_START + PCI_PRI_CTRL)
		return PCI_PRI_CTRL_ENABLE;
	if (where >= RGL_CAPS_START + PCI_PRI_ALLOC_REQ && where < RGL_CAPS_PASID)
		return 0xff;
	if (where == RGL_CAPS_PASID + PCI_PASID_CTRL)
		return PCI_PASID_CTRL_ENABLE | RGL_PASID_CAPS;
	return 0;
}

static bool rgl_caps_pri_on(struct rgl_caps *caps)
{
	return *rgl_caps_reg(caps, RGL_CAPS_START + PCI_PRI_CTRL) & PCI_PRI_CTRL_ENABLE;
}

static void rgl_caps_put(struct rgl_caps *caps, int where, int size, u32 val)
{
	for (; size; size--, where++, val >>= 8)
		*rgl_caps_reg(caps, where) = val;
}

static void rgl_caps_set_status(struct rgl_caps *caps)
{
	u16 stopped = rgl_caps_pri_on(caps) ? 0 : PCI_PRI_STATUS_STOPPED;

	rgl_caps_put(caps, RGL_CAPS_START + PCI_PRI_STATUS, 2,
		     PCI_PRI_STATUS_PASID | stopped);
}

/* The function was reset. */
void rgl_caps_reset(const struct rgl_at *at)
{
	struct rgl_caps *caps = rgl_caps_at(at);
	int where;

	if (!caps)
		return;
	for (where = RGL_CAPS_START; where < RGL_CAPS_END; where++)
		*rgl_caps_reg(caps, where) &= ~rgl_caps_mask(where);
	rgl_caps_set_status(caps);
}

/* @val was written; an allocation that is in use does not change. */
void rgl_caps_write(struct pci_bus *bus, unsigned int devfn, int where, int size,
		    u32 val)
{
	struct rgl_caps *caps = rgl_caps_find(bus, devfn);
	u8 mask, *reg;

	if (!caps || where < RGL_CAPS_START || where + size > RGL_CAPS_END)
		return;
	if (where == RGL_CAPS_START + PCI_PRI_ALLOC_REQ && rgl_caps_pri_on(caps))
		return;
	for (; size; size--, where++, val >>= 8) {
		mask = rgl_caps_mask(where);
		reg = rgl_caps_reg(caps, where);
		*reg = (*reg & ~mask) | (val & mask);
	}
	rgl_caps_set_status(caps);
}

/* Bits that the function's own dword at @dword gets. */
static u32 rgl_caps_extra(const struct rgl_caps *caps, int dword)
{
	if (dword == caps->last)
		return RGL_CAPS_START << 20;
	return dword == caps->devcap2 ? RGL_EE_PREFIX : 0;
}

/* What a read gives in place of @val, which the function gave. */
u32 rgl_caps_read(struct pci_bus *bus, unsigned int devfn, int where, int size,
		  u32 val)
{
	u32 mask = size == 4 ? ~0U : BIT(8 * size) - 1;
	struct rgl_caps *caps = rgl_caps_find(bus, devfn);
	int i;

	if (!caps || !READ_ONCE(caps->on))
		return val;
	if (where < RGL_CAPS_START || where + size > RGL_CAPS_END)
		return val | (rgl_caps_extra(caps, where & ~3) >> 8 * (where & 3) & mask);
	val = 0;
	for (i = 0; i < size; i++)
		val |= (u32)*rgl_caps_reg(caps, where + i) << 8 * i;
	return val;
}

/* The last extended capability; 0 if there is none. */
static int rgl_caps_last(struct pci_dev *pdev)
{
	int pos = PCI_CFG_SPACE_SIZE, i;
	u32 header;

	for (i = 0; i < 48; i++) {
		if (pci_read_config_dword(pdev, pos, &header) || !header ||
		    header == ~0U)
			return 0;
		if (!PCI_EXT_CAP_NEXT(header))
			return pos;
		pos = PCI_EXT_CAP_NEXT(header);
	}
	return 0;
}

static void rgl_caps_fill(struct rgl_caps *caps)
{
	memset(caps->regs, 0, sizeof(caps->regs));
	rgl_caps_put(caps, RGL_CAPS_START, 4,
		     PCI_EXT_CAP_ID_PRI | 1 << 16 | RGL_CAPS_PASID << 20);
	rgl_caps_put(caps, RGL_CAPS_START + PCI_PRI_MAX_REQ, 4, RGL_PRI_MAX);
	rgl_caps_put(caps, RGL_CAPS_PASID, 4, PCI_EXT_CAP_ID_PASID | 1 << 16);
	rgl_caps_put(caps, RGL_CAPS_PASID + PCI_PASID_CAP, 2,
		     RGL_PASID_CAPS | RGL_PASID_WIDTH << 8);
	rgl_caps_set_status(caps);
}

/* The entry of a function, made if need be; NULL if there is no room. */
static struct rgl_caps *rgl_caps_new(struct pci_dev *pdev)
{
	struct rgl_caps *caps = rgl_caps_find(pdev->bus, pdev->devfn);

	if (caps || rgl_nr_caps == RGL_CAPS_FNS)
		return caps;
	caps = &rgl_caps[rgl_nr_caps];
	caps->at = (struct rgl_at){ pci_domain_nr(pdev->bus), pdev->bus->number, pdev->devfn };
	/* Pairs with the accessors, which take no lock. */
	smp_store_release(&rgl_nr_caps, rgl_nr_caps + 1);
	return caps;
}

static long rgl_caps_on(struct rgl_req *rq, struct pci_dev *pdev)
{
	struct rgl_caps *caps = rgl_caps_new(pdev);

	if (!caps)
		return rgl_usage(rq, "too many functions with capabilities");
	if (caps->on)
		return -EALREADY;
	caps->last = rgl_caps_last(pdev);
	if (!caps->last)
		return rgl_usage(rq, "no extended capabilities: %s", rq->argv[1]);
	caps->devcap2 = pci_pcie_cap(pdev) + PCI_EXP_DEVCAP2;
	rgl_caps_fill(caps);
	rgl_port_prefixes(pci_upstream_bridge(pdev), true);
	WRITE_ONCE(caps->on, true);
	return 0;
}

static long rgl_caps_off(struct pci_dev *pdev)
{
	struct rgl_caps *caps = rgl_caps_find(pdev->bus, pdev->devfn);

	if (!caps || !caps->on)
		return -ENOENT;
	WRITE_ONCE(caps->on, false);
	rgl_port_prefixes(pci_upstream_bridge(pdev), false);
	return 0;
}

/* caps BDF on|off: for whoever looks at the function from now on. */
long rgl_cmd_caps(struct rgl_req *rq)
{
	static const char *const words[] = { "off", "on", NULL };
	int on = rgl_word(rq, 2, words);
	struct pci_dev *pdev;
	long ret;

	if (on < 0)
		return on;
	if (!rgl_shim_has(rq))
		return -EINVAL;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	mutex_lock(&rgl_caps_lock);
	if (!pci_is_pcie(pdev) || !pci_upstream_bridge(pdev))
		ret = rgl_usage(rq, "not below a PCIe port: %s", rq->argv[1]);
	else
		ret = on ? rgl_caps_on(rq, pdev) : rgl_caps_off(pdev);
	mutex_unlock(&rgl_caps_lock);
	pci_dev_put(pdev);
	return ret;
}
