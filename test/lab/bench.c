// SPDX-License-Identifier: GPL-2.0
/*
 * What commands cost, for a guest whose time counts instructions (QEMU's
 * -icount, one CPU). There, idle time is skipped, but it still moves the clock:
 * what a command costs is the time that passed less the time the CPU idled, so
 * workers and RCU callbacks on its behalf are in it.
 *
 * The kernel's own figures of idle time are too coarse, from 7.x on by a tick.
 * Ours lies between the cpu_idle tracepoint, which is where the CPU halts, and
 * the interrupt that ends it.
 */
#include <linux/delay.h>
#include <linux/iommu.h>
#include <linux/slab.h>
#include <linux/sort.h>

#include <trace/events/power.h>

#include "rglab.h"

#define RGL_RUNS	1000
#define RGL_PAIRS_IOVA	0x9000000UL

struct rgl_time {
	u64 wall;
	u64 idle;
};

struct rgl_runs {
	unsigned int n, settle;
	u64 *busy, *wall;
	struct rgl_req *first, *second;
	bool second_counts;
};

/* Of the one CPU. */
static u64 rgl_idle_total, rgl_idle_since;

static void notrace rgl_idle_over(void)
{
	u64 since = rgl_idle_since;

	rgl_idle_since = 0;
	if (since)
		rgl_idle_total += rgl_cycles() - since;
}

/* arm64 takes the interrupt behind the end of idleness, x86 in front of it. */
static void rgl_idle_begins(void *data, unsigned int state, unsigned int cpu)
{
	rgl_idle_over();
	if (state != PWR_EVENT_EXIT)
		rgl_idle_since = rgl_cycles();
}

static void notrace rgl_idle_ends(unsigned long ip, unsigned long parent_ip,
				  struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	rgl_idle_over();
}

static struct ftrace_ops rgl_idle_ops = { .func = rgl_idle_ends };
static bool rgl_idle_on;

static int rgl_idle_init(void)
{
	static char name[] = "tick_irq_enter";
	int ret;

	if (num_online_cpus() > 1)
		return -EOPNOTSUPP;
	ret = ftrace_set_filter(&rgl_idle_ops, name, strlen(name), 1);
	if (!ret)
		ret = register_ftrace_function(&rgl_idle_ops);
	if (ret)
		return ret;
	ret = register_trace_cpu_idle(rgl_idle_begins, NULL);
	if (ret)
		unregister_ftrace_function(&rgl_idle_ops);
	else
		rgl_idle_on = true;
	return ret;
}

static void rgl_idle_exit(void)
{
	if (rgl_idle_on) {
		unregister_trace_cpu_idle(rgl_idle_begins, NULL);
		tracepoint_synchronize_unregister();
		unregister_ftrace_function(&rgl_idle_ops);
	}
	ftrace_free_filter(&rgl_idle_ops);
}

static struct rgl_time rgl_time(void)
{
	return (struct rgl_time){ .wall = rgl_cycles(), .idle = READ_ONCE(rgl_idle_total) };
}

/* Runs one command; a failure says which it was. */
static long rgl_again(struct rgl_req *rq)
{
	long ret;

	rq->out[0] = 0;
	ret = rgl_run(rq);
	if (ret < 0 && !rq->usage)
		rgl_say(rq, "%s", rq->argv[0]);
	return ret;
}

/* One run, timed; a second command may follow it, counted or not. */
static long rgl_time_once(struct rgl_runs *runs, unsigned int i)
{
	struct rgl_time start = rgl_time(), end;
	long ret = rgl_again(runs->first);

	if (ret >= 0 && runs->second && runs->second_counts)
		ret = rgl_again(runs->second);
	runs->wall[i] = rgl_cycles() - start.wall;
	/* What was left to workers is part of the cost. */
	if (runs->settle)
		msleep(runs->settle);
	end = rgl_time();
	if (end.idle - start.idle > end.wall - start.wall)
		return -ERANGE;
	runs->busy[i] = end.wall - start.wall - (end.idle - start.idle);
	if (ret >= 0 && runs->second && !runs->second_counts)
		ret = rgl_again(runs->second);
	return ret;
}

static int rgl_cmp(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static long rgl_time_all(struct rgl_req *rq, struct rgl_runs *runs)
{
	unsigned int i, half = runs->n / 2;
	long ret = 0;
	u64 first;

	for (i = 0; i < runs->n && ret >= 0; i++)
		ret = rgl_time_once(runs, i);
	if (ret < 0)
		return ret;
	first = runs->busy[0];
	sort(runs->busy, runs->n, sizeof(u64), rgl_cmp, NULL);
	sort(runs->wall, runs->n, sizeof(u64), rgl_cmp, NULL);
	rgl_say(rq, "n=%u first=%llu min=%llu median=%llu max=%llu wall=%llu", runs->n,
		first, runs->busy[0], runs->busy[half], runs->busy[runs->n - 1],
		runs->wall[half]);
	return 0;
}

/* Splits the words after N at "+" or "/" into one or two commands. */
static int rgl_bench_split(struct rgl_req *rq, struct rgl_runs *runs)
{
	struct rgl_req *to = runs->first;
	int i;

	for (i = 2; i < rq->argc; i++) {
		if (strcmp(rq->argv[i], "+") && strcmp(rq->argv[i], "/")) {
			to->argv[to->argc++] = rq->argv[i];
			continue;
		}
		if (to != runs->first)
			return rgl_usage(rq, "more than two commands");
		runs->second_counts = *rq->argv[i] == '+';
		to = runs->second;
	}
	if (!runs->first->argc || (to == runs->second && !to->argc))
		return rgl_usage(rq, "no command");
	if (!runs->second->argc)
		runs->second = NULL;
	return 0;
}

/* What a command that failed had to say. */
static void rgl_bench_blame(struct rgl_req *rq, struct rgl_req *commands, long ret)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (commands[i].usage)
			rgl_usage(rq, "%s", commands[i].out);
		else if (ret < 0)
			rgl_say(rq, "%s ", commands[i].out);
	}
}

