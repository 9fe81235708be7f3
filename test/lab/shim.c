// SPDX-License-Identifier: GPL-2.0
/*
 * A shim over config space. Writes reach the function (QEMU's trace is the
 * judge) unless a tap takes them; some reads answer all ones, as a function does
 * that is not ready, and those by which whoever resets a held function asks
 * whether it is ready do not return: they sleep, see rgl_config_leave().
 *
 * Functions are known by their addresses: they may go and come back.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>

#include "rglab.h"

#define RGL_BUSES	96
#define RGL_FNS		16

enum rgl_kind { RGL_ANY, RGL_FLR, RGL_PM, RGL_SBR };

enum rgl_mute {
	RGL_MUTE_OFF,
	RGL_MUTE_ON,
	RGL_MUTE_UNTIL,
	RGL_MUTE_RESET,		/* from the first read after the next reset's ready-wait */
	RGL_MUTE_RESET_WAIT,
	RGL_MUTE_DEAD,		/* from the next reset's write */
};

struct rgl_bus {
	struct pci_bus *bus;
	struct pci_ops *old;
	struct pci_ops ops;
};

/* Read without a lock by the accessors: entries are only ever added. */
struct rgl_fn {
	struct rgl_at at;
	struct rgl_at port;
	int devctl, pmctl;
	bool rrs;		/* its port shows Request Retry Status */
	int armed;		/* -1, or the kind of reset that is to be held */
	bool held;
	int held_in;		/* the kind of that reset */
	struct task_struct *resetter;	/* who wrote the reset that is held */
	bool in_sbr;		/* its port's secondary bus reset bit is set */
	int seen;		/* resets that were written */
	int waited;
	int mute;
	unsigned long until;
	struct rgl_dom *dom;	/* of the pairs in each of its resets */
	u64 pairs;
};

static const struct rgl_tap *const rgl_taps[] = { &rgl_port_tap };

static DEFINE_MUTEX(rgl_shim_lock);
static struct rgl_bus rgl_buses[RGL_BUSES];
static struct rgl_fn rgl_fns[RGL_FNS];
static int rgl_nr_fns;
static atomic_t rgl_shim_users = ATOMIC_INIT(0);
static raw_spinlock_t *rgl_config_lock;		/* NULL where there is none */

/* One that came later has the accessors from its parent. */
static struct rgl_bus *rgl_bus(struct pci_bus *bus)
{
	int i;

	for (; bus; bus = bus->parent)
		for (i = 0; i < RGL_BUSES; i++)
			if (READ_ONCE(rgl_buses[i].bus) == bus)
				return &rgl_buses[i];
	return NULL;
}

static struct rgl_at rgl_at(const struct pci_dev *pdev)
{
	if (!pdev)
		return (struct rgl_at){ .bus = -1 };
	return (struct rgl_at){ pci_domain_nr(pdev->bus), pdev->bus->number, pdev->devfn };
}

static bool rgl_is_at(const struct rgl_at *at, struct pci_bus *bus, unsigned int devfn)
{
	return at->bus == bus->number && at->devfn == devfn &&
	       at->segment == pci_domain_nr(bus);
}

static bool rgl_muted(struct rgl_fn *fn, bool ready_wait)
{
	switch (READ_ONCE(fn->mute)) {
	case RGL_MUTE_ON:
		return true;
	case RGL_MUTE_UNTIL:
		if (time_before(jiffies, fn->until))
			return true;
		WRITE_ONCE(fn->mute, RGL_MUTE_OFF);
		return false;
	case RGL_MUTE_RESET_WAIT:
		if (ready_wait)
			WRITE_ONCE(fn->mute, RGL_MUTE_ON);
		return false;
	}
	return false;
}

/* Sleeps in an accessor for as long as @flag is set, for a minute at the most. */
void rgl_shim_while(const bool *flag)
{
	unsigned long end = jiffies + 60 * HZ;

	if (!READ_ONCE(*flag) || !rgl_config_leave(rgl_config_lock))
		return;
	while (READ_ONCE(*flag) && time_before(jiffies, end))
		usleep_range(500, 1000);
	rgl_config_enter(rgl_config_lock);
}

static void rgl_shim_pairs(struct rgl_fn *fn)
{
	if (!fn->pairs || !rgl_config_leave(rgl_config_lock))
		return;
	rgl_pairs(fn->dom, fn->pairs);
	rgl_config_enter(rgl_config_lock);
}

/* What a read of @fn gives instead of @val. */
static u32 rgl_filter(struct rgl_fn *fn, int where, int size, u32 val)
{
	bool ready_wait = size == 4 &&
			  (where == PCI_COMMAND || where == PCI_VENDOR_ID);

	if (ready_wait && READ_ONCE(fn->resetter) == current)
		rgl_shim_while(&fn->held);
	if (ready_wait && READ_ONCE(fn->held))
		return where == PCI_VENDOR_ID && fn->rrs ? 0xffff0001 : ~0;
	return rgl_muted(fn, ready_wait) ? ~0 : val;
}

