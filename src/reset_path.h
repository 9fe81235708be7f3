/* SPDX-License-Identifier: GPL-2.0 */
/* The reset functions' wrappers. */
#ifndef RG_RESET_PATH_H
#define RG_RESET_PATH_H

int rg_reset_path_install(void);
void rg_reset_path_remove(void);

#endif /* RG_RESET_PATH_H */
