/* SPDX-License-Identifier: GPL-2.0 */
/* Variables of the kernel that lock.bpf.c reads. */
#ifndef __LOCK_H
#define __LOCK_H

extern const void oom_lock __ksym;
extern const struct vm_event_state vm_event_states __ksym;

#endif /* __LOCK_H */
