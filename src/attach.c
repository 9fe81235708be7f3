// SPDX-License-Identifier: GPL-2.0
/*
 * What an attach gets whose IOMMU group has a function that is not open: policy=.
 *
 *   record  it runs, and takes effect in hardware when the gate opens: nothing is
 *           done here
 *   busy    -EBUSY
 *   wait    it sleeps until the gate opens, and runs then
 *
 * The calls that attach are redirected from the first time that somebody wants
 * another policy than record until the module goes: who never does has their entries
 * untouched, and the one who does is told at once where they cannot be redirected.
 * Detaching and giving ownership up are never followed, so never refused; nor is
 * claiming it, which attaches nothing but the blocking domain.
 *
 * What is decided is decided at the call's entry, before a lock of the IOMMU core
 * is taken: opening needs the group's mutex. A window that closes after that finds
 * an attach under way, and that one is recorded.
 *
 * A waiter holds what its caller holds: VFIO's locks, which more than one group has,
 * and, where a probe runs in a worker of another NUMA node, somebody's device lock
 * that is not to be found out. A reset has the locks that it needs when its window
 * begins. A recovery takes the device locks of all below the port in its window, and
 * calls drivers there: while one runs, nobody waits for its functions (-EBUSY), and
 * who waits already gives up. The device lock of a covered function is no lock to wait
 * with in any window; nor does anybody wait for a function that is parked, or whose
 * driver is being unbound.
 */
#include <linux/err.h>
#include <linux/iommu.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "attach.h"
#include "compat.h"
#include "params.h"
#include "pass.h"
#include "patch.h"
#include "registry.h"

/* Of kernels that have the calls that take one. */
struct iommu_attach_handle;

typedef int rg_attach_handle_fn(struct iommu_domain *domain, struct iommu_group *group,
				struct iommu_attach_handle *handle);
typedef int rg_replace_domain_fn(struct iommu_group *group, struct iommu_domain *domain);
typedef int rg_replace_handle_fn(struct iommu_group *group, struct iommu_domain *domain,
				 struct iommu_attach_handle *handle);
typedef int rg_attach_pasid_fn(struct iommu_domain *domain, struct device *dev, u32 pasid,
			       struct iommu_attach_handle *handle);
typedef ssize_t rg_store_type_fn(struct iommu_group *group, const char *buf, size_t count);

/* The third argument is 6.1's; later ones do not look at it. */
static struct iommu_sva *rg_wrap_sva_bind(struct device *dev, struct mm_struct *mm,
					  void *drvdata);

RG_CALL_DEFINE(rg_call_attach_handle, rg_attach_handle_fn);
RG_CALL_DEFINE(rg_call_replace_domain, rg_replace_domain_fn);
RG_CALL_DEFINE(rg_call_replace_handle, rg_replace_handle_fn);
RG_CALL_DEFINE(rg_call_attach_pasid, rg_attach_pasid_fn);
RG_CALL_DEFINE(rg_call_replace_pasid, rg_attach_pasid_fn);
RG_CALL_DEFINE(rg_call_sva_bind, rg_wrap_sva_bind);
RG_CALL_DEFINE(rg_call_store_type, rg_store_type_fn);

/* Functions that are not open; handlers look through it. */
static LIST_HEAD(rg_attach_shut);
static DEFINE_RAW_SPINLOCK(rg_attach_lock);
static DECLARE_WAIT_QUEUE_HEAD(rg_attach_waiters);

/* Of the redirects. */
static DEFINE_MUTEX(rg_attach_mutex);
static bool rg_attach_live;
static bool rg_attach_wanted;
static bool rg_attach_installed;

/**
 * rg_attach_policy - what an attach gets in a function's window
 * @state: the function's state
 *
 * Context: Any; called from handlers.
 * Return: its own policy, or the module's.
 */
notrace enum rg_policy rg_attach_policy(const struct rg_state *state)
{
	enum rg_policy policy = READ_ONCE(state->policy);

	return policy == RG_POLICY_DEFAULT ? rg_param_policy() : policy;
}

/*
 * Nobody can say how long a parked function stays so. A driver that goes has the
 * device lock, and may wait for a lock that the waiter's caller holds; so may whom a
 * recovery waits for.
 */
static notrace bool rg_attach_is_long(const struct rg_state *state)
{
	return READ_ONCE(state->phase) == RG_PARKED || READ_ONCE(state->leaving) ||
	       atomic_read(&state->recoveries);
}

