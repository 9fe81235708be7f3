// SPDX-License-Identifier: GPL-2.0
/* Ownership of IOMMU groups, attach, detach, replace, storms of swaps. */
#include <linux/kthread.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "rglab.h"

struct rgl_swap {
	struct task_struct *task;
	struct rgl_dev *rd;
	struct rgl_dom *dom[2];
	unsigned long loops;
	unsigned long errors;
	int last_error;
};

static DEFINE_MUTEX(rgl_devs_lock);
static LIST_HEAD(rgl_devs);
static int rgl_owner;		/* its address is our cookie */

static struct rgl_dev *rgl_dev_new(struct pci_dev *pdev)
{
	struct rgl_dev *rd = kzalloc(sizeof(*rd), GFP_KERNEL);

	if (!rd)
		return NULL;
	rd->group = iommu_group_get(&pdev->dev);
	if (!rd->group) {
		kfree(rd);
		return NULL;
	}
	rd->pdev = pci_dev_get(pdev);
	mutex_init(&rd->lock);
	list_add_tail(&rd->link, &rgl_devs);
	return rd;
}

/* The state of the function named by word @arg, made if need be. */
static struct rgl_dev *rgl_dev(struct rgl_req *rq, int arg)
{
	struct pci_dev *pdev = rgl_pdev(rq, arg);
	struct rgl_dev *rd, *found = NULL;

	if (!pdev)
		return NULL;
	mutex_lock(&rgl_devs_lock);
	list_for_each_entry(rd, &rgl_devs, link)
		if (rd->pdev == pdev)
			found = rd;
	if (!found)
		found = rgl_dev_new(pdev);
	mutex_unlock(&rgl_devs_lock);
	if (!found)
		rgl_usage(rq, "no IOMMU group: %s", rq->argv[arg]);
	pci_dev_put(pdev);
	return found;
}

long rgl_cmd_claim(struct rgl_req *rq)
{
	struct rgl_dev *rd = rgl_dev(rq, 1);
	long ret;

	if (!rd)
		return -EINVAL;
	mutex_lock(&rd->lock);
	ret = rd->claimed ? -EALREADY :
			    iommu_group_claim_dma_owner(rd->group, &rgl_owner);
	if (!ret)
		rd->claimed = true;
	mutex_unlock(&rd->lock);
	return ret;
}

static void rgl_detach_locked(struct rgl_dev *rd)
{
	rgl_detach_begin();
	if (rd->handled)
		rgl_group_detach_handle(rd->dom->domain, rd->group);
	else
		iommu_detach_group(rd->dom->domain, rd->group);
	rgl_detach_end();
	rgl_dom_put(rd->dom);
	rd->handled = false;
	rd->dom = NULL;
}

long rgl_cmd_release(struct rgl_req *rq)
{
	struct rgl_dev *rd = rgl_dev(rq, 1);
	long ret = 0;

	if (!rd)
		return -EINVAL;
	mutex_lock(&rd->lock);
	if (rd->dom)
		ret = -EBUSY;
	else if (!rd->claimed)
		ret = -ENOENT;
	else
		iommu_group_release_dma_owner(rd->group);
	if (!ret)
		rd->claimed = false;
	mutex_unlock(&rd->lock);
	return ret;
}

/* How: as VFIO does, by the call for a group's only function, as in a probe, as IOMMUFD does. */
enum rgl_how { RGL_BY_GROUP, RGL_BY_DEVICE, RGL_LOCKED, RGL_HANDLE };

static int rgl_attach_how(struct rgl_dev *rd, struct iommu_domain *d, enum rgl_how how)
{
	int ret;

	if (how == RGL_BY_DEVICE)
		return iommu_attach_device(d, &rd->pdev->dev);
	if (how == RGL_HANDLE)
		return rgl_group_attach_handle(rd->group, d, &rd->handle);
	if (how == RGL_LOCKED)
		device_lock(&rd->pdev->dev);
	ret = iommu_attach_group(d, rd->group);
	if (how == RGL_LOCKED)
		device_unlock(&rd->pdev->dev);
	return ret;
}

