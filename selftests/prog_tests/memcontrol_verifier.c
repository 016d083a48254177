// SPDX-License-Identifier: GPL-2.0
/* Programs that the verifier must refuse, and program types that may call the kfuncs. */
#include <test_progs.h>
#include "memcontrol_failure.skel.h"
#include "memcontrol_prog_types.skel.h"

void test_memcontrol_verifier(void)
{
	RUN_TESTS(memcontrol_failure);
	RUN_TESTS(memcontrol_prog_types);
}
