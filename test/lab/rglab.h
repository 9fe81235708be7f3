/* SPDX-License-Identifier: GPL-2.0 */
/* rglab: the exerciser that drives resetgate's tests from inside the guest. */
#ifndef RGLAB_H
#define RGLAB_H

#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/refcount.h>
#include <linux/types.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "compat.h"

#define RGL_LINE	512
#define RGL_ARGS	12
#define RGL_NAME	16
#define RGL_MAP_MAX	(4UL << 20)
#define RGL_STORM_IOVA	0x8000000UL
#define RGL_POISON	0xdeadfee1dead0000ULL

/* One command: its words, and the text of its answer. */
struct rgl_req {
	int argc;
	char *argv[RGL_ARGS];
	bool usage;		/* a wrong call: nothing was done */
	char out[RGL_LINE];
};

/* Where a function is, or was. */
struct rgl_at {
	int segment;
	int bus;		/* -1: nowhere */
	int devfn;
};

struct rgl_dom {
	struct list_head link;
	char name[RGL_NAME];
	struct iommu_domain *domain;
	struct mutex lock;	/* protects pages, storm */
	struct xarray pages;	/* IOVA page number -> struct page */
	struct rgl_storm *storm;
	int users;		/* under rgl_doms_lock */
};

/* A function that was claimed or attached. Lives until the module goes. */
struct rgl_dev {
	struct list_head link;
	struct pci_dev *pdev;
	struct iommu_group *group;
	struct mutex lock;	/* protects what follows, held over attach and detach */
	bool claimed;
	bool handled;		/* the group's domain was set with a handle */
	struct rgl_dom *dom;
	struct rgl_swap *swap;
	struct rgl_handle handle;
};

__printf(2, 3) long rgl_usage(struct rgl_req *rq, const char *fmt, ...);
__printf(2, 3) void rgl_say(struct rgl_req *rq, const char *fmt, ...);
int rgl_addr(struct rgl_req *rq, int arg, struct rgl_at *at);
struct pci_dev *rgl_pdev(struct rgl_req *rq, int arg);
int rgl_u64(struct rgl_req *rq, int arg, u64 *val);
int rgl_word(struct rgl_req *rq, int arg, const char *const *words);
long rgl_run(struct rgl_req *rq);

extern struct workqueue_struct *rgl_wq;
extern struct mutex rgl_doms_lock;

void rgl_detach_begin(void);
void rgl_detach_end(void);
struct rgl_dom *rgl_dom_get(struct rgl_req *rq, int arg);
void rgl_dom_hold(struct rgl_dom *dom);
void rgl_dom_put(struct rgl_dom *dom);
void rgl_doms_exit(void);
long rgl_cmd_domain(struct rgl_req *rq);
long rgl_cmd_map(struct rgl_req *rq);
long rgl_cmd_unmap(struct rgl_req *rq);
long rgl_cmd_peek(struct rgl_req *rq);
long rgl_cmd_poke(struct rgl_req *rq);
long rgl_cmd_kept(struct rgl_req *rq);
long rgl_cmd_churn(struct rgl_req *rq);
long rgl_cmd_storm(struct rgl_req *rq);

int rgl_devs_init(void);
void rgl_devs_exit(void);
long rgl_cmd_claim(struct rgl_req *rq);
long rgl_cmd_release(struct rgl_req *rq);
long rgl_cmd_attach(struct rgl_req *rq);
long rgl_cmd_detach(struct rgl_req *rq);
long rgl_cmd_sva(struct rgl_req *rq);
long rgl_cmd_replace(struct rgl_req *rq);
long rgl_cmd_badattach(struct rgl_req *rq);
long rgl_cmd_swapstorm(struct rgl_req *rq);

/* What else answers config accesses on the buses that have the shim. */
struct rgl_tap {
	/* What a read gives instead of @val. */
	u32 (*read)(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val);
	/* true: the write reaches nothing else. May sleep if the writer may. */
	bool (*write)(struct pci_bus *bus, unsigned int devfn, int where, int size,
		      u32 val);
};

