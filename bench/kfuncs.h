/* SPDX-License-Identifier: GPL-2.0 */
/* How often a program of kfuncs.bpf.c calls its kfunc. */
#define ROUNDS 1000
