/* SPDX-License-Identifier: GPL-2.0 */
/* The functions that one reset concerns. */
#ifndef RG_SCOPE_H
#define RG_SCOPE_H

#include "gate.h"

/**
 * struct rg_scope - the covered functions that one reset concerns
 * @nr: how many
 * @brackets: one for each
 * @states: theirs; a reference is held
 */
struct rg_scope {
	int nr;
	struct rg_bracket *brackets;
	struct rg_state *states[];
};

struct rg_scope *rg_scope_below(const struct pci_bus *bus);
struct rg_scope *rg_scope_slot(const struct pci_slot *slot);
struct rg_scope *rg_scope_vfs(const struct pci_dev *pf);
struct rg_scope *rg_scope_function(const struct pci_dev *pdev);
bool rg_scope_pf_is_busy(const struct rg_state *state);
void rg_scope_free(struct rg_scope *scope);

void rg_scope_enter(struct rg_scope *scope, enum rg_reason why);
struct rg_scope *rg_scope_enter_function(struct rg_state *state, enum rg_reason why,
					 struct rg_scope *vfs);
void rg_scope_leave(struct rg_scope *scope, enum rg_await await);
void rg_scope_recover(struct rg_scope *scope, int by);
void rg_scope_bracket(struct rg_scope *scope, bool patient);
void rg_scope_unbracket(struct rg_scope *scope, enum rg_await await);
void rg_scope_fail(struct rg_scope *scope);

#endif /* RG_SCOPE_H */