static int rgl_ops_read(struct pci_bus *bus, unsigned int devfn, int where,
			int size, u32 *val)
{
	struct rgl_bus *rb;
	struct rgl_fn *fn;
	int i, n, ret;

	atomic_inc(&rgl_shim_users);
	rb = rgl_bus(bus);
	ret = rb->old->read(bus, devfn, where, size, val);
	*val = rgl_caps_read(bus, devfn, where, size, *val);
	/* Pairs with rgl_fn(): an entry that counts is complete. */
	n = smp_load_acquire(&rgl_nr_fns);
	for (i = 0; i < n; i++) {
		fn = &rgl_fns[i];
		if (rgl_is_at(&fn->at, bus, devfn))
			*val = rgl_filter(fn, where, size, *val);
	}
	for (i = 0; i < ARRAY_SIZE(rgl_taps); i++)
		*val = rgl_taps[i]->read(bus, devfn, where, size, *val);
	atomic_dec(&rgl_shim_users);
	return ret;
}

/* Does this write to @devfn of @bus start a reset of @fn? */
static int rgl_starts(struct rgl_fn *fn, struct pci_bus *bus, unsigned int devfn,
		      int where, int size, u32 val)
{
	if (rgl_is_at(&fn->port, bus, devfn) && where == PCI_BRIDGE_CONTROL &&
	    (val & PCI_BRIDGE_CTL_BUS_RESET))
		return RGL_SBR;
	if (!rgl_is_at(&fn->at, bus, devfn) || size < 2)
		return 0;
	if (fn->devctl && where == fn->devctl && (val & PCI_EXP_DEVCTL_BCR_FLR))
		return RGL_FLR;
	if (fn->pmctl && where == fn->pmctl &&
	    (val & PCI_PM_CTRL_STATE_MASK) == 3)
		return RGL_PM;
	return 0;
}

static void rgl_reset_seen(struct rgl_fn *fn, int kind)
{
	int armed = READ_ONCE(fn->armed);

	if (armed == RGL_ANY || armed == kind) {
		WRITE_ONCE(fn->armed, -1);
		WRITE_ONCE(fn->resetter, current);
		WRITE_ONCE(fn->held_in, kind);
		WRITE_ONCE(fn->held, true);
	}
	if (READ_ONCE(fn->mute) == RGL_MUTE_RESET)
		WRITE_ONCE(fn->mute, RGL_MUTE_RESET_WAIT);
	else if (READ_ONCE(fn->mute) == RGL_MUTE_DEAD)
		WRITE_ONCE(fn->mute, RGL_MUTE_ON);
}

/*
 * A function without power management is not waited for after a bus reset: then
 * the write that ends the reset does not return while @fn is held.
 */
static void rgl_end_sbr(struct rgl_fn *fn, u32 val)
{
	if (val & PCI_BRIDGE_CTL_BUS_RESET) {
		WRITE_ONCE(fn->in_sbr, true);
		return;
	}
	if (!READ_ONCE(fn->in_sbr))
		return;
	WRITE_ONCE(fn->in_sbr, false);
	/* Another reset may be held that began in this one. */
	if (READ_ONCE(fn->held_in) == RGL_SBR)
		rgl_shim_while(&fn->held);
}

/* Which of the first @n functions this write starts a reset of, as bits. */
static unsigned long rgl_ops_start(int n, struct pci_bus *bus, unsigned int devfn,
				   int where, int size, u32 val)
{
	unsigned long started = 0;
	int i, kind;

	for (i = 0; i < n; i++) {
		kind = rgl_starts(&rgl_fns[i], bus, devfn, where, size, val);
		if (!kind)
			continue;
		rgl_reset_seen(&rgl_fns[i], kind);
		__set_bit(i, &started);
	}
	return started;
}

static bool rgl_ops_tapped(struct pci_bus *bus, unsigned int devfn, int where,
			   int size, u32 val)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(rgl_taps); i++)
		if (rgl_taps[i]->write(bus, devfn, where, size, val))
			return true;
	return false;
}