static notrace enum rg_policy rg_attach_verdict_of(const struct rg_state *state)
{
	enum rg_policy policy = rg_attach_policy(state);

	return policy == RG_POLICY_WAIT && rg_attach_is_long(state) ? RG_POLICY_BUSY : policy;
}

/* A group is as its strictest function: what would only wait is of no use if another refuses. */
static notrace enum rg_policy rg_attach_verdict(const struct iommu_group *group)
{
	enum rg_policy verdict = RG_POLICY_RECORD, policy;
	const struct rg_state *state;
	unsigned long flags;

	if (list_empty(&rg_attach_shut))
		return verdict;
	raw_spin_lock_irqsave(&rg_attach_lock, flags);
	list_for_each_entry(state, &rg_attach_shut, shut) {
		if (state->group != group || READ_ONCE(state->dead))
			continue;
		policy = rg_attach_verdict_of(state);
		if (policy == RG_POLICY_BUSY || verdict == RG_POLICY_RECORD)
			verdict = policy;
	}
	raw_spin_unlock_irqrestore(&rg_attach_lock, flags);
	return verdict;
}

/**
 * rg_attach_wake - what waiters wait for may be over
 *
 * Context: Any.
 */
void rg_attach_wake(void)
{
	wake_up_all(&rg_attach_waiters);
}

/**
 * rg_attach_turn - a gate goes into another phase
 * @state: the function's state
 * @phase: the new one
 *
 * Waiters look at the list after they have queued themselves, and it changes before
 * they are woken: none is missed.
 *
 * Context: Process context, under state->lock.
 */
void rg_attach_turn(struct rg_state *state, enum rg_phase phase)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&rg_attach_lock, flags);
	WRITE_ONCE(state->phase, phase);
	if (phase == RG_OPEN)
		list_del_init(&state->shut);
	else if (list_empty(&state->shut))
		list_add(&state->shut, &rg_attach_shut);
	raw_spin_unlock_irqrestore(&rg_attach_lock, flags);
	rg_attach_wake();
}

static bool rg_attach_is_locked(const struct rg_state *state, const void *unused)
{
	return rg_compat_is_mine(&state->pdev->dev.mutex);
}

static bool rg_attach_may_sleep(void)
{
	return !preempt_count() && !rcu_preempt_depth();
}

/* Asleep, it would hold up what it waits for. */
static bool rg_attach_may_wait(void)
{
	return rg_attach_may_sleep() && !rg_registry_pick(rg_attach_is_locked, NULL, NULL, 0);
}

static int rg_attach_wait(const struct iommu_group *group)
{
	long left;

	if (!rg_attach_may_wait())
		return -EBUSY;
	left = wait_event_killable_timeout(rg_attach_waiters,
					   rg_attach_verdict(group) != RG_POLICY_WAIT,
					   msecs_to_jiffies(rg_param_wait_timeout()));
	if (left < 0)
		return -EINTR;
	if (!left)
		return -ETIMEDOUT;
	return rg_attach_verdict(group) == RG_POLICY_BUSY ? -EBUSY : 0;
}

/*
 * With 0 what the task calls until rg_pass_end() goes through: the wrapper's own
 * call, and what that attaches in its turn.
 */
static int rg_attach_begin(struct rg_pass *pass, enum rg_target_id id,
			   struct iommu_group *group)
{
	int rc = 0;

	switch (rg_attach_verdict(group)) {
	case RG_POLICY_BUSY:
		rc = -EBUSY;
		break;
	case RG_POLICY_WAIT:
		/* On its way out the module holds up nobody. */
		if (!try_module_get(THIS_MODULE))
			break;
		rc = rg_attach_wait(group);
		module_put(THIS_MODULE);
		break;
	default:
		break;
	}
	if (!rc)
		rg_pass_begin(pass, id, NULL);
	else
		pr_debug("%s: expected the functions of IOMMU group %d to be open, found one that is not: refused (%d)\n",
			 rg_targets[id].name, iommu_group_id(group), rc);
	return rc;
}

static notrace void *rg_attach_divert(enum rg_target_id id, const struct iommu_group *group,
				      void *wrapper)
{
	if (rg_attach_verdict(group) == RG_POLICY_RECORD || rg_pass_mine(RG_SET_ATTACH))
		return NULL;
	return rg_pass_divert(id, NULL, wrapper);
}

static notrace struct iommu_group *rg_attach_group(void *group)
{
	return group;
}

