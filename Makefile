# SPDX-License-Identifier: GPL-2.0
# The commands that people type. Kbuild builds the module; the kernel's build reads that
# file instead of this one.

MAKEFLAGS += --no-print-directory

.PHONY: help demo demo-stock demo-server test test-debug bench check matrix shell reload ide module
.PHONY: module-stock deb kernel-deb kernel doc clean distclean

help:
	@echo 'usage: make TARGET [VARIABLE=VALUE]...'
	@echo
	@echo 'Targets:'
	@echo '  demo         boot a guest, walk its cgroups through the kfuncs, take OOMs without and with a policy'
	@echo "  demo-stock   boot a guest with Debian's own kernel, take OOMs without and with a policy; builds no kernel"
	@echo '  demo-server  boot a Debian with systemd and services, install the packages; builds no kernel'
	@echo '  test         boot guests and run all tests, or those that T names; writes build/junit.xml'
	@echo '  test-debug   test, stress, fuzz and fail allocations on kernels with kCFI, KCSAN and KASAN; builds four kernels'
	@echo '  bench        count instructions: kfuncs in C and in Rust, walks over cgroups, OOMs; builds four kernels'
	@echo '  shell        a shell in a guest with the module loaded'
	@echo '  reload       build the module and exchange it in the guest of "make shell"'
	@echo '  ide          write rust-project.json and compile_commands.json for the module'
	@echo '  check        format, lints, prose, patches, documentation, bad input'
	@echo '  matrix       build for other kernels: GCC, in tree, without MEMCG, ...; "check" builds for those in the cache'
	@echo '  module       build rust_bpf_memcontrol.ko for the guest, or for the kernel build in KDIR'
	@echo "  module-stock build it for one of Debian's own kernels, which KERNEL names"
	@echo "  deb          build Debian packages: memcgctl, headers, and the module for the same kernel (build/deb)"
	@echo "  kernel-deb   build these for the patched kernel, and packages of it with Debian's configuration for clouds"
	@echo '               (build/kernel-deb); builds that kernel, some 90 minutes on two cores'
	@echo "  kernel       build the guest's kernel"
	@echo '  doc          build the manual (build/manual) and the documentation of the Rust code (build/doc)'
	@echo '  clean        remove build/'
	@echo '  distclean    remove build/ and the cache'
	@echo
	@echo 'Variables:'
	@echo '  T            with "test", "test-debug": run these tests, globs over SUITE/GROUP/SUBTEST (T=memcontrol_get/self_css)'
	@echo '  LIST=1       with "test", "test-debug": list the tests instead'
	@echo '  QUICK=1      with "test-debug": a part of it, on one kernel'
	@echo '  KDIR         with "module": the build directory of a patched and configured kernel'
	@echo '  KERNEL       with "module-stock", "deb": the release of a kernel (KERNEL=7.3.4+deb13-amd64; default: the running'
	@echo '               one if it fits, or else the newest of the suite)'
	@echo '  KERNEL_TREE  use this kernel source tree for the guest, with its .config if it has one'
	@echo '  CACHE_DIR    keep the build root, kernels and object files there'
	@echo '               (default: $${XDG_CACHE_HOME:-~/.cache}/bpf-memcontrol)'
	@echo "  MIRROR       the Debian mirror to use (default: that of the host's apt configuration)"

test:
	@vm/xtask test $(if $(LIST),--list)

test-debug:
	@vm/xtask test --debug $(if $(QUICK),--quick) $(if $(LIST),--list)

check:
	@vm/xtask check
	@vm/test-errors

demo demo-stock demo-server bench matrix shell reload ide kernel kernel-deb:
	@vm/xtask $@

module:
ifdef KDIR
	@tools/build-module '$(KDIR)'
else
	@vm/xtask build module
	@echo build/module/rust_bpf_memcontrol.ko
endif

module-stock deb:
	@vm/xtask $@ $(if $(KERNEL),'$(KERNEL)')

doc:
	@vm/xtask build module doc manual
	@echo build/manual/index.html build/doc/rust_bpf_memcontrol/index.html

clean:
	rm -rf build

distclean: clean
	@vm/clean
