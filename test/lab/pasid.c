// SPDX-License-Identifier: GPL-2.0
/*
 * PASIDs of a function: set, replace and remove their domains by the kernel's
 * own calls, and page requests, which no QEMU device makes: this module puts
 * them into the IOMMU's queue as the hardware would.
 */
#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/irq_work.h>
#include <linux/slab.h>

#include "rglab.h"

/* VT-d 11.4.11: head, tail and address of the page request queue. */
#define RGL_VTD_REGS	0x1000
#define RGL_VTD_PQH	0xc0
#define RGL_VTD_PQT	0xc8
#define RGL_VTD_PQA	0xd0
#define RGL_VTD_PQ_SIZE(pqa)	(0x1000UL << ((pqa) & 7))

/* VT-d 7.4.1: a page request with a PASID, to read, the last of its group. */
#define RGL_VTD_REQ_TYPE	1ULL
#define RGL_VTD_REQ_PASID_P	BIT_ULL(8)
#define RGL_VTD_REQ_READ	BIT_ULL(0)
#define RGL_VTD_REQ_LAST	BIT_ULL(2)
#define RGL_VTD_REQ_ADDR	0x1000000ULL

struct rgl_pasid {
	struct list_head link;
	struct pci_dev *pdev;
	u32 pasid;
	struct rgl_dom *dom;
	bool faults;
	/* A replacement must not reuse the handle that is in use. */
	int turn;
	struct rgl_pasid_handle handles[2];
};

/* Held over attach and detach, which may wait for a page request. */
static DEFINE_MUTEX(rgl_pasid_lock);
static LIST_HEAD(rgl_pasids);

atomic_t rgl_faults_handled = ATOMIC_INIT(0);

static struct rgl_pasid *rgl_pasid_find(struct pci_dev *pdev, u32 pasid)
{
	struct rgl_pasid *p;

	list_for_each_entry(p, &rgl_pasids, link)
		if (p->pdev == pdev && p->pasid == pasid)
			return p;
	return NULL;
}

static bool rgl_pasid_has_faults(struct pci_dev *pdev)
{
	struct rgl_pasid *p;

	list_for_each_entry(p, &rgl_pasids, link)
		if (p->pdev == pdev && p->faults)
			return true;
	return false;
}

static long rgl_pasid_set(struct pci_dev *pdev, u32 pasid, struct rgl_dom *dom,
			  bool faults)
{
	bool enable = faults && !rgl_pasid_has_faults(pdev);
	struct rgl_pasid *p;
	long ret;

	if (rgl_pasid_find(pdev, pasid))
		return -EALREADY;
	p = kzalloc(sizeof(*p), GFP_KERNEL);
	if (!p)
		return -ENOMEM;
	ret = enable ? rgl_faults_enable(&pdev->dev) : 0;
	if (ret)
		goto err_free;
	if (faults)
		rgl_domain_set_faults(dom->domain);
	ret = rgl_pasid_attach(dom->domain, &pdev->dev, pasid, &p->handles[0]);
	if (ret)
		goto err_disable;
	p->pdev = pci_dev_get(pdev);
	p->pasid = pasid;
	p->faults = faults;
	p->dom = dom;
	rgl_dom_hold(dom);
	list_add_tail(&p->link, &rgl_pasids);
	return 0;

err_disable:
	if (enable)
		rgl_faults_disable(&pdev->dev);
err_free:
	kfree(p);
	return ret;
}

static long rgl_pasid_replace(struct pci_dev *pdev, u32 pasid, struct rgl_dom *dom)
{
	struct rgl_pasid *p = rgl_pasid_find(pdev, pasid);
	long ret;

	if (!p)
		return -ENOENT;
	if (p->faults)
		rgl_domain_set_faults(dom->domain);
	ret = rgl_pasid_swap(dom->domain, &pdev->dev, pasid, &p->handles[!p->turn]);
	if (ret)
		return ret;
	p->turn = !p->turn;
	rgl_dom_hold(dom);
	rgl_dom_put(p->dom);
	p->dom = dom;
	return 0;
}

static void rgl_pasid_drop(struct rgl_pasid *p)
{
	bool faults = p->faults;

	rgl_pasid_detach(p->dom->domain, &p->pdev->dev, p->pasid);
	list_del(&p->link);
	if (faults && !rgl_pasid_has_faults(p->pdev))
		rgl_faults_disable(&p->pdev->dev);
	rgl_dom_put(p->dom);
	pci_dev_put(p->pdev);
	kfree(p);
}

static long rgl_pasid_clear(struct pci_dev *pdev)
{
	struct rgl_pasid *p, *tmp;
	long n = 0;

	list_for_each_entry_safe(p, tmp, &rgl_pasids, link) {
		if (pdev && p->pdev != pdev)
			continue;
		rgl_pasid_drop(p);
		n++;
	}
	return n;
}

enum rgl_pasid_op { RGL_PASID_SET, RGL_PASID_REPLACE, RGL_PASID_REMOVE, RGL_PASID_CLEAR };

