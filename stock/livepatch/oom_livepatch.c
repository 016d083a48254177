// SPDX-License-Identifier: GPL-2.0
/*
 * For stock/test: a livepatch that replaces out_of_memory(). It takes every OOM for settled, so the
 * test causes none while it is loaded.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/oom.h>

static bool patched_out_of_memory(struct oom_control *oc)
{
	return true;
}

static struct klp_func funcs[] = {
	{
		.old_name = "out_of_memory",
		.new_func = patched_out_of_memory,
	},
	{ }
};

static struct klp_object objects[] = {
	{
		.funcs = funcs, /* of the kernel image, which has no name */
	},
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init oom_livepatch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit oom_livepatch_exit(void)
{
}

module_init(oom_livepatch_init);
module_exit(oom_livepatch_exit);
MODULE_DESCRIPTION("Replaces out_of_memory(), for a test of rust_bpf_memcontrol");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