/* bench N[+MS] COMMAND [+ COMMAND | / COMMAND] */
long rgl_cmd_bench(struct rgl_req *rq)
{
	struct rgl_req *commands = kcalloc(2, sizeof(*commands), GFP_KERNEL);
	struct rgl_runs runs = { .first = commands, .second = commands + 1 };
	long ret = rgl_idle_on ? 0 : rgl_idle_init();

	if (ret)
		goto out;
	if (sscanf(rq->argv[1], "%u+%u", &runs.n, &runs.settle) < 1 || !runs.n ||
	    runs.n > RGL_RUNS) {
		ret = rgl_usage(rq, "not a number of runs: %s", rq->argv[1]);
		goto out;
	}
	ret = -ENOMEM;
	runs.busy = kcalloc(2 * runs.n, sizeof(u64), GFP_KERNEL);
	if (!commands || !runs.busy)
		goto out;
	runs.wall = runs.busy + runs.n;
	ret = rgl_bench_split(rq, &runs);
	if (!ret)
		ret = rgl_time_all(rq, &runs);
	rgl_bench_blame(rq, commands, ret);
out:
	kfree(runs.busy);
	kfree(commands);
	return ret;
}

/* N pairs of map and unmap of one page, and nothing else. */
long rgl_pairs(struct rgl_dom *dom, u64 n)
{
	struct page *page = alloc_page(GFP_KERNEL);
	long ret = page ? 0 : -ENOMEM;

	while (!ret && n--) {
		ret = rgl_iommu_map(dom->domain, RGL_PAIRS_IOVA, page_to_phys(page),
				    PAGE_SIZE);
		if (!ret)
			iommu_unmap(dom->domain, RGL_PAIRS_IOVA, PAGE_SIZE);
	}
	if (page)
		__free_page(page);
	return ret;
}

long rgl_cmd_pairs(struct rgl_req *rq)
{
	struct rgl_dom *dom;
	long ret;
	u64 n;

	if (rgl_u64(rq, 2, &n))
		return -EINVAL;
	dom = rgl_dom_get(rq, 1);
	if (!dom)
		return -EINVAL;
	ret = rgl_pairs(dom, n);
	rgl_dom_put(dom);
	return ret;
}

/*
 * N times detach and attach of the domain that the function is attached to, by
 * the kernel's own calls.
 */
long rgl_cmd_swaps(struct rgl_req *rq)
{
	struct iommu_group *group;
	struct rgl_dom *dom;
	struct pci_dev *pdev;
	long ret = 0;
	u64 n;

	if (rgl_u64(rq, 3, &n))
		return -EINVAL;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	group = iommu_group_get(&pdev->dev);
	dom = group ? rgl_dom_get(rq, 2) : NULL;
	if (dom && iommu_get_domain_for_dev(&pdev->dev) != dom->domain)
		ret = -ENOENT;
	while (dom && !ret && n--) {
		rgl_detach_begin();
		iommu_detach_group(dom->domain, group);
		rgl_detach_end();
		ret = iommu_attach_group(dom->domain, group);
	}
	if (dom)
		rgl_dom_put(dom);
	iommu_group_put(group);
	pci_dev_put(pdev);
	return dom ? ret : -EINVAL;
}

static void notrace rgl_trace_nothing(unsigned long ip, unsigned long parent_ip,
				      struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
}

static DEFINE_MUTEX(rgl_tracer_lock);
static struct ftrace_ops rgl_tracer = { .func = rgl_trace_nothing };
static bool rgl_tracer_on;

/* tracer FUNC set|on|off: an empty ftrace handler on one function. */
long rgl_cmd_tracer(struct rgl_req *rq)
{
	static const char *const words[] = { "off", "on", "set", NULL };
	int w = rgl_word(rq, 2, words);
	long ret = -EBUSY;

	if (w < 0)
		return w;
	mutex_lock(&rgl_tracer_lock);
	if (w == 2 && !rgl_tracer_on)
		ret = ftrace_set_filter(&rgl_tracer, rq->argv[1],
					strlen(rq->argv[1]), 1);
	else if (w == 1 && !rgl_tracer_on)
		ret = register_ftrace_function(&rgl_tracer);
	else if (w == 0 && rgl_tracer_on)
		ret = unregister_ftrace_function(&rgl_tracer);
	if (!ret && w < 2)
		rgl_tracer_on = w;
	mutex_unlock(&rgl_tracer_lock);
	return ret;
}

/* N times the kernel's own gate around a reset, closed and opened, from 7.0 on. */
long rgl_cmd_native(struct rgl_req *rq)
{
	struct pci_dev *pdev;
	long ret = 0;
	u64 n;

	if (rgl_u64(rq, 2, &n))
		return -EINVAL;
	pdev = rgl_pdev(rq, 1);
	if (!pdev)
		return -EINVAL;
	while (!ret && n--) {
		ret = rgl_native_prepare(pdev);
		if (!ret)
			rgl_native_done(pdev);
	}
	pci_dev_put(pdev);
	return ret;
}

void rgl_bench_exit(void)
{
	rgl_idle_exit();
	if (rgl_tracer_on)
		unregister_ftrace_function(&rgl_tracer);
	ftrace_free_filter(&rgl_tracer);
}