static int rgl_attach_locked(struct rgl_dev *rd, struct rgl_dom *dom, enum rgl_how how)
{
	int ret = rgl_attach_how(rd, dom->domain, how);

	if (!ret) {
		rgl_dom_hold(dom);
		rd->dom = dom;
		rd->handled = how == RGL_HANDLE;
	}
	return ret;
}

long rgl_cmd_attach(struct rgl_req *rq)
{
	static const char *const words[] = { "group", "device", "locked", "handle", NULL };
	int how = rq->argc == 4 ? rgl_word(rq, 3, words) : RGL_BY_GROUP;
	struct rgl_dev *rd;
	struct rgl_dom *dom;
	long ret;

	if (how < 0)
		return how;
	rd = rgl_dev(rq, 1);
	if (!rd)
		return -EINVAL;
	dom = rgl_dom_get(rq, 2);
	if (!dom)
		return -EINVAL;
	mutex_lock(&rd->lock);
	ret = rd->dom ? -EALREADY : rgl_attach_locked(rd, dom, how);
	mutex_unlock(&rd->lock);
	rgl_dom_put(dom);
	return ret;
}

long rgl_cmd_sva(struct rgl_req *rq)
{
	struct pci_dev *pdev = rgl_pdev(rq, 1);
	long ret;

	if (!pdev)
		return -EINVAL;
	ret = rgl_sva(&pdev->dev, current->mm);
	pci_dev_put(pdev);
	return ret;
}

long rgl_cmd_detach(struct rgl_req *rq)
{
	struct rgl_dev *rd = rgl_dev(rq, 1);
	long ret = 0;

	if (!rd)
		return -EINVAL;
	mutex_lock(&rd->lock);
	if (!rd->dom)
		ret = -ENOENT;
	else if (rq->argc == 3 && strcmp(rq->argv[2], rd->dom->name))
		ret = rgl_usage(rq, "attached to %s", rd->dom->name);
	else
		rgl_detach_locked(rd);
	mutex_unlock(&rd->lock);
	return ret;
}

/* From one domain to another in a single call, as IOMMUFD does it. */
long rgl_cmd_replace(struct rgl_req *rq)
{
	struct rgl_dev *rd = rgl_dev(rq, 1);
	struct rgl_dom *dom;
	long ret;

	if (!rd)
		return -EINVAL;
	dom = rgl_dom_get(rq, 2);
	if (!dom)
		return -EINVAL;
	mutex_lock(&rd->lock);
	if (!rd->dom || !rd->claimed)
		ret = -ENOENT;
	else
		ret = rgl_group_replace(rd->group, dom->domain, &rd->handle);
	if (!ret) {
		rd->handled = RGL_HAVE_HANDLE;
		rgl_dom_hold(dom);
		rgl_dom_put(rd->dom);
		rd->dom = dom;
	}
	mutex_unlock(&rd->lock);
	rgl_dom_put(dom);
	return ret;
}

enum rgl_bad {
	RGL_BAD_SNOOP, RGL_BAD_DIRTY, RGL_BAD_GBPAGE, RGL_BAD_OWNER, RGL_BAD_WIDTH,
	RGL_BAD_FOREIGN,
};

/*
 * How wide a domain of VT-d's says it is: the highest address, or from 7.x on the
 * width of its table. Exchanges it for another value.
 */
static int rgl_exchange_width(struct iommu_domain *d, u64 *value)
{
	int base = rgl_offset("dmar_domain", NULL, "domain");
	int addr = rgl_offset("dmar_domain", NULL, "max_addr");
	int lg2 = rgl_offset("dmar_domain", NULL, "sspt.vtdss_pt.common.max_vasz_lg2");
	void *domain = (void *)d - base;

	if (base < 0 || (addr < 0 && lg2 < 0))
		return -EOPNOTSUPP;
	if (addr >= 0)
		swap(*(u64 *)(domain + addr), *value);
	else
		*value = xchg((u8 *)(domain + lg2), (u8)*value);
	return 0;
}

