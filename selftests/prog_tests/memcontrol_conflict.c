// SPDX-License-Identifier: GPL-2.0
/* A kernel that has these kfuncs itself refuses the module. */
#include <bpf/btf.h>
#include "memcontrol_module.h"

void serial_test_memcontrol_conflict(void)
{
	struct btf *vmlinux;
	int id;

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

	ASSERT_EQ(module_load(), -EINVAL, "load");
	ASSERT_ERR(access(MEMCONTROL_BTF, F_OK), "module BTF");
}
