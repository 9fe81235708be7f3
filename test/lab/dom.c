// SPDX-License-Identifier: GPL-2.0
/* Domains of the exerciser: map, unmap, storms of both, pages under watch. */
#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/kthread.h>
#include <linux/rwsem.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "rglab.h"

struct rgl_storm {
	struct task_struct *task;
	struct iommu_domain *domain;
	struct page *page;
	bool fast;
	unsigned long loops;
	unsigned long errors;
	int last_error;
};

/* A page that nothing may write to any more. */
struct rgl_kept {
	struct list_head link;
	struct page *page;
};

/* The list of domains and their users. */
DEFINE_MUTEX(rgl_doms_lock);
static LIST_HEAD(rgl_doms);
/* Both lists of watched pages. */
static DEFINE_MUTEX(rgl_kept_lock);
static LIST_HEAD(rgl_kept_list);
static LIST_HEAD(rgl_churn_list);

/* Storms and detaches, where the kernel leaves it to its users to keep them apart. */
static DECLARE_RWSEM(rgl_unmap_sem);

void rgl_detach_begin(void)
{
	if (RGL_DETACH_WAITS_FOR_UNMAP)
		down_write(&rgl_unmap_sem);
}

void rgl_detach_end(void)
{
	if (RGL_DETACH_WAITS_FOR_UNMAP)
		up_write(&rgl_unmap_sem);
}

static void rgl_fill(struct page *page, u64 pattern)
{
	u64 *p = page_address(page);
	size_t i;

	for (i = 0; i < PAGE_SIZE / sizeof(*p); i++)
		p[i] = pattern;
}

static struct rgl_dom *rgl_dom_find(const char *name)
{
	struct rgl_dom *dom;

	list_for_each_entry(dom, &rgl_doms, link)
		if (!strcmp(dom->name, name))
			return dom;
	return NULL;
}

struct rgl_dom *rgl_dom_get(struct rgl_req *rq, int arg)
{
	struct rgl_dom *dom;

	mutex_lock(&rgl_doms_lock);
	dom = rgl_dom_find(rq->argv[arg]);
	if (dom)
		dom->users++;
	mutex_unlock(&rgl_doms_lock);
	if (!dom)
		rgl_usage(rq, "no such domain: %s", rq->argv[arg]);
	return dom;
}

void rgl_dom_hold(struct rgl_dom *dom)
{
	mutex_lock(&rgl_doms_lock);
	dom->users++;
	mutex_unlock(&rgl_doms_lock);
}

void rgl_dom_put(struct rgl_dom *dom)
{
	mutex_lock(&rgl_doms_lock);
	dom->users--;
	mutex_unlock(&rgl_doms_lock);
}

static long rgl_dom_new(struct rgl_req *rq)
{
	struct rgl_dom *dom;
	struct pci_dev *pdev;
	long ret = 0;

	if (rq->argc != 4)
		return rgl_usage(rq, "usage: domain new NAME BDF");
	if (strlen(rq->argv[2]) >= RGL_NAME)
		return rgl_usage(rq, "name too long: %s", rq->argv[2]);
	pdev = rgl_pdev(rq, 3);
	if (!pdev)
		return -EINVAL;
	dom = kzalloc(sizeof(*dom), GFP_KERNEL);
	if (!dom) {
		ret = -ENOMEM;
		goto out;
	}
	strscpy(dom->name, rq->argv[2], RGL_NAME);
	mutex_init(&dom->lock);
	xa_init(&dom->pages);
	dom->domain = rgl_domain_alloc(&pdev->dev);
	if (IS_ERR(dom->domain)) {
		ret = PTR_ERR(dom->domain);
		kfree(dom);
		goto out;
	}
	mutex_lock(&rgl_doms_lock);
	if (rgl_dom_find(dom->name))
		ret = rgl_usage(rq, "domain exists: %s", dom->name);
	else
		list_add_tail(&dom->link, &rgl_doms);
	mutex_unlock(&rgl_doms_lock);
	if (ret) {
		iommu_domain_free(dom->domain);
		kfree(dom);
	}
out:
	pci_dev_put(pdev);
	return ret;
}

/* The domain first, then its pages: what a user of it may do. */
static void rgl_dom_destroy(struct rgl_dom *dom)
{
	struct page *page;
	unsigned long i;

	xa_for_each(&dom->pages, i, page)
		iommu_unmap(dom->domain, i << PAGE_SHIFT, PAGE_SIZE);
	iommu_domain_free(dom->domain);
	xa_for_each(&dom->pages, i, page)
		__free_page(page);
	xa_destroy(&dom->pages);
	kfree(dom);
}

