// SPDX-License-Identifier: GPL-2.0
/*
 * OOM policy "audit": decides as another policy would, tells user space, kills
 * nothing and passes on. It is compiled once for each policy, whose source the
 * macro AUDITED names; the result has no call of a kfunc that kills.
 *
 * As nothing is killed, nothing is refused either: where the kernel would not
 * kill what is chosen here, the policy itself goes on to the next candidate.
 */
#define OOM_DRY_RUN 1
#include AUDITED
