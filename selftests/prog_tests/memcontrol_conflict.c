// SPDX-License-Identifier: GPL-2.0
/* A kernel that has these kfuncs itself does not take the module's. */
#include <bpf/btf.h>
#include "memcontrol_helpers.h"
#include "testing_helpers.h"

void serial_test_memcontrol_conflict(void)
{
	const char *ko = getenv("RUST_BPF_MEMCONTROL_KO");
	struct btf *vmlinux;
	int fd, id;

	vmlinux = btf__load_vmlinux_btf();
	if (!ASSERT_OK_PTR(vmlinux, "vmlinux BTF"))
		return;
	id = btf__find_by_name_kind(vmlinux, "bpf_get_mem_cgroup", BTF_KIND_FUNC);
	btf__free(vmlinux);
	if (id < 0 || !ko) {
		printf("%s:SKIP: %s\n", __func__,
		       ko ? "this kernel has no implementation of its own" :
			    "RUST_BPF_MEMCONTROL_KO does not name the module");
		test__skip();
		return;
	}

	fd = open(ko, O_RDONLY | O_CLOEXEC);
	if (!ASSERT_OK_FD(fd, "open"))
		return;
	if (ASSERT_ERR(finit_module(fd, "", 0), "finit_module"))
		ASSERT_EQ(errno, EINVAL, "errno");
	close(fd);
	ASSERT_ERR(access(MEMCONTROL_BTF, F_OK), "module BTF");
}