static long rgl_dom_free(struct rgl_req *rq)
{
	struct rgl_dom *dom;

	if (rq->argc != 3)
		return rgl_usage(rq, "usage: domain free NAME");
	mutex_lock(&rgl_doms_lock);
	dom = rgl_dom_find(rq->argv[2]);
	if (!dom) {
		mutex_unlock(&rgl_doms_lock);
		return rgl_usage(rq, "no such domain: %s", rq->argv[2]);
	}
	if (dom->users) {
		mutex_unlock(&rgl_doms_lock);
		return -EBUSY;
	}
	list_del(&dom->link);
	mutex_unlock(&rgl_doms_lock);
	rgl_dom_destroy(dom);
	return 0;
}

long rgl_cmd_domain(struct rgl_req *rq)
{
	static const char *const words[] = { "new", "free", NULL };
	int w = rgl_word(rq, 1, words);

	if (w < 0)
		return w;
	return w ? rgl_dom_free(rq) : rgl_dom_new(rq);
}

/* Words 2 and 3: a page-aligned range. */
static int rgl_range(struct rgl_req *rq, u64 *iova, u64 *size)
{
	int ret = rgl_u64(rq, 2, iova);

	if (!ret)
		ret = rgl_u64(rq, 3, size);
	if (ret)
		return ret;
	if (!*size || *size > RGL_MAP_MAX || (*iova | *size) & ~PAGE_MASK)
		return rgl_usage(rq, "not a range of whole pages: %s %s",
				 rq->argv[2], rq->argv[3]);
	return 0;
}

static int rgl_map_page(struct rgl_dom *dom, u64 iova, u64 pattern)
{
	struct page *page = alloc_page(GFP_KERNEL);
	int ret;

	if (!page)
		return -ENOMEM;
	rgl_fill(page, pattern);
	ret = xa_insert(&dom->pages, iova >> PAGE_SHIFT, page, GFP_KERNEL);
	if (ret) {
		__free_page(page);
		return ret == -EBUSY ? -EEXIST : ret;
	}
	ret = rgl_iommu_map(dom->domain, iova, page_to_phys(page), PAGE_SIZE);
	if (ret) {
		xa_erase(&dom->pages, iova >> PAGE_SHIFT);
		__free_page(page);
	}
	return ret;
}

/* Unmaps in one call, then frees or keeps the pages at once. */
static long rgl_unmap_range(struct rgl_dom *dom, u64 iova, u64 size, bool keep)
{
	struct rgl_kept *kept;
	struct page *page;
	size_t done;
	u64 i;

	done = iommu_unmap(dom->domain, iova, size);
	for (i = iova; i < iova + size; i += PAGE_SIZE) {
		page = xa_erase(&dom->pages, i >> PAGE_SHIFT);
		kept = keep ? kmalloc(sizeof(*kept), GFP_KERNEL) : NULL;
		if (!kept) {
			if (page)
				__free_page(page);
			continue;
		}
		rgl_fill(page, RGL_POISON);
		kept->page = page;
		mutex_lock(&rgl_kept_lock);
		list_add_tail(&kept->link, &rgl_kept_list);
		mutex_unlock(&rgl_kept_lock);
	}
	return done;
}

long rgl_cmd_map(struct rgl_req *rq)
{
	u64 iova, size, pattern = 0, i;
	struct rgl_dom *dom;
	long ret = rgl_range(rq, &iova, &size);

	if (!ret && rq->argc == 5)
		ret = rgl_u64(rq, 4, &pattern);
	if (ret)
		return ret;
	dom = rgl_dom_get(rq, 1);
	if (!dom)
		return -EINVAL;
	mutex_lock(&dom->lock);
	for (i = 0; i < size && !ret; i += PAGE_SIZE)
		ret = rgl_map_page(dom, iova + i, pattern);
	if (ret && i > PAGE_SIZE)
		rgl_unmap_range(dom, iova, i - PAGE_SIZE, false);
	mutex_unlock(&dom->lock);
	rgl_dom_put(dom);
	return ret;
}

long rgl_cmd_unmap(struct rgl_req *rq)
{
	static const char *const words[] = { "keep", NULL };
	struct rgl_dom *dom;
	u64 iova, size, i;
	long ret = rgl_range(rq, &iova, &size);

	if (!ret && rq->argc == 5)
		ret = rgl_word(rq, 4, words);
	if (ret)
		return ret;
	dom = rgl_dom_get(rq, 1);
	if (!dom)
		return -EINVAL;
	mutex_lock(&dom->lock);
	for (i = iova; i < iova + size; i += PAGE_SIZE)
		if (!xa_load(&dom->pages, i >> PAGE_SHIFT))
			ret = -ENOENT;
	if (!ret)
		ret = rgl_unmap_range(dom, iova, size, rq->argc == 5);
	mutex_unlock(&dom->lock);
	rgl_dom_put(dom);
	return ret;
}

