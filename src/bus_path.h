/* SPDX-License-Identifier: GPL-2.0 */
/* Resets of everything below a bridge or in a slot. */
#ifndef RG_BUS_PATH_H
#define RG_BUS_PATH_H

int rg_bus_path_install(void);

#endif /* RG_BUS_PATH_H */
