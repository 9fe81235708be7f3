/* SPDX-License-Identifier: GPL-2.0 */
/* The architecture that this module is built for. */
#ifndef RG_ARCH_H
#define RG_ARCH_H

#if defined(CONFIG_X86_64)
#include "arch/x86.h"
#elif defined(CONFIG_ARM64)
#include "arch/arm64.h"
#else
#error "resetgate knows x86-64 and arm64"
#endif

#endif /* RG_ARCH_H */
