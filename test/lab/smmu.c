// SPDX-License-Identifier: GPL-2.0
/*
 * Arm SMMUv3: what QEMU's lacks its driver is made to believe in, and a task that
 * is late on its way into the command queue.
 */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/pci-ats.h>

#include "rglab.h"

/* In features of the driver's struct arm_smmu_device, 6.12 to 7.3. */
#define RGL_SMMU_FEAT_ATS	BIT(5)
/* Of a linear table of context descriptors; QEMU's has no other. */
#define RGL_SMMU_SSID_BITS	10

/* IHI 0070, 4.5.1. */
#define RGL_CMD_CFGI_STE	0x03
#define RGL_CMD_ATC_INV		0x40
#define RGL_ATC_INV_ALL		52	/* of the second quadword: all addresses */
#define RGL_CMD_OP(cmd)		((cmd) & 0xff)
#define RGL_CMD_SID(cmd)	((cmd) >> 32)

/* What the driver submits at once: CMDQ_BATCH_ENTRIES, 6.12 to 7.3. */
#define RGL_BATCH		64

#define RGL_LATE_MS_MAX		15000

/* BTF has two structures of this name: the other is SMMUv2's. */
static int rgl_smmu_offset(const char *member)
{
	return rgl_offset("arm_smmu_device", "strtab_cfg", member);
}

/* The SMMUv3 in front of a function, or NULL. */
static void *rgl_smmu_of(struct pci_dev *pdev, int iommu_off)
{
	struct dev_iommu *di = pdev->dev.iommu;

	if (!di || !di->fwspec || !di->iommu_dev || !di->iommu_dev->dev ||
	    strncmp(dev_name(di->iommu_dev->dev), "smmu3.", 6))
		return NULL;
	return (void *)di->iommu_dev - iommu_off;
}

/* Calls @fn for the SMMUv3 of every function there is; how many had one. */
static long rgl_smmu_each(void (*fn)(void *smmu, int off, u32 val),
			  const char *member, u32 val)
{
	int iommu = rgl_smmu_offset("iommu"), off = rgl_smmu_offset(member);
	struct pci_dev *pdev = NULL;
	long n = 0;
	void *smmu;

	if (iommu < 0 || off < 0)
		return iommu < 0 ? iommu : off;
	for_each_pci_dev(pdev) {
		smmu = rgl_smmu_of(pdev, iommu);
		if (!smmu)
			continue;
		fn(smmu, off, val);
		n++;
	}
	return n ? 0 : -ENODEV;
}

static void rgl_smmu_set(void *smmu, int off, u32 bits)
{
	u32 *word = smmu + off;

	WRITE_ONCE(*word, *word | bits);
}

/* With the device tree's "ats-supported", functions found after this have ATS. */
long rgl_cmd_smmuats(struct rgl_req *rq)
{
	return rgl_smmu_each(rgl_smmu_set, "features", RGL_SMMU_FEAT_ATS);
}

static void rgl_smmu_put(void *smmu, int off, u32 val)
{
	struct iommu_device *iommu = smmu + rgl_smmu_offset("iommu");
	u32 *word = smmu + off;

	WRITE_ONCE(*word, val);
	iommu->max_pasids = BIT(val);
}

/*
 * smmupasids BITS: those with a PASID capability that are found after this have a
 * table of context descriptors. QEMU's refuses their DMA (C_BAD_STE): the tables in
 * memory are all there is to see.
 */
long rgl_cmd_smmupasids(struct rgl_req *rq)
{
	u64 bits;

	if (rgl_u64(rq, 1, &bits))
		return -EINVAL;
	if (bits > RGL_SMMU_SSID_BITS)
		return rgl_usage(rq, "at most %d bits: %s", RGL_SMMU_SSID_BITS, rq->argv[1]);
	return rgl_smmu_each(rgl_smmu_put, "ssid_bits", bits);
}

/* The driver's function that takes a list of commands to the queue, 6.12 to 7.3. */
typedef int rgl_issue_t(void *smmu, void *cmdq, u64 *cmds, int n, bool sync);

static const char *const rgl_issue_names[] = {
	"__arm_smmu_cmdq_issue_cmdlist", "arm_smmu_cmdq_issue_cmdlist"
};

/* What the next calls for a function are made to do. */
enum rgl_late_step {
	RGL_LATE_OFF,
	RGL_LATE_BLOCK,		/* one that changes its stream table entry waits for the next */
	RGL_LATE_CALL,		/* one with an ATC invalidation is held */
	RGL_LATE_HELD,		/* and is there: the other goes on */
	RGL_LATE_DEAF,		/* one that changes its entry is the first to get no answer */
};

