/* SPDX-License-Identifier: GPL-2.0 */
/* Included first everywhere: how our lines in the log begin. */
#ifndef RG_LOG_H
#define RG_LOG_H

#define pr_fmt(fmt) "resetgate: " fmt
#define dev_fmt(fmt) "resetgate: " fmt

#endif /* RG_LOG_H */
