// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "audit": makes the decision of another policy, reports it to user
 * space, kills nothing and passes on. It is passive, so that OOMs end as they do
 * without it. It is compiled once for each policy, whose source the macro AUDITED
 * names.
 *
 * Without a kill, no kill is refused: where the kernel would refuse to kill the
 * choice, only the audited policy itself goes on to the next candidate.
 */
#define OOM_DRY_RUN 1
#include AUDITED
