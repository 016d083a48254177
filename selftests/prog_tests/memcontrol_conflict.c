// SPDX-License-Identifier: GPL-2.0
/* A kernel that has these kfuncs itself refuses the module, and says why. */
#include <bpf/btf.h>
#include "memcontrol_module.h"
#include "memcontrol_oom.h"

void serial_test_memcontrol_conflict(void)
{
	struct btf *vmlinux;
	int id, log;

	vmlinux = btf__load_vmlinux_btf();
	if (!ASSERT_OK_PTR(vmlinux, "vmlinux BTF"))
		return;
	id = btf__find_by_name_kind(vmlinux, "bpf_get_mem_cgroup", BTF_KIND_FUNC);
	btf__free(vmlinux);
	if (id < 0) {
		skip_because("this kernel has no implementation of its own");
		return;
	}
	if (!module_path()) {
		skip_because(NO_MODULE_PATH);
		return;
	}

	log = kmsg_open();
	if (!ASSERT_OK_FD(log, "kmsg"))
		return;
	ASSERT_EQ(module_load(), -EINVAL, "load");
	ASSERT_EQ(kmsg_count(log, "their names are taken"), 1, "reason in the log");
	close(log);
	ASSERT_ERR(access(MEMCONTROL_BTF, F_OK), "module BTF");
}