static long rgl_pasid_run(struct rgl_req *rq, struct pci_dev *pdev,
			  enum rgl_pasid_op op, u32 pasid)
{
	struct rgl_pasid *p;
	struct rgl_dom *dom;
	long ret;

	if (op == RGL_PASID_CLEAR)
		return rgl_pasid_clear(pdev);
	if (op == RGL_PASID_REMOVE) {
		p = rgl_pasid_find(pdev, pasid);
		if (p)
			rgl_pasid_drop(p);
		return p ? 0 : -ENOENT;
	}
	dom = rgl_dom_get(rq, 4);
	if (!dom)
		return -EINVAL;
	if (op == RGL_PASID_SET)
		ret = rgl_pasid_set(pdev, pasid, dom, rq->argc == 6);
	else
		ret = rgl_pasid_replace(pdev, pasid, dom);
	rgl_dom_put(dom);
	return ret;
}

/* pasid BDF set PASID NAME [faults] | replace PASID NAME | remove PASID | clear */
long rgl_cmd_pasid(struct rgl_req *rq)
{
	static const char *const ops[] = { "set", "replace", "remove", "clear", NULL };
	static const char *const words[] = { "faults", NULL };
	static const int min[] = { 5, 5, 4, 3 }, max[] = { 6, 5, 4, 3 };
	int op = rgl_word(rq, 2, ops);
	struct pci_dev *pdev;
	u64 pasid = 0;
	long ret;

	if (op < 0)
		return op;
	if (rq->argc < min[op] || rq->argc > max[op])
		return rgl_usage(rq, "usage: pasid BDF set PASID NAME [faults] | replace PASID NAME | remove PASID | clear");
	if (rq->argc > 3 && rgl_u64(rq, 3, &pasid))
		return -EINVAL;
	if (rq->argc == 6 && rgl_word(rq, 5, words) < 0)
		return -EINVAL;
	if (pasid >> 20)
		return rgl_usage(rq, "a PASID has 20 bits: %s", rq->argv[3]);
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	mutex_lock(&rgl_pasid_lock);
	ret = rgl_pasid_run(rq, pdev, op, pasid);
	mutex_unlock(&rgl_pasid_lock);
	pci_dev_put(pdev);
	return ret;
}

/* Does what the IOMMU does when a page request arrives, but for the interrupt. */
static long rgl_request_put(struct pci_dev *pdev, u32 pasid, u64 base)
{
	void __iomem *regs = ioremap(base, RGL_VTD_REGS);
	u64 pqa, tail, next, *req;
	long ret = 0;

	if (!regs)
		return -ENOMEM;
	pqa = readq(regs + RGL_VTD_PQA);
	tail = readq(regs + RGL_VTD_PQT);
	next = (tail + 4 * sizeof(*req)) & (RGL_VTD_PQ_SIZE(pqa) - 1);
	if (!(pqa & PAGE_MASK)) {
		ret = -ENODEV;
	} else if (next == readq(regs + RGL_VTD_PQH)) {
		ret = -ENOSPC;
	} else {
		req = phys_to_virt((pqa & PAGE_MASK) + tail);
		req[0] = RGL_VTD_REQ_TYPE | RGL_VTD_REQ_PASID_P |
			 (u64)pci_dev_id(pdev) << 16 | (u64)pasid << 32;
		req[1] = RGL_VTD_REQ_READ | RGL_VTD_REQ_LAST | RGL_VTD_REQ_ADDR;
		req[2] = 0;
		req[3] = 0;
		/* The request is complete when the tail says that it is there. */
		wmb();
		writeq(next, regs + RGL_VTD_PQT);
	}
	iounmap(regs);
	return ret;
}

static unsigned int rgl_request_irq;

static void rgl_request_ring(struct irq_work *work)
{
	generic_handle_irq(rgl_request_irq);
}

static struct irq_work rgl_request_work = IRQ_WORK_INIT_HARD(rgl_request_ring);

/* pagereq put BDF PASID REGISTERS | irq NUMBER | handled */
long rgl_cmd_pagereq(struct rgl_req *rq)
{
	static const char *const words[] = { "put", "irq", "handled", NULL };
	static const int argc[] = { 5, 3, 2 };
	int w = rgl_word(rq, 1, words);
	u64 val = 0, base = 0;
	struct pci_dev *pdev;
	long ret;

	if (w < 0)
		return w;
	if (rq->argc != argc[w])
		return rgl_usage(rq, "usage: pagereq put BDF PASID REGISTERS | irq NUMBER | handled");
	if (w == 2)
		return atomic_read(&rgl_faults_handled);
	if (rgl_u64(rq, w ? 2 : 3, &val) || (!w && rgl_u64(rq, 4, &base)))
		return -EINVAL;
	if (w == 1) {
		rgl_request_irq = val;
		irq_work_queue(&rgl_request_work);
		irq_work_sync(&rgl_request_work);
		return 0;
	}
	pdev = rgl_pdev(rq, 2);
	if (!pdev)
		return -EINVAL;
	ret = rgl_request_put(pdev, val, base);
	pci_dev_put(pdev);
	return ret;
}

void rgl_pasids_exit(void)
{
	rgl_pasid_clear(NULL);
}
