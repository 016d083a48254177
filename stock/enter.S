/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Enters the kernel's out_of_memory() behind its call of ftrace, which would come back to the hook.
 * This is a jump, because the kernel would look for padding before the target of a call.
 */
#include <linux/linkage.h>
#include <asm/ftrace.h>
#include <asm/ibt.h>

SYM_FUNC_START(enter_out_of_memory)
	jmp out_of_memory + ENDBR_INSN_SIZE + MCOUNT_INSN_SIZE
SYM_FUNC_END(enter_out_of_memory)
