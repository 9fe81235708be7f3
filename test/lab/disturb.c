// SPDX-License-Identifier: GPL-2.0
/* What a gate must not wait for without end: a mutex, a tracer, a stuck CPU. */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/ftrace.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include "rglab.h"
#include "../../src/compat.h"

#define RGL_MS_MAX 15000
#define RGL_IPMODIFY 4

struct rgl_wait {
	struct work_struct work;
	struct mutex *mutex;	/* the one to hold */
	unsigned int ms;
	struct completion begun;
};

static int rgl_ms(struct rgl_req *rq, int arg, unsigned int *ms)
{
	u64 val;
	int ret = rgl_u64(rq, arg, &val);

	if (ret)
		return ret;
	if (!val || val > RGL_MS_MAX)
		return rgl_usage(rq, "not 1 to %d ms: %s", RGL_MS_MAX, rq->argv[arg]);
	*ms = val;
	return 0;
}

static void rgl_mutex_work(struct work_struct *work)
{
	struct rgl_wait *w = container_of(work, struct rgl_wait, work);
	unsigned int ms = w->ms;
	struct mutex *mutex = w->mutex;

	mutex_lock(mutex);
	complete(&w->begun);
	msleep(ms);
	mutex_unlock(mutex);
}

/* Of the function's group: neither that nor @w of its holder is given back. */
static struct mutex *rgl_group_mutex(struct rgl_req *rq)
{
	int off = rgl_group_mutex_off();
	struct iommu_group *group;
	struct pci_dev *pdev;

	if (off < 0)
		return ERR_PTR(off);
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return ERR_PTR(-EINVAL);
	group = iommu_group_get(&pdev->dev);
	pci_dev_put(pdev);
	return group ? (void *)group + off : ERR_PTR(-ENODEV);
}

/* Returns once it is held: the group's, or the one that the driver has for all entries. */
long rgl_cmd_holdmutex(struct rgl_req *rq)
{
	bool entries = !strcmp(rq->argv[1], "entries");
	struct mutex *mutex;
	struct rgl_wait *w;
	unsigned int ms;

	if (rgl_ms(rq, 2, &ms))
		return -EINVAL;
	mutex = entries ? rgl_smmu_mutex() : rgl_group_mutex(rq);
	if (IS_ERR_OR_NULL(mutex))
		return mutex ? PTR_ERR(mutex) : -ENODEV;
	w = kzalloc(sizeof(*w), GFP_KERNEL);
	if (!w)
		return -ENOMEM;
	w->mutex = mutex;
	w->ms = ms;
	init_completion(&w->begun);
	INIT_WORK(&w->work, rgl_mutex_work);
	queue_work(rgl_wq, &w->work);
	wait_for_completion(&w->begun);
	return 0;
}

static noinline void rgl_traced(void)
{
	barrier();
}

static void rgl_ftrace_nop(unsigned long ip, unsigned long parent,
			   struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
}

static struct ftrace_ops rgl_slow_ops;

/* Always from zero: ftrace_free_filter() leaves pointers to what it frees. */
static int rgl_trace(struct ftrace_ops *ops, ftrace_func_t fn, const char *name)
{
	int ret;

	*ops = (struct ftrace_ops){ .func = fn };
	ret = ftrace_set_filter(ops, (char *)name, strlen(name), 1);
	if (!ret)
		ret = register_ftrace_function(ops);
	if (ret)
		ftrace_free_filter(ops);
	return ret;
}

static unsigned long rgl_spin_end;
static atomic_t rgl_slow_busy = ATOMIC_INIT(0);

/* Runnable all the time and never asleep: RCU-tasks must wait for it. */
static int rgl_spin_fn(void *data)
{
	complete(data);
	while (time_before(jiffies, READ_ONCE(rgl_spin_end))) {
		cpu_relax();
		cond_resched();
	}
	return 0;
}

static void rgl_unreg_fn(struct work_struct *work)
{
	unregister_ftrace_function(&rgl_slow_ops);
	ftrace_free_filter(&rgl_slow_ops);
	atomic_set(&rgl_slow_busy, 0);
}

static DECLARE_WORK(rgl_unreg_work, rgl_unreg_fn);

/*
 * Returns once an ops is being unregistered, which takes that long. Where the kernel
 * preempts nobody, nobody is waited for.
 */
long rgl_cmd_holdftrace(struct rgl_req *rq)
{
	DECLARE_COMPLETION_ONSTACK(spinning);
	struct task_struct *t;
	unsigned int ms;
	int ret;

	if (rgl_ms(rq, 1, &ms))
		return -EINVAL;
	if (!IS_ENABLED(CONFIG_TASKS_RCU))
		return -EOPNOTSUPP;
	if (atomic_cmpxchg(&rgl_slow_busy, 0, 1))
		return -EBUSY;
	ret = rgl_trace(&rgl_slow_ops, rgl_ftrace_nop, "pci_bus_max_busnr");
	if (ret) {
		atomic_set(&rgl_slow_busy, 0);
		return ret;
	}
	rgl_traced();
	WRITE_ONCE(rgl_spin_end, jiffies + msecs_to_jiffies(ms));
	t = kthread_run(rgl_spin_fn, &spinning, "rgl_spin");
	if (!IS_ERR(t))
		wait_for_completion(&spinning);
	queue_work(rgl_wq, &rgl_unreg_work);
	msleep(50);
	return PTR_ERR_OR_ZERO(t);
}

static void rgl_stall_ipi(void *info)
{
	rgl_spin((unsigned long)info);
}

