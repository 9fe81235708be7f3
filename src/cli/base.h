/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel's headers would give. */
#ifndef RG_BASE_H
#define RG_BASE_H

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))

#endif /* RG_BASE_H */
