# SPDX-License-Identifier: GPL-2.0
# What people type. How the module is built is in Kbuild, which the kernel's
# build reads instead of this file.

MAKEFLAGS += --no-print-directory

.PHONY: help demo test test-debug bench check matrix shell module kernel doc clean distclean

help:
	@echo 'usage: make TARGET [VARIABLE=VALUE]...'
	@echo
	@echo 'Targets:'
	@echo '  demo       boot a guest, walk its cgroups through the kfuncs, and take an OOM without and with a policy'
	@echo '  test       boot guests and run all tests; results also go to build/junit.xml'
	@echo '  test-debug test, stress, fuzz and fail allocations on kernels that look for what is wrong; builds three more'
	@echo '  bench      count instructions: kfuncs in C and in Rust, walks over cgroups, OOMs; builds four more kernels'
	@echo '  shell      a shell in the guest, with the module loaded'
	@echo '  check      format, clippy, compiler and rustdoc warnings, checkpatch, what is written about kfuncs'
	@echo '  matrix     build for other kernels: GCC, in tree, without MEMCG, ...; "check" builds for those in the cache'
	@echo '  module     build rust_bpf_memcontrol.ko, for the guest or for the kernel build in KDIR'
	@echo '  kernel     build the kernel of the guest'
	@echo '  doc        build the manual, into build/manual, and the documentation of the Rust code, into build/doc'
	@echo '  clean      remove build/'
	@echo '  distclean  remove build/ and the cache'
	@echo
	@echo 'Variables:'
	@echo '  KDIR         with "module": the build directory of a patched and configured kernel'
	@echo '  KERNEL_TREE  use this kernel source tree for the guest, with its .config if it has one'
	@echo '  CACHE_DIR    where the build root, kernels and object files are kept'
	@echo '               (default: $${XDG_CACHE_HOME:-~/.cache}/bpf-memcontrol)'
	@echo "  MIRROR       the Debian mirror to use (default: the one in the host's apt configuration)"

demo:
	@vm/build module policies tools
	@vm/boot -n demo sh -c 'insmod /src/build/module/rust_bpf_memcontrol.ko && /src/demo/run && /src/demo/oom'

test:
	@vm/test

test-debug:
	@vm/test debug

bench:
	@vm/bench

check:
	@vm/check

matrix:
	@vm/matrix

shell:
	@vm/build module policies tools bpftool
	@vm/boot -n shell -t 0 sh -c 'insmod /src/build/module/rust_bpf_memcontrol.ko && exec /src/vm/shell'

module:
ifdef KDIR
	@vm/module '$(KDIR)'
else
	@vm/build module
	@echo build/module/rust_bpf_memcontrol.ko
endif

kernel:
	@vm/kernel >/dev/null

doc:
	@vm/build module doc manual
	@echo build/manual/index.html build/doc/rust_bpf_memcontrol/index.html

clean:
	rm -rf build

distclean: clean
	@vm/clean