static int rgl_ops_write(struct pci_bus *bus, unsigned int devfn, int where,
			 int size, u32 val)
{
	int i, n, ret = PCIBIOS_SUCCESSFUL;
	unsigned long started;

	atomic_inc(&rgl_shim_users);
	if (rgl_ops_tapped(bus, devfn, where, size, val))
		goto out;
	/* Pairs with rgl_fn(): an entry that counts is complete. */
	n = smp_load_acquire(&rgl_nr_fns);
	started = rgl_ops_start(n, bus, devfn, where, size, val);
	ret = rgl_bus(bus)->old->write(bus, devfn, where, size, val);
	rgl_caps_write(bus, devfn, where, size, val);
	for_each_set_bit(i, &started, n) {
		rgl_caps_reset(&rgl_fns[i].at);
		WRITE_ONCE(rgl_fns[i].seen, rgl_fns[i].seen + 1);
		rgl_shim_pairs(&rgl_fns[i]);
	}
	for (i = 0; where == PCI_BRIDGE_CONTROL && i < n; i++)
		if (rgl_is_at(&rgl_fns[i].port, bus, devfn))
			rgl_end_sbr(&rgl_fns[i], val);
out:
	atomic_dec(&rgl_shim_users);
	return ret;
}

static int rgl_shim_put(struct pci_bus *bus)
{
	struct rgl_bus *rb = rgl_buses;

	if (bus->ops->read == rgl_ops_read)
		return 0;
	if (!rgl_config_lock && !IS_ENABLED(CONFIG_PCI_LOCKLESS_CONFIG))
		rgl_config_lock = (raw_spinlock_t *)rgl_symbol("pci_lock");
	if (!rgl_config_lock && !IS_ENABLED(CONFIG_PCI_LOCKLESS_CONFIG))
		return -ENODEV;
	while (rb < rgl_buses + RGL_BUSES && rb->bus)
		rb++;
	if (rb == rgl_buses + RGL_BUSES)
		return -ENOSPC;
	rb->ops = *bus->ops;
	rb->ops.read = rgl_ops_read;
	rb->ops.write = rgl_ops_write;
	rb->old = bus->ops;
	get_device(&bus->dev);
	/* The accessors look for the bus as soon as they are in place. */
	smp_wmb();
	WRITE_ONCE(rb->bus, bus);
	pci_bus_set_ops(bus, &rb->ops);
	return 0;
}

/* Puts the accessors in place on @bus and on the buses that will come below it. */
int rgl_shim_bus(struct pci_bus *bus)
{
	int ret;

	mutex_lock(&rgl_shim_lock);
	ret = rgl_shim_put(bus);
	mutex_unlock(&rgl_shim_lock);
	return ret;
}

/* Past the accessors; @bus has them. */
u32 rgl_shim_read(struct pci_bus *bus, unsigned int devfn, int where, int size)
{
	u32 val = ~0;

	rgl_bus(bus)->old->read(bus, devfn, where, size, &val);
	return val;
}

void rgl_shim_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	rgl_bus(bus)->old->write(bus, devfn, where, size, val);
}

static bool rgl_port_rrs(struct pci_dev *pdev)
{
	struct pci_dev *root = pcie_find_root_port(pdev);
	u16 ctl = 0;

	if (root)
		pcie_capability_read_word(root, PCI_EXP_RTCTL, &ctl);
	return ctl & 0x0010;
}

static struct rgl_fn *rgl_fn_find(const struct rgl_at *at)
{
	int i;

	for (i = 0; i < rgl_nr_fns; i++)
		if (rgl_fns[i].at.segment == at->segment && rgl_fns[i].at.bus == at->bus &&
		    rgl_fns[i].at.devfn == at->devfn)
			return &rgl_fns[i];
	return NULL;
}

static struct rgl_fn *rgl_fn_new(struct pci_dev *pdev)
{
	struct rgl_fn *fn = &rgl_fns[rgl_nr_fns];

	if (rgl_nr_fns == RGL_FNS)
		return NULL;
	fn->at = rgl_at(pdev);
	fn->port = rgl_at(pci_upstream_bridge(pdev));
	fn->devctl = pci_is_pcie(pdev) ? pci_pcie_cap(pdev) + PCI_EXP_DEVCTL : 0;
	fn->pmctl = pdev->pm_cap ? pdev->pm_cap + PCI_PM_CTRL : 0;
	fn->rrs = rgl_port_rrs(pdev);
	fn->armed = -1;
	/* Pairs with the accessors, which take no lock. */
	smp_store_release(&rgl_nr_fns, rgl_nr_fns + 1);
	return fn;
}

/* Also of one that is known: its bus may have come anew with it. */
static int rgl_fn_shim(struct pci_dev *pdev)
{
	struct pci_dev *port = pci_upstream_bridge(pdev);
	int ret = rgl_shim_put(pdev->bus);

	return !ret && port ? rgl_shim_put(port->bus) : ret;
}

static struct rgl_fn *rgl_fn_get(struct rgl_req *rq, const struct rgl_at *at)
{
	struct pci_dev *pdev = pci_get_domain_bus_and_slot(at->segment, at->bus, at->devfn);
	struct rgl_fn *fn = rgl_fn_find(at);