int rgl_shim_bus(struct pci_bus *bus);
u32 rgl_shim_read(struct pci_bus *bus, unsigned int devfn, int where, int size);
void rgl_shim_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val);
void rgl_shim_while(const bool *flag);
void rgl_shim_exit(void);
long rgl_cmd_hold(struct rgl_req *rq);
long rgl_cmd_unhold(struct rgl_req *rq);
long rgl_cmd_waitreset(struct rgl_req *rq);
long rgl_cmd_mute(struct rgl_req *rq);
long rgl_cmd_inreset(struct rgl_req *rq);
bool rgl_shim_has(struct rgl_req *rq);

void rgl_caps_reset(const struct rgl_at *at);
void rgl_caps_write(struct pci_bus *bus, unsigned int devfn, int where, int size,
		    u32 val);
u32 rgl_caps_read(struct pci_bus *bus, unsigned int devfn, int where, int size,
		  u32 val);
long rgl_cmd_caps(struct rgl_req *rq);

extern atomic_t rgl_faults_handled;
void rgl_pasids_exit(void);
long rgl_cmd_pasid(struct rgl_req *rq);
long rgl_cmd_pagereq(struct rgl_req *rq);

extern const struct rgl_tap rgl_port_tap;
void rgl_port_exit(void);
long rgl_cmd_dpc(struct rgl_req *rq);
long rgl_cmd_link(struct rgl_req *rq);

long rgl_cmd_reset(struct rgl_req *rq);
long rgl_cmd_nested(struct rgl_req *rq);

enum rgl_step {
	RGL_PREPARE, RGL_DONE, RGL_SLOT_RESET, RGL_RESUME,
	RGL_NATIVE_PREPARE, RGL_NATIVE_DONE,
};

long rgl_tell_driver(struct pci_driver *drv, struct pci_dev *pdev, enum rgl_step step);
long rgl_cmd_tell(struct rgl_req *rq);
long rgl_cmd_untrusted(struct rgl_req *rq);

int rgl_drv_init(void);
void rgl_drv_exit(void);
long rgl_cmd_events(struct rgl_req *rq);
long rgl_cmd_vote(struct rgl_req *rq);
long rgl_cmd_linger(struct rgl_req *rq);

u16 rgl_ats_ctrl(struct pci_dev *pdev);
long rgl_cmd_mark(struct rgl_req *rq);
long rgl_cmd_cfg(struct rgl_req *rq);
long rgl_cmd_busmaster(struct rgl_req *rq);
long rgl_cmd_edu(struct rgl_req *rq);
long rgl_cmd_ats(struct rgl_req *rq);
long rgl_cmd_errh(struct rgl_req *rq);

void rgl_disturb_exit(void);
long rgl_cmd_holdmutex(struct rgl_req *rq);
long rgl_cmd_holdftrace(struct rgl_req *rq);
long rgl_cmd_irqstall(struct rgl_req *rq);
long rgl_cmd_slowqi(struct rgl_req *rq);
long rgl_cmd_ipmodify(struct rgl_req *rq);
long rgl_cmd_idle(struct rgl_req *rq);

void rgl_smmu_exit(void);
long rgl_cmd_smmuats(struct rgl_req *rq);
long rgl_cmd_smmupasids(struct rgl_req *rq);
long rgl_cmd_emptied(struct rgl_req *rq);
long rgl_cmd_latequeue(struct rgl_req *rq);
long rgl_cmd_deafqueue(struct rgl_req *rq);
void rgl_smmu_wait(void);
struct mutex *rgl_smmu_mutex(void);

void rgl_bench_exit(void);
long rgl_cmd_bench(struct rgl_req *rq);
long rgl_pairs(struct rgl_dom *dom, u64 n);
long rgl_cmd_pairs(struct rgl_req *rq);
long rgl_cmd_tracer(struct rgl_req *rq);
long rgl_cmd_swaps(struct rgl_req *rq);
long rgl_cmd_native(struct rgl_req *rq);

unsigned long rgl_symbol(const char *name);
long rgl_cmd_amdats(struct rgl_req *rq);
long rgl_cmd_keepbuses(struct rgl_req *rq);
long rgl_cmd_amdtables(struct rgl_req *rq);
int rgl_offset(const char *strct, const char *having, const char *path);
int rgl_group_mutex_off(void);

#endif /* RGLAB_H */