/* The SMMU that a domain is for; no more than compared where it is another. */
static int rgl_exchange_smmu(struct iommu_domain *d, u64 *value)
{
	int base = rgl_offset("arm_smmu_domain", "nr_ats_masters", "domain");
	int smmu = rgl_offset("arm_smmu_domain", "nr_ats_masters", "smmu");

	if (base < 0 || smmu < 0)
		return -EOPNOTSUPP;
	swap(*(u64 *)((void *)d - base + smmu), *value);
	return 0;
}

/* A number too large in either unit, and no SMMU's address. */
#define RGL_TOO_WIDE	(BIT_ULL(62) | 62)

static int rgl_exchange(struct iommu_domain *d, enum rgl_bad kind, u64 *value)
{
	return kind == RGL_BAD_WIDTH ? rgl_exchange_width(d, value) :
				       rgl_exchange_smmu(d, value);
}

static int rgl_spoil(struct iommu_domain *d, enum rgl_bad kind, u64 *value)
{
	switch (kind) {
	case RGL_BAD_SNOOP:	/* the IOMMU has no snoop control */
		if (!d->ops->enforce_cache_coherency ||
		    !d->ops->enforce_cache_coherency(d))
			return -EOPNOTSUPP;
		return 0;
	case RGL_BAD_DIRTY:	/* no dirty tracking */
		return rgl_domain_set_dirty(d);
	case RGL_BAD_GBPAGE:	/* no 1 GiB pages: needs fs1gp=off in QEMU */
		d->pgsize_bitmap |= SZ_1G;
		return 0;
	case RGL_BAD_OWNER:	/* another IOMMU driver's domain */
		return rgl_domain_set_owner(d);
	case RGL_BAD_WIDTH:	/* one of an IOMMU with more address bits */
	case RGL_BAD_FOREIGN:	/* one that was made for another SMMU */
		return rgl_exchange(d, kind, value);
	}
	return -EINVAL;
}

/*
 * Attaches a domain that this IOMMU cannot take. The answer should be the
 * driver's error; if it is 0, the domain was detached again.
 */
long rgl_cmd_badattach(struct rgl_req *rq)
{
	static const char *const words[] = {
		"snoop", "dirty", "gbpage", "owner", "width", "foreign", NULL
	};
	int kind = rgl_word(rq, 2, words);
	struct iommu_domain *d, saved;
	u64 value = RGL_TOO_WIDE;
	struct rgl_dev *rd;
	long ret;

	if (kind < 0)
		return kind;
	rd = rgl_dev(rq, 1);
	if (!rd)
		return -EINVAL;
	d = rgl_domain_alloc(&rd->pdev->dev);
	if (IS_ERR(d))
		return PTR_ERR(d);
	saved = *d;
	mutex_lock(&rd->lock);
	ret = rd->dom ? -EALREADY : rgl_spoil(d, kind, &value);
	if (!ret) {
		ret = iommu_attach_group(d, rd->group);
		if (!ret)
			iommu_detach_group(d, rd->group);
	}
	mutex_unlock(&rd->lock);
	if (value != RGL_TOO_WIDE)
		rgl_exchange(d, kind, &value);
	*d = saved;
	iommu_domain_free(d);
	return ret;
}

static int rgl_swap_fn(void *data)
{
	struct rgl_swap *sw = data;
	struct rgl_dev *rd = sw->rd;
	int ret;

	while (!kthread_should_stop()) {
		mutex_lock(&rd->lock);
		if (rd->dom)
			rgl_detach_locked(rd);
		ret = rgl_attach_locked(rd, sw->dom[sw->loops & 1], RGL_BY_GROUP);
		mutex_unlock(&rd->lock);
		sw->loops++;
		if (ret) {
			sw->errors++;
			sw->last_error = ret;
			schedule_timeout_interruptible(1);
		}
		cond_resched_tasks_rcu_qs();
	}
	return 0;
}