	if (!pdev) {
		/* What was set up for one that is gone can still be undone. */
		if (!fn)
			rgl_usage(rq, "no such PCI function: %s", rq->argv[1]);
		return fn;
	}
	if (rgl_fn_shim(pdev))
		fn = NULL;
	else if (!fn)
		fn = rgl_fn_new(pdev);
	pci_dev_put(pdev);
	if (!fn)
		rgl_usage(rq, "too many functions or buses with a shim");
	return fn;
}

/* The shim of the function named by word 1, put in place if need be. */
static struct rgl_fn *rgl_fn(struct rgl_req *rq)
{
	struct rgl_fn *fn;
	struct rgl_at at;

	if (rgl_addr(rq, 1, &at))
		return NULL;
	mutex_lock(&rgl_shim_lock);
	fn = rgl_fn_get(rq, &at);
	mutex_unlock(&rgl_shim_lock);
	return fn;
}

/* Puts it in place for the function named by word 1. */
bool rgl_shim_has(struct rgl_req *rq)
{
	return rgl_fn(rq);
}

long rgl_cmd_hold(struct rgl_req *rq)
{
	static const char *const words[] = { "any", "flr", "pm", "bus", NULL };
	int kind = rq->argc == 3 ? rgl_word(rq, 2, words) : RGL_ANY;
	struct rgl_fn *fn;

	if (kind < 0)
		return kind;
	fn = rgl_fn(rq);
	if (!fn)
		return -EINVAL;
	WRITE_ONCE(fn->waited, READ_ONCE(fn->seen));
	WRITE_ONCE(fn->armed, kind);
	return 0;
}

long rgl_cmd_unhold(struct rgl_req *rq)
{
	struct rgl_fn *fn = rgl_fn(rq);

	if (!fn)
		return -EINVAL;
	WRITE_ONCE(fn->armed, -1);
	WRITE_ONCE(fn->held, false);
	WRITE_ONCE(fn->resetter, NULL);
	return 0;
}

/* Waits for a reset written since the last hold or waitreset. */
long rgl_cmd_waitreset(struct rgl_req *rq)
{
	struct rgl_fn *fn;
	unsigned long end;
	u64 ms = 25000;

	if (rq->argc == 3 && rgl_u64(rq, 2, &ms))
		return -EINVAL;
	fn = rgl_fn(rq);
	if (!fn)
		return -EINVAL;
	end = jiffies + msecs_to_jiffies(min_t(u64, ms, 60000));
	while (READ_ONCE(fn->seen) == READ_ONCE(fn->waited)) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		usleep_range(300, 600);
	}
	WRITE_ONCE(fn->waited, fn->waited + 1);
	return 0;
}

long rgl_cmd_mute(struct rgl_req *rq)
{
	static const char *const words[] = { "on", "off", "reset", "dead", NULL };
	static const int modes[] = {
		RGL_MUTE_ON, RGL_MUTE_OFF, RGL_MUTE_RESET, RGL_MUTE_DEAD
	};
	int mode = RGL_MUTE_UNTIL, w;
	struct rgl_fn *fn;
	u64 ms = 0;

	if (kstrtou64(rq->argv[2], 0, &ms)) {
		w = rgl_word(rq, 2, words);
		if (w < 0)
			return w;
		mode = modes[w];
	}
	fn = rgl_fn(rq);
	if (!fn)
		return -EINVAL;
	fn->until = jiffies + msecs_to_jiffies(min_t(u64, ms, 120000));
	WRITE_ONCE(fn->mute, mode);
	return 0;
}

/* inreset BDF NAME N: pairs in each of its resets, by whoever resets it; N of 0 ends that. */
long rgl_cmd_inreset(struct rgl_req *rq)
{
	struct rgl_fn *fn;
	u64 n;

	if (rgl_u64(rq, 3, &n))
		return -EINVAL;
	fn = rgl_fn(rq);
	if (!fn)
		return -EINVAL;
	fn->pairs = 0;
	if (fn->dom)
		rgl_dom_put(fn->dom);
	fn->dom = n ? rgl_dom_get(rq, 2) : NULL;
	if (fn->dom)
		fn->pairs = n;
	return n && !fn->dom ? -EINVAL : 0;
}

static void rgl_shim_take_back(struct pci_bus *bus)
{
	if (bus && bus->ops->read == rgl_ops_read)
		pci_bus_set_ops(bus, rgl_bus(bus)->old);
}

void rgl_shim_exit(void)
{
	struct pci_dev *pdev = NULL;
	int i;

	for_each_pci_dev(pdev) {
		rgl_shim_take_back(pdev->bus);
		rgl_shim_take_back(pdev->subordinate);
	}
	/* An accessor counts itself a few instructions after it was called. */
	msleep(100);
	while (atomic_read(&rgl_shim_users))
		msleep(20);
	for (i = 0; i < RGL_BUSES && rgl_buses[i].bus; i++)
		put_device(&rgl_buses[i].bus->dev);
}