/* Under rgl_late_lock but for what the calls change. */
static struct {
	struct ftrace_ops ops;
	bool on;
	rgl_issue_t *behind;	/* the function, behind its ftrace site */
	u32 sid;
	int ms;			/* how long it is held, or gets no answer */
	unsigned long deaf;	/* until then, in jiffies; 0: nobody was to get none */
	atomic_t step;
	atomic_t held;
	atomic_t preemptible;	/* those of them that could be preempted */
} rgl_late;

static DEFINE_MUTEX(rgl_late_lock);

static bool rgl_late_has(const u64 *cmds, int n, u8 op)
{
	for (; n > 0; n--, cmds += 2)
		if (RGL_CMD_OP(cmds[0]) == op &&
		    RGL_CMD_SID(cmds[0]) == READ_ONCE(rgl_late.sid))
			return true;
	return false;
}

static bool rgl_late_step(enum rgl_late_step from, enum rgl_late_step to)
{
	return atomic_cmpxchg(&rgl_late.step, from, to) == from;
}

/*
 * Whoever changes an entry may sleep: there is a mutex for it. But a timer of this
 * CPU's may be another's affair, and that one may be about to turn interrupts off.
 */
static void rgl_late_wait(void)
{
	unsigned long end = jiffies + 5 * HZ;

	while (atomic_read(&rgl_late.step) == RGL_LATE_CALL && time_before(jiffies, end)) {
		cpu_relax();
		cond_resched();
	}
}

/* Runnable all the time and, if its caller was, preemptible: that is no quiescent state. */
static void rgl_late_spin(void)
{
	atomic_inc(&rgl_late.held);
	if (preemptible())
		atomic_inc(&rgl_late.preemptible);
	rgl_spin(rgl_late.ms);
}

static void rgl_late_go_deaf(void)
{
	WRITE_ONCE(rgl_late.deaf, (jiffies + msecs_to_jiffies(rgl_late.ms)) | 1);
}

static bool rgl_late_is_deaf(void)
{
	unsigned long until = READ_ONCE(rgl_late.deaf);

	return until && time_before(jiffies, until);
}

/*
 * In place of the driver's function, and so behind all handlers on it: the commands
 * are what they left. It is then entered where no handler sees the call again.
 */
static int rgl_late_issue(void *smmu, void *cmdq, u64 *cmds, int n, bool sync)
{
	if (rgl_late_has(cmds, n, RGL_CMD_CFGI_STE) &&
	    rgl_late_step(RGL_LATE_DEAF, RGL_LATE_OFF))
		rgl_late_go_deaf();
	if (sync && rgl_late_is_deaf()) {
		rgl_late.behind(smmu, cmdq, cmds, n, sync);
		return -ETIMEDOUT;
	}
	if (atomic_read(&rgl_late.step) == RGL_LATE_OFF)
		return rgl_late.behind(smmu, cmdq, cmds, n, sync);
	if (rgl_late_has(cmds, n, RGL_CMD_CFGI_STE) &&
	    rgl_late_step(RGL_LATE_BLOCK, RGL_LATE_CALL))
		rgl_late_wait();
	else if (rgl_late_has(cmds, n, RGL_CMD_ATC_INV) &&
		 rgl_late_step(RGL_LATE_CALL, RGL_LATE_HELD))
		rgl_late_spin();
	return rgl_late.behind(smmu, cmdq, cmds, n, sync);
}

static void notrace rgl_late_redirect(unsigned long ip, unsigned long parent,
				      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	WRITE_ONCE(rgl_late.behind, (rgl_issue_t *)(ip + MCOUNT_INSN_SIZE));
	rgl_set_ip(fregs, rgl_late_issue);
}

static int rgl_late_on(void)
{
	const char *name;
	int i, ret = -ENOENT;

	if (rgl_late.on)
		return 0;
	for (i = 0; ret && i < ARRAY_SIZE(rgl_issue_names); i++) {
		name = rgl_issue_names[i];
		if (!rgl_symbol(name))
			continue;
		rgl_late.ops = (struct ftrace_ops){
			.func = rgl_late_redirect, .flags = FTRACE_OPS_FL_IPMODIFY
		};
		ret = ftrace_set_filter(&rgl_late.ops, (char *)name, strlen(name), 1);
		if (!ret)
			ret = register_ftrace_function(&rgl_late.ops);
		if (ret)
			ftrace_free_filter(&rgl_late.ops);
	}
	rgl_late.on = !ret;
	return ret;
}

/* Returns when nobody is in what replaced the function: that is RCU-tasks' work. */
static void rgl_late_off(void)
{
	atomic_set(&rgl_late.step, RGL_LATE_OFF);
	if (!rgl_late.on)
		return;
	unregister_ftrace_function(&rgl_late.ops);
	ftrace_free_filter(&rgl_late.ops);
	rgl_late.on = false;
}