static struct page *rgl_page(struct rgl_req *rq, struct rgl_dom **dom)
{
	struct page *page;
	u64 iova;

	if (rgl_u64(rq, 2, &iova))
		return NULL;
	*dom = rgl_dom_get(rq, 1);
	if (!*dom)
		return NULL;
	mutex_lock(&(*dom)->lock);
	page = xa_load(&(*dom)->pages, iova >> PAGE_SHIFT);
	if (!page) {
		mutex_unlock(&(*dom)->lock);
		rgl_dom_put(*dom);
		rgl_usage(rq, "not mapped: %s", rq->argv[2]);
	}
	return page;
}

/* peek: physical address, the walk's result, first quadword. */
long rgl_cmd_peek(struct rgl_req *rq)
{
	struct rgl_dom *dom;
	struct page *page = rgl_page(rq, &dom);
	phys_addr_t walk;
	u64 iova;

	if (!page)
		return -EINVAL;
	rgl_u64(rq, 2, &iova);
	walk = iommu_iova_to_phys(dom->domain, iova);
	rgl_say(rq, "phys=0x%llx walk=0x%llx data=0x%llx", (u64)page_to_phys(page),
		(u64)walk, READ_ONCE(*(u64 *)page_address(page)));
	mutex_unlock(&dom->lock);
	rgl_dom_put(dom);
	return 0;
}

long rgl_cmd_poke(struct rgl_req *rq)
{
	struct rgl_dom *dom;
	struct page *page;
	u64 pattern;

	if (rgl_u64(rq, 3, &pattern))
		return -EINVAL;
	page = rgl_page(rq, &dom);
	if (!page)
		return -EINVAL;
	rgl_fill(page, pattern);
	mutex_unlock(&dom->lock);
	rgl_dom_put(dom);
	return 0;
}

static long rgl_kept_bad(struct list_head *list)
{
	struct rgl_kept *kept;
	long bad = 0;
	size_t i;
	u64 *p;

	list_for_each_entry(kept, list, link) {
		p = page_address(kept->page);
		for (i = 0; i < PAGE_SIZE / sizeof(*p); i++) {
			if (READ_ONCE(p[i]) != RGL_POISON) {
				bad++;
				break;
			}
		}
	}
	return bad;
}

static void rgl_kept_free(struct list_head *list)
{
	struct rgl_kept *kept, *tmp;

	list_for_each_entry_safe(kept, tmp, list, link) {
		list_del(&kept->link);
		__free_page(kept->page);
		kfree(kept);
	}
}

/* Pages taken out of a mapping with 'keep': how many were written to since? */
long rgl_cmd_kept(struct rgl_req *rq)
{
	static const char *const words[] = { "check", "free", NULL };
	int w = rgl_word(rq, 1, words);
	long ret = 0;

	if (w < 0)
		return w;
	mutex_lock(&rgl_kept_lock);
	if (w == 0)
		ret = rgl_kept_bad(&rgl_kept_list);
	else
		rgl_kept_free(&rgl_kept_list);
	mutex_unlock(&rgl_kept_lock);
	return ret;
}

static long rgl_churn_take(u64 mib)
{
	u64 n = mib << (20 - PAGE_SHIFT);
	struct rgl_kept *kept;

	while (n--) {
		kept = kmalloc(sizeof(*kept), GFP_KERNEL);
		if (!kept)
			return -ENOMEM;
		kept->page = alloc_page(GFP_KERNEL | __GFP_NORETRY);
		if (!kept->page) {
			kfree(kept);
			return -ENOMEM;
		}
		rgl_fill(kept->page, RGL_POISON);
		list_add_tail(&kept->link, &rgl_churn_list);
	}
	return 0;
}

/*
 * Takes free memory, so that pages freed a moment ago are in other hands; then
 * tells how many of these pages somebody wrote to.
 */
long rgl_cmd_churn(struct rgl_req *rq)
{
	static const char *const words[] = { "check", "free", NULL };
	u64 mib = 0;
	long ret = 0;
	int w = -1;

	if (kstrtou64(rq->argv[1], 0, &mib)) {
		w = rgl_word(rq, 1, words);
		if (w < 0)
			return w;
	} else if (mib > 1024) {
		return rgl_usage(rq, "at most 1024 MiB: %s", rq->argv[1]);
	}
	mutex_lock(&rgl_kept_lock);
	if (w == 0)
		ret = rgl_kept_bad(&rgl_churn_list);
	else if (w == 1)
		rgl_kept_free(&rgl_churn_list);
	else
		ret = rgl_churn_take(mib);
	mutex_unlock(&rgl_kept_lock);
	return ret;
}