/* Returns at once; that CPU spins with interrupts off. */
long rgl_cmd_irqstall(struct rgl_req *rq)
{
	unsigned int ms;
	u64 cpu;

	if (rgl_u64(rq, 1, &cpu) || rgl_ms(rq, 2, &ms))
		return -EINVAL;
	if (cpu >= nr_cpu_ids || !cpu_online(cpu))
		return rgl_usage(rq, "no such CPU: %s", rq->argv[1]);
	return smp_call_function_single(cpu, rgl_stall_ipi,
					(void *)(unsigned long)ms, 0);
}

/*
 * VT-d's driver has no wait descriptor in what it submits; who finds one comes after
 * whoever put it there. Handlers run in an order that differs between kernels, so
 * there is one that was registered before everybody and one after.
 */
static atomic_t rgl_slow_ms = ATOMIC_INIT(0);
static struct ftrace_ops rgl_slow_qi_ops[2];
static int rgl_slow_nr;

static bool rgl_has_wait(const u64 *qw, unsigned int count)
{
	for (; count; count--, qw += 4)
		if ((qw[0] & 0xf) == 5)
			return true;
	return false;
}

static void rgl_slow_qi(unsigned long ip, unsigned long parent,
			struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	int ms;

	if (!rgl_has_wait((void *)rg_compat_arg(fregs, 1), rg_compat_arg(fregs, 2)))
		return;
	for (ms = atomic_xchg(&rgl_slow_ms, 0); ms > 0; ms--)
		mdelay(1);
}

static long rgl_slow_qi_on(void)
{
	long ret = rgl_trace(&rgl_slow_qi_ops[rgl_slow_nr], rgl_slow_qi, "qi_submit_sync");

	if (!ret)
		rgl_slow_nr++;
	return ret;
}

static void rgl_slow_qi_off(void)
{
	while (rgl_slow_nr) {
		rgl_slow_nr--;
		unregister_ftrace_function(&rgl_slow_qi_ops[rgl_slow_nr]);
		ftrace_free_filter(&rgl_slow_qi_ops[rgl_slow_nr]);
	}
}

/*
 * slowqi on|off|MS: whose submission to VT-d's queue is changed next takes that long
 * on the way.
 */
long rgl_cmd_slowqi(struct rgl_req *rq)
{
	unsigned int ms;
	long ret;

	if (!strcmp(rq->argv[1], "off")) {
		rgl_slow_qi_off();
		return 0;
	}
	if (!strcmp(rq->argv[1], "on"))
		return rgl_slow_nr ? -EALREADY : rgl_slow_qi_on();
	if (rgl_ms(rq, 1, &ms))
		return -EINVAL;
	if (rgl_slow_nr != 1)
		return rgl_usage(rq, "it is not on, or was used");
	ret = rgl_slow_qi_on();
	if (!ret)
		atomic_set(&rgl_slow_ms, ms);
	return ret;
}

struct rgl_ipm {
	char name[64];
	bool on;
	struct ftrace_ops ops;
};

static DEFINE_MUTEX(rgl_ipm_lock);
static struct rgl_ipm rgl_ipms[RGL_IPMODIFY];

static struct rgl_ipm *rgl_ipm_find(const char *name)
{
	int i;

	for (i = 0; i < RGL_IPMODIFY; i++)
		if (!strcmp(rgl_ipms[i].name, name))
			return &rgl_ipms[i];
	return NULL;
}

static long rgl_ipm_on(struct rgl_req *rq)
{
	struct rgl_ipm *m = rgl_ipm_find("");
	const char *name = rq->argv[1];
	int ret;

	if (rgl_ipm_find(name))
		return -EALREADY;
	if (!m || strlen(name) >= sizeof(m->name))
		return rgl_usage(rq, "too many functions, or too long a name");
	memset(&m->ops, 0, sizeof(m->ops));
	m->ops.func = rgl_ftrace_nop;
	m->ops.flags = FTRACE_OPS_FL_IPMODIFY;
	ret = ftrace_set_filter(&m->ops, (char *)name, strlen(name), 1);
	if (!ret)
		ret = register_ftrace_function(&m->ops);
	if (ret)
		ftrace_free_filter(&m->ops);
	else
		strscpy(m->name, name, sizeof(m->name));
	return ret;
}

static long rgl_ipm_off(struct rgl_ipm *m)
{
	int ret = unregister_ftrace_function(&m->ops);

	ftrace_free_filter(&m->ops);
	m->name[0] = 0;
	return ret;
}

/* Holds a function as a livepatch would, so that nobody else may redirect it. */
long rgl_cmd_ipmodify(struct rgl_req *rq)
{
	static const char *const words[] = { "off", "on", NULL };
	int w = rgl_word(rq, 2, words);
	struct rgl_ipm *m;
	long ret;

	if (w < 0)
		return w;
	mutex_lock(&rgl_ipm_lock);
	m = rgl_ipm_find(rq->argv[1]);
	if (w)
		ret = rgl_ipm_on(rq);
	else
		ret = m ? rgl_ipm_off(m) : -ENOENT;
	mutex_unlock(&rgl_ipm_lock);
	return ret;
}

/* Waits until nothing of holdmutex, holdftrace and deafqueue is going on. */
long rgl_cmd_idle(struct rgl_req *rq)
{
	flush_workqueue(rgl_wq);
	rgl_smmu_wait();
	return 0;
}

void rgl_disturb_exit(void)
{
	int i;

	for (i = 0; i < RGL_IPMODIFY; i++)
		if (rgl_ipms[i].name[0])
			rgl_ipm_off(&rgl_ipms[i]);
	rgl_slow_qi_off();
	flush_workqueue(rgl_wq);
}
