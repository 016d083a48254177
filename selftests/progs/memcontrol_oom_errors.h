/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __MEMCONTROL_OOM_ERRORS_H
#define __MEMCONTROL_OOM_ERRORS_H

/* Stands for the result of a kfunc that was not called. */
#define NOT_CALLED	1000

#endif /* __MEMCONTROL_OOM_ERRORS_H */