static int rgl_storm_round(struct rgl_storm *st)
{
	int ret;

	if (RGL_DETACH_WAITS_FOR_UNMAP)
		down_read(&rgl_unmap_sem);
	ret = rgl_iommu_map(st->domain, RGL_STORM_IOVA, page_to_phys(st->page), PAGE_SIZE);
	if (!ret)
		iommu_unmap(st->domain, RGL_STORM_IOVA, PAGE_SIZE);
	if (RGL_DETACH_WAITS_FOR_UNMAP)
		up_read(&rgl_unmap_sem);
	return ret;
}

static int rgl_storm_fn(void *data)
{
	struct rgl_storm *st = data;
	int ret;

	while (!kthread_should_stop()) {
		ret = rgl_storm_round(st);
		if (ret) {
			st->errors++;
			st->last_error = ret;
			schedule_timeout_interruptible(1);
			continue;
		}
		WRITE_ONCE(st->loops, st->loops + 1);
		if (st->fast)
			cond_resched_tasks_rcu_qs();
		else
			usleep_range(200, 300);
	}
	return 0;
}

static struct rgl_storm *rgl_storm_new(struct rgl_dom *dom, bool fast)
{
	struct rgl_storm *st = kzalloc(sizeof(*st), GFP_KERNEL);

	if (!st)
		return ERR_PTR(-ENOMEM);
	st->domain = dom->domain;
	st->fast = fast;
	st->page = alloc_page(GFP_KERNEL);
	if (!st->page) {
		kfree(st);
		return ERR_PTR(-ENOMEM);
	}
	st->task = kthread_run(rgl_storm_fn, st, "rgl_storm/%s", dom->name);
	if (IS_ERR(st->task)) {
		int ret = PTR_ERR(st->task);

		__free_page(st->page);
		kfree(st);
		return ERR_PTR(ret);
	}
	return st;
}

static void rgl_storm_stop(struct rgl_dom *dom, struct rgl_req *rq)
{
	struct rgl_storm *st = dom->storm;

	dom->storm = NULL;
	kthread_stop(st->task);
	if (rq)
		rgl_say(rq, "loops=%lu errors=%lu last=%d", st->loops, st->errors,
			st->last_error);
	__free_page(st->page);
	kfree(st);
	rgl_dom_put(dom);
}

/* Until it has done as many more; a domain without a device has them too. */
static long rgl_storm_wait(struct rgl_dom *dom, const char *more)
{
	unsigned long end = jiffies + 25 * HZ;
	unsigned long loops;
	int ret = kstrtoul(more, 0, &loops);

	if (ret)
		return ret;
	loops += READ_ONCE(dom->storm->loops);
	while (time_before(READ_ONCE(dom->storm->loops), loops)) {
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		usleep_range(500, 1000);
	}
	return 0;
}

static long rgl_storm_start(struct rgl_dom *dom, bool fast)
{
	struct rgl_storm *st;

	if (dom->storm)
		return -EBUSY;
	st = rgl_storm_new(dom, fast);
	if (IS_ERR(st))
		return PTR_ERR(st);
	rgl_dom_hold(dom);
	dom->storm = st;
	return 0;
}

long rgl_cmd_storm(struct rgl_req *rq)
{
	static const char *const words[] = { "start", "stop", "wait", NULL };
	static const char *const speeds[] = { "fast", NULL };
	int w = rgl_word(rq, 1, words);
	struct rgl_dom *dom;
	long ret = 0;

	if (w == 0 && rq->argc == 4)
		ret = rgl_word(rq, 3, speeds);
	else if (w >= 0 && rq->argc != (w == 2 ? 4 : 3))
		ret = -EINVAL;
	if (w < 0 || ret)
		return w < 0 ? w : ret;
	dom = rgl_dom_get(rq, 2);
	if (!dom)
		return -EINVAL;
	mutex_lock(&dom->lock);
	if (w == 0)
		ret = rgl_storm_start(dom, rq->argc == 4);
	else if (!dom->storm)
		ret = -ENOENT;
	else if (w == 1)
		rgl_storm_stop(dom, rq);
	else
		ret = rgl_storm_wait(dom, rq->argv[3]);
	mutex_unlock(&dom->lock);
	rgl_dom_put(dom);
	return ret;
}

void rgl_doms_exit(void)
{
	struct rgl_dom *dom, *tmp;

	list_for_each_entry_safe(dom, tmp, &rgl_doms, link) {
		if (dom->storm)
			rgl_storm_stop(dom, NULL);
		list_del(&dom->link);
		rgl_dom_destroy(dom);
	}
	rgl_kept_free(&rgl_kept_list);
	rgl_kept_free(&rgl_churn_list);
}