static void rgl_swap_stop(struct rgl_dev *rd, struct rgl_req *rq)
{
	struct rgl_swap *sw = rd->swap;

	rd->swap = NULL;
	kthread_stop(sw->task);
	if (rq)
		rgl_say(rq, "loops=%lu errors=%lu last=%d now=%s", sw->loops,
			sw->errors, sw->last_error, rd->dom ? rd->dom->name : "-");
	rgl_dom_put(sw->dom[0]);
	rgl_dom_put(sw->dom[1]);
	kfree(sw);
}

static long rgl_swap_start(struct rgl_dev *rd, struct rgl_req *rq)
{
	struct rgl_swap *sw;
	long ret = -EINVAL;

	if (rq->argc != 5)
		return rgl_usage(rq, "usage: swapstorm start BDF A B");
	if (rd->swap)
		return -EBUSY;
	sw = kzalloc(sizeof(*sw), GFP_KERNEL);
	if (!sw)
		return -ENOMEM;
	sw->rd = rd;
	sw->dom[0] = rgl_dom_get(rq, 3);
	if (!sw->dom[0])
		goto err_free;
	sw->dom[1] = rgl_dom_get(rq, 4);
	if (!sw->dom[1])
		goto err_a;
	sw->task = kthread_run(rgl_swap_fn, sw, "rgl_swap");
	if (IS_ERR(sw->task)) {
		ret = PTR_ERR(sw->task);
		goto err_b;
	}
	rd->swap = sw;
	return 0;
err_b:
	rgl_dom_put(sw->dom[1]);
err_a:
	rgl_dom_put(sw->dom[0]);
err_free:
	kfree(sw);
	return ret;
}

long rgl_cmd_swapstorm(struct rgl_req *rq)
{
	static const char *const words[] = { "start", "stop", NULL };
	int w = rgl_word(rq, 1, words);
	struct rgl_dev *rd;
	long ret = 0;

	if (w < 0)
		return w;
	rd = rgl_dev(rq, 2);
	if (!rd)
		return -EINVAL;
	mutex_lock(&rgl_devs_lock);
	if (w == 0)
		ret = rgl_swap_start(rd, rq);
	else if (rd->swap)
		rgl_swap_stop(rd, rq);
	else
		ret = -ENOENT;
	mutex_unlock(&rgl_devs_lock);
	return ret;
}

static void rgl_dev_leave(struct rgl_dev *rd)
{
	if (rd->swap)
		rgl_swap_stop(rd, NULL);
	mutex_lock(&rd->lock);
	if (rd->dom)
		rgl_detach_locked(rd);
	if (rd->claimed)
		iommu_group_release_dma_owner(rd->group);
	rd->claimed = false;
	mutex_unlock(&rd->lock);
}

/* A group must not be left without functions while it has an owner. */
static int rgl_devs_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	struct rgl_dev *rd;

	if (action != BUS_NOTIFY_DEL_DEVICE)
		return NOTIFY_DONE;
	mutex_lock(&rgl_devs_lock);
	list_for_each_entry(rd, &rgl_devs, link)
		if (&rd->pdev->dev == data)
			rgl_dev_leave(rd);
	mutex_unlock(&rgl_devs_lock);
	return NOTIFY_OK;
}

static struct notifier_block rgl_devs_nb = { .notifier_call = rgl_devs_notify };

int rgl_devs_init(void)
{
	return bus_register_notifier(&pci_bus_type, &rgl_devs_nb);
}

void rgl_devs_exit(void)
{
	struct rgl_dev *rd, *tmp;

	bus_unregister_notifier(&pci_bus_type, &rgl_devs_nb);
	list_for_each_entry_safe(rd, tmp, &rgl_devs, link) {
		rgl_dev_leave(rd);
		iommu_group_put(rd->group);
		pci_dev_put(rd->pdev);
		list_del(&rd->link);
		kfree(rd);
	}
}
