// SPDX-License-Identifier: GPL-2.0
/* A driver that takes any function by driver_override and logs its resets. */
#include <linux/delay.h>
#include <linux/jiffies.h>
#include <linux/pci-ats.h>

#include "rglab.h"

#define RGL_EVENTS 64

struct rgl_event {
	unsigned int seq;
	const char *what;
	u16 ats;
	u16 command;
	u16 devfn;
};

static DEFINE_SPINLOCK(rgl_event_lock);
static struct rgl_event rgl_event_log[RGL_EVENTS];
static unsigned int rgl_event_seq;

/* The ATS control register as the function shows it; 0 if it has none. */
u16 rgl_ats_ctrl(struct pci_dev *pdev)
{
	int pos = pci_find_ext_capability(pdev, PCI_EXT_CAP_ID_ATS);
	u16 ctrl = 0;

	if (pos)
		pci_read_config_word(pdev, pos + PCI_ATS_CTRL, &ctrl);
	return ctrl;
}

static void rgl_event(struct pci_dev *pdev, const char *what)
{
	struct rgl_event ev = { .what = what };

	ev.ats = rgl_ats_ctrl(pdev);
	pci_read_config_word(pdev, PCI_COMMAND, &ev.command);
	ev.devfn = pci_dev_id(pdev);
	spin_lock(&rgl_event_lock);
	ev.seq = ++rgl_event_seq;
	rgl_event_log[(ev.seq - 1) % RGL_EVENTS] = ev;
	spin_unlock(&rgl_event_lock);
}

static void rgl_reset_prepare(struct pci_dev *pdev)
{
	rgl_event(pdev, "prepare");
}

static void rgl_reset_done(struct pci_dev *pdev)
{
	rgl_event(pdev, "done");
	/* 6.1 forgets what it has restored: slot_reset would find nothing. */
	pci_save_state(pdev);
}

/* What the driver says of an error, and of the reset that follows. */
static const char *const rgl_votes[] = {
	"none", "can_recover", "need_reset", "disconnect", "recovered", NULL
};

static pci_ers_result_t rgl_vote_error = PCI_ERS_RESULT_NEED_RESET;
static pci_ers_result_t rgl_vote_reset = PCI_ERS_RESULT_RECOVERED;

/*
 * That callback takes until then, so that somebody can look at the function in it;
 * or slot_reset resets it once more.
 */
static enum { RGL_OFF, RGL_IN_SLOT_RESET, RGL_IN_ERROR, RGL_OWN_FLR } rgl_lingering;

static void rgl_linger(int in)
{
	unsigned long end = jiffies + 20 * HZ;

	while (READ_ONCE(rgl_lingering) == in && time_before(jiffies, end))
		msleep(20);
}

long rgl_cmd_linger(struct rgl_req *rq)
{
	static const char *const words[] = { "off", "on", "error", "flr", NULL };
	int on = rgl_word(rq, 1, words);

	if (on < 0)
		return on;
	WRITE_ONCE(rgl_lingering, on);
	return 0;
}

static pci_ers_result_t rgl_error_detected(struct pci_dev *pdev,
					   pci_channel_state_t state)
{
	rgl_event(pdev, state == pci_channel_io_perm_failure ? "gone" : "error");
	rgl_linger(RGL_IN_ERROR);
	return rgl_vote_error;
}

static pci_ers_result_t rgl_mmio_enabled(struct pci_dev *pdev)
{
	rgl_event(pdev, "mmio");
	return PCI_ERS_RESULT_RECOVERED;
}

/* Nobody else restores a function in the recovery from an error. */
static pci_ers_result_t rgl_slot_reset(struct pci_dev *pdev)
{
	rgl_event(pdev, "slot_reset");
	rgl_linger(RGL_IN_SLOT_RESET);
	pci_restore_state(pdev);
	pci_save_state(pdev);
	if (READ_ONCE(rgl_lingering) == RGL_OWN_FLR) {
		pcie_flr(pdev);
		pci_restore_state(pdev);
		pci_save_state(pdev);
	}
	return rgl_vote_reset;
}

static void rgl_resume(struct pci_dev *pdev)
{
	rgl_event(pdev, "resume");
}

/* vote ERROR RESET */
long rgl_cmd_vote(struct rgl_req *rq)
{
	int error = rgl_word(rq, 1, rgl_votes), reset = rgl_word(rq, 2, rgl_votes);

	if (error < 0 || reset < 0)
		return -EINVAL;
	rgl_vote_error = (__force pci_ers_result_t)(error + 1);
	rgl_vote_reset = (__force pci_ers_result_t)(reset + 1);
	return 0;
}

static const struct pci_error_handlers rgl_err_handler = {
	.error_detected = rgl_error_detected,
	.mmio_enabled = rgl_mmio_enabled,
	.slot_reset = rgl_slot_reset,
	.resume = rgl_resume,
	.reset_prepare = rgl_reset_prepare,
	.reset_done = rgl_reset_done,
};

static int rgl_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	/* Or a bare reset by power management finds it in no state at all. */
	pci_set_power_state(pdev, PCI_D0);
	pci_save_state(pdev);
	rgl_event(pdev, "probe");
	return 0;
}

static void rgl_remove(struct pci_dev *pdev)
{
	rgl_event(pdev, "remove");
}

static const struct pci_device_id rgl_ids[] = {
	{ }
};

static struct pci_driver rgl_driver = {
	.name = "rglab",
	.id_table = rgl_ids,
	.probe = rgl_probe,
	.remove = rgl_remove,
	.sriov_configure = pci_sriov_configure_simple,
	.err_handler = &rgl_err_handler,
	.driver_managed_dma = true,
};

/* events: SEQ:WHAT:RID:ats=X:cmd=X ..., the last few of them. */
long rgl_cmd_events(struct rgl_req *rq)
{
	static const char *const words[] = { "clear", NULL };
	const struct rgl_event *ev;
	unsigned int i, first;

	if (rq->argc == 2 && rgl_word(rq, 1, words) < 0)
		return -EINVAL;
	spin_lock(&rgl_event_lock);
	if (rq->argc == 2)
		rgl_event_seq = 0;
	first = rgl_event_seq > 10 ? rgl_event_seq - 10 : 0;
	for (i = first; i < rgl_event_seq; i++) {
		ev = &rgl_event_log[i % RGL_EVENTS];
		rgl_say(rq, "%u:%s:%04x:ats=%04x:cmd=%04x ", ev->seq, ev->what,
			ev->devfn, ev->ats, ev->command);
	}
	spin_unlock(&rgl_event_lock);
	return 0;
}

int rgl_drv_init(void)
{
	return pci_register_driver(&rgl_driver);
}

void rgl_drv_exit(void)
{
	pci_unregister_driver(&rgl_driver);
}
