/* SPDX-License-Identifier: GPL-2.0 */
/* Tracepoints resetgate:*, for perf, trace-cmd and bpftrace. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM resetgate

#if !defined(RG_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define RG_TRACE_H

#include <linux/pci.h>
#include <linux/tracepoint.h>

#define rg_show_bdf(key) \
	(key) >> 16, (key) >> 8 & 0xff, (key) >> 3 & 0x1f, (key) & 7

#define rg_pdev_key(pdev) \
	((u32)pci_domain_nr((pdev)->bus) << 16 | pci_dev_id(pdev))

/* Numbers, for what reads a trace has no enum; status.c checks them. */
#define rg_show_why(why) \
	__print_symbolic(why, { 0, "none" }, { 1, "function_reset" }, \
			 { 2, "flr" }, { 3, "bus_reset" }, \
			 { 4, "slot_reset" }, { 5, "recovery" }, \
			 { 6, "pf_reset" }, { 7, "silent" }, \
			 { 8, "recovery_failed" }, { 9, "timeout" })

DECLARE_EVENT_CLASS(rg_gate_class,
	TP_PROTO(struct pci_dev *pdev, int why),
	TP_ARGS(pdev, why),
	TP_STRUCT__entry(
		__field(u32, key)
		__field(int, why)
	),
	TP_fast_assign(
		__entry->key = rg_pdev_key(pdev);
		__entry->why = why;
	),
	TP_printk("%04x:%02x:%02x.%d reason=%s", rg_show_bdf(__entry->key),
		  rg_show_why(__entry->why))
);

DEFINE_EVENT(rg_gate_class, close,
	TP_PROTO(struct pci_dev *pdev, int why), TP_ARGS(pdev, why));

DEFINE_EVENT(rg_gate_class, park,
	TP_PROTO(struct pci_dev *pdev, int why), TP_ARGS(pdev, why));

/* Nested ones, too; the window is closed after the first and opens after the last. */
DEFINE_EVENT(rg_gate_class, reset_begin,
	TP_PROTO(struct pci_dev *pdev, int why), TP_ARGS(pdev, why));

TRACE_EVENT(open,
	TP_PROTO(struct pci_dev *pdev, u64 window_us),
	TP_ARGS(pdev, window_us),
	TP_STRUCT__entry(
		__field(u32, key)
		__field(u64, window_us)
	),
	TP_fast_assign(
		__entry->key = rg_pdev_key(pdev);
		__entry->window_us = window_us;
	),
	TP_printk("%04x:%02x:%02x.%d window_us=%llu", rg_show_bdf(__entry->key),
		  __entry->window_us)
);

DECLARE_EVENT_CLASS(rg_rid_class,
	TP_PROTO(u32 key),
	TP_ARGS(key),
	TP_STRUCT__entry(
		__field(u32, key)
	),
	TP_fast_assign(
		__entry->key = key;
	),
	TP_printk("%04x:%02x:%02x.%d", rg_show_bdf(__entry->key))
);

DEFINE_EVENT(rg_rid_class, record, TP_PROTO(u32 key), TP_ARGS(key));

DEFINE_EVENT(rg_rid_class, drop, TP_PROTO(u32 key), TP_ARGS(key));

DEFINE_EVENT(rg_rid_class, reset_end, TP_PROTO(u32 key), TP_ARGS(key));

#endif /* RG_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
