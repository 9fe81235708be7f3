/* SPDX-License-Identifier: GPL-2.0 */
/* Addresses of the kernel's symbols, exported or not. */
#ifndef RG_SYMBOLS_H
#define RG_SYMBOLS_H

int rg_symbols_init(void);
unsigned long rg_symbols_lookup(const char *name);
void rg_symbols_use(unsigned long each_match, unsigned long lookup_size);
int rg_symbols_find(const char *name, unsigned long *addr);
unsigned long rg_symbols_size(unsigned long addr);

#endif /* RG_SYMBOLS_H */