static notrace struct iommu_group *rg_attach_group_of(void *dev)
{
	return ((struct device *)dev)->iommu_group;
}

/* A wrapper, of the target's prototype, and its divert: argument @n names the group. */
#define RG_ATTACH(name, id, type, to_group, n, subject, call, ...)		\
static type rg_wrap_##name(__VA_ARGS__)						\
{										\
	struct rg_pass pass;							\
	type rc = rg_attach_begin(&pass, id, to_group(subject));		\
										\
	if (!rc) {								\
		rc = call;							\
		rg_pass_end(&pass);						\
	}									\
	rg_pass_exit();								\
	return rc;								\
}										\
										\
static notrace void *rg_divert_##name(struct ftrace_regs *fregs,		\
				      unsigned long parent_ip)			\
{										\
	return rg_attach_divert(id, to_group((void *)rg_compat_arg(fregs, n)),	\
				rg_wrap_##name);				\
}

RG_ATTACH(attach_device, RG_T_ATTACH_DEVICE, int, rg_attach_group_of, 1, dev,
	  iommu_attach_device(domain, dev),
	  struct iommu_domain *domain, struct device *dev)
RG_ATTACH(attach_group, RG_T_ATTACH_GROUP, int, rg_attach_group, 1, group,
	  iommu_attach_group(domain, group),
	  struct iommu_domain *domain, struct iommu_group *group)
RG_ATTACH(attach_handle, RG_T_ATTACH_HANDLE, int, rg_attach_group, 1, group,
	  rg_call(rg_call_attach_handle)(domain, group, handle),
	  struct iommu_domain *domain, struct iommu_group *group,
	  struct iommu_attach_handle *handle)
RG_ATTACH(replace_domain, RG_T_REPLACE_DOMAIN, int, rg_attach_group, 0, group,
	  rg_call(rg_call_replace_domain)(group, domain),
	  struct iommu_group *group, struct iommu_domain *domain)
RG_ATTACH(replace_handle, RG_T_REPLACE_HANDLE, int, rg_attach_group, 0, group,
	  rg_call(rg_call_replace_handle)(group, domain, handle),
	  struct iommu_group *group, struct iommu_domain *domain,
	  struct iommu_attach_handle *handle)
RG_ATTACH(attach_pasid, RG_T_ATTACH_PASID, int, rg_attach_group_of, 1, dev,
	  rg_call(rg_call_attach_pasid)(domain, dev, pasid, handle),
	  struct iommu_domain *domain, struct device *dev, u32 pasid,
	  struct iommu_attach_handle *handle)
RG_ATTACH(replace_pasid, RG_T_REPLACE_PASID, int, rg_attach_group_of, 1, dev,
	  rg_call(rg_call_replace_pasid)(domain, dev, pasid, handle),
	  struct iommu_domain *domain, struct device *dev, u32 pasid,
	  struct iommu_attach_handle *handle)
/* What is no type is refused for that, at once. */
static struct iommu_group *rg_attach_typed(struct iommu_group *group, const char *type)
{
	static const char *const types[] = { "identity", "DMA", "DMA-FQ", "auto" };

	return __sysfs_match_string(types, ARRAY_SIZE(types), type) < 0 ? NULL : group;
}

RG_ATTACH(store_type, RG_T_STORE_TYPE, ssize_t, rg_attach_group, 0,
	  rg_attach_typed(group, buf),
	  rg_call(rg_call_store_type)(group, buf, count),
	  struct iommu_group *group, const char *buf, size_t count)

/*
 * It takes a lock of the whole host around the attach of a PASID. That must not sleep
 * with it where the window closes in between: the bind is always diverted, so that
 * what was decided here holds for the attach, too.
 */
static struct iommu_sva *rg_wrap_sva_bind(struct device *dev, struct mm_struct *mm,
					  void *drvdata)
{
	struct rg_pass pass;
	int rc = rg_attach_begin(&pass, RG_T_SVA_BIND, rg_attach_group_of(dev));
	struct iommu_sva *sva = ERR_PTR(rc);

	if (!rc) {
		sva = rg_call(rg_call_sva_bind)(dev, mm, drvdata);
		rg_pass_end(&pass);
	}
	rg_pass_exit();
	return sva;
}

static notrace void *rg_divert_sva_bind(struct ftrace_regs *fregs, unsigned long parent_ip)
{
	return rg_pass_mine(RG_SET_ATTACH) ? NULL :
	       rg_pass_divert(RG_T_SVA_BIND, NULL, rg_wrap_sva_bind);
}

static const struct rg_hook rg_attach_hooks[] = {
	{ RG_T_ATTACH_DEVICE, rg_divert_attach_device },
	{ RG_T_ATTACH_GROUP, rg_divert_attach_group },
	{ RG_T_ATTACH_HANDLE, rg_divert_attach_handle },
	{ RG_T_REPLACE_DOMAIN, rg_divert_replace_domain },
	{ RG_T_REPLACE_HANDLE, rg_divert_replace_handle },
	{ RG_T_ATTACH_PASID, rg_divert_attach_pasid },
	{ RG_T_REPLACE_PASID, rg_divert_replace_pasid },
	{ RG_T_SVA_BIND, rg_divert_sva_bind },
	{ RG_T_STORE_TYPE, rg_divert_store_type },
};

/* Those of older or newer kernels stay aimed at nothing: they are not redirected. */
static void rg_attach_aim(void)
{
	rg_call_aim(rg_call_attach_handle, RG_T_ATTACH_HANDLE);
	rg_call_aim(rg_call_replace_domain, RG_T_REPLACE_DOMAIN);
	rg_call_aim(rg_call_replace_handle, RG_T_REPLACE_HANDLE);
	rg_call_aim(rg_call_attach_pasid, RG_T_ATTACH_PASID);
	rg_call_aim(rg_call_replace_pasid, RG_T_REPLACE_PASID);
	rg_call_aim(rg_call_sva_bind, RG_T_SVA_BIND);
	rg_call_aim(rg_call_store_type, RG_T_STORE_TYPE);
}

static int rg_attach_install(void)
{
	int rc = -EOPNOTSUPP;

	lockdep_assert_held(&rg_attach_mutex);
	if (rg_attach_installed)
		return 0;
	if (rg_set_usable(RG_SET_ATTACH)) {
		rg_attach_aim();
		rc = rg_patch_install(RG_SET_ATTACH, rg_attach_hooks,
				      ARRAY_SIZE(rg_attach_hooks));
	}
	rg_attach_installed = !rc;
	if (!rc)
		return 0;
	pr_err("policy: expected a kernel whose attach calls can be redirected, found one with set attach off (see the line that says why, and status); only record can be had; nothing was changed\n");
	return -EOPNOTSUPP;
}

/**
 * rg_attach_allow - somebody wants a policy
 * @policy: the policy
 *
 * The module is not up yet when its parameters are given at load, nor when the first
 * functions show their files: see rg_attach_start().
 *
 * Context: Process context, sleeps.
 * Return: 0 if it can be put in force; -EOPNOTSUPP if not, and the log says so.
 */
int rg_attach_allow(enum rg_policy policy)
{
	int rc = 0;

	if (policy != RG_POLICY_BUSY && policy != RG_POLICY_WAIT)
		return 0;
	mutex_lock(&rg_attach_mutex);
	rg_attach_wanted = true;
	if (rg_attach_live)
		rc = rg_attach_install();
	mutex_unlock(&rg_attach_mutex);
	return rc;
}

static void rg_attach_forget(struct rg_state *state, void *unused)
{
	WRITE_ONCE(state->policy, RG_POLICY_DEFAULT);
}

/**
 * rg_attach_start - policies can be put in force
 *
 * Where those that were given before cannot, it is record: a reset without a gate would
 * be worse.
 *
 * Context: Process context, at load; everything else is in force.
 */
void rg_attach_start(void)
{
	bool lost;

	mutex_lock(&rg_attach_mutex);
	rg_attach_live = true;
	lost = rg_attach_wanted && rg_attach_install();
	if (lost)
		rg_param_policy_record();
	mutex_unlock(&rg_attach_mutex);
	/* Who removes a function waits, with the registry's mutex, for writers of its files. */
	if (lost)
		rg_registry_each(rg_attach_forget, NULL);
}

/**
 * rg_attach_stop - attaches are redirected no more
 *
 * Those that are in a wrapper still are waited for by rg_pass_wait().
 *
 * Context: Process context, at unload, sleeps; no gate is closed.
 */
void rg_attach_stop(void)
{
	mutex_lock(&rg_attach_mutex);
	rg_attach_live = false;
	rg_patch_remove(RG_SET_ATTACH);
	rg_attach_installed = false;
	mutex_unlock(&rg_attach_mutex);
}