static long rgl_late_arm(struct rgl_req *rq, int bdf, int arg, enum rgl_late_step step)
{
	struct iommu_fwspec *fwspec;
	struct pci_dev *pdev;
	long ret;
	u64 ms;

	if (rgl_u64(rq, arg, &ms))
		return -EINVAL;
	if (!ms || ms > RGL_LATE_MS_MAX)
		return rgl_usage(rq, "not 1 to %d ms: %s", RGL_LATE_MS_MAX, rq->argv[arg]);
	pdev = rgl_pdev(rq, bdf);
	if (!pdev)
		return -EINVAL;
	fwspec = dev_iommu_fwspec_get(&pdev->dev);
	ret = fwspec && fwspec->num_ids ? rgl_late_on() : -ENODEV;
	if (!ret) {
		WRITE_ONCE(rgl_late.sid, fwspec->ids[0]);
		rgl_late.ms = ms;
		atomic_set(&rgl_late.step, step);
	}
	pci_dev_put(pdev);
	return ret;
}

/*
 * emptied BDF N: N lists of ATC invalidations for the function, as long as the driver's
 * batches, none with a CMD_SYNC. That is how the driver submits a part of a longer list.
 */
long rgl_cmd_emptied(struct rgl_req *rq)
{
	int iommu = rgl_smmu_offset("iommu"), queue = rgl_smmu_offset("cmdq"), i;
	u64 cmds[2 * RGL_BATCH], n;
	rgl_issue_t *issue = NULL;
	struct pci_dev *pdev;
	void *smmu;
	long ret;

	if (rgl_u64(rq, 2, &n))
		return -EINVAL;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	for (i = 0; !issue && i < ARRAY_SIZE(rgl_issue_names); i++)
		issue = (rgl_issue_t *)rgl_symbol(rgl_issue_names[i]);
	smmu = iommu < 0 || queue < 0 ? NULL : rgl_smmu_of(pdev, iommu);
	ret = smmu && issue ? 0 : -ENODEV;
	while (!ret && n--) {
		/* Whoever takes some out writes the array. */
		for (i = 0; i < RGL_BATCH; i++) {
			cmds[2 * i] = RGL_CMD_ATC_INV |
				      (u64)dev_iommu_fwspec_get(&pdev->dev)->ids[0] << 32;
			cmds[2 * i + 1] = RGL_ATC_INV_ALL;
		}
		ret = issue(smmu, smmu + queue, cmds, RGL_BATCH, false);
		cond_resched();
	}
	pci_dev_put(pdev);
	return ret;
}

/*
 * latequeue BDF MS: while somebody changes the stream table entry of the function the
 * next time, a call that carries an ATC invalidation for it past all handlers
 * comes, and takes that long before it enters the driver's function; the change goes
 * on at once. latequeue off: how many calls there were.
 */
long rgl_cmd_latequeue(struct rgl_req *rq)
{
	static const char *const words[] = { "off", NULL };
	long ret = rq->argc == 2 ? rgl_word(rq, 1, words) : 0;

	if (ret < 0)
		return ret;
	mutex_lock(&rgl_late_lock);
	if (rq->argc == 2) {
		rgl_late_off();
		rgl_say(rq, "held=%d preemptible=%d", atomic_xchg(&rgl_late.held, 0),
			atomic_xchg(&rgl_late.preemptible, 0));
	} else {
		ret = rgl_late_arm(rq, 1, 2, RGL_LATE_BLOCK);
	}
	mutex_unlock(&rgl_late_lock);
	return ret;
}

/*
 * deafqueue BDF MS [block]: for that long who waits for the SMMU is told that it timed
 * out, as by a queue in which the hardware does not go on; it does, so nothing stale is
 * left. From now on, or from the next change of the function's stream table entry.
 */
long rgl_cmd_deafqueue(struct rgl_req *rq)
{
	static const char *const words[] = { "block", NULL };
	long ret = rq->argc == 4 ? rgl_word(rq, 3, words) : 0;

	if (ret < 0)
		return ret;
	mutex_lock(&rgl_late_lock);
	ret = rgl_late_arm(rq, 1, 2, rq->argc == 4 ? RGL_LATE_DEAF : RGL_LATE_OFF);
	if (!ret && rq->argc == 3)
		rgl_late_go_deaf();
	mutex_unlock(&rgl_late_lock);
	return ret;
}

void rgl_smmu_wait(void)
{
	while (rgl_late_is_deaf())
		msleep(20);
}

/* The mutex that the driver has for the entries of all SMMUs, for holdmutex. */
struct mutex *rgl_smmu_mutex(void)
{
	return (struct mutex *)rgl_symbol("arm_smmu_asid_lock");
}

void rgl_smmu_exit(void)
{
	rgl_late_off();
}
