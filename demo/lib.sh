# SPDX-License-Identifier: GPL-2.0
# Sourced by the demos and by examples/test: makes cgroups with processes that hold
# memory, and removes them. The script that sources this names its slices in $slices;
# they are removed when it ends. One that loads the module itself sets $unloaded.
set -euo pipefail

cgroupfs=/sys/fs/cgroup
btf=/sys/kernel/btf/rust_bpf_memcontrol
tools=$(realpath "$(dirname "$0")/../build")

fail() {
	echo "demo: $*" >&2
	exit 1
}

say() {
	printf '\n%s\n' "$*"
}

# remove SLICE: kills all processes in the slice and removes it.
remove() {
	local dir=$cgroupfs/$1
	[ -e "$dir" ] || return 0
	echo 1 >"$dir/cgroup.kill"
	until grep -qx 'populated 0' "$dir/cgroup.events"; do
		sleep 0.1
	done
	find "$dir" -depth -type d -exec rmdir {} \;
}

cleanup() {
	local slice
	for slice in "${slices[@]}"; do
		remove "$slice"
	done
	umount "$work/ramfs" "$work/shm" 2>/dev/null || true
	rm -rf "$work"
}

# mkdir_memory CGROUP: makes a cgroup that has the memory controller.
mkdir_memory() {
	local at=$cgroupfs name
	for name in ${1//\// }; do
		if [ ! -d "$at/$name" ]; then
			echo +memory >"$at/cgroup.subtree_control"
			mkdir "$at/$name"
		fi
		at=$at/$name
	done
}

# run_in CGROUP PROGRAM ARGUMENT...: runs a program in the background. It reports when it is
# ready, see await.
run_in() {
	(
		echo "$BASHPID" >"$cgroupfs/$1/cgroup.procs"
		shift
		exec "$@"
	) >&"$ready" &
	disown # else bash announces its end
}

# await N: waits until N processes are ready.
await() {
	local waiting
	for ((waiting = $1; waiting > 0; waiting--)); do
		read -r -t 60 -u "$ready" || fail 'a process did not start'
	done
}

[ -e "$btf" ] || [ -n "${unloaded:-}" ] || fail 'rust_bpf_memcontrol is not loaded'
mountpoint -q "$cgroupfs" || mount -t cgroup2 cgroup2 "$cgroupfs"
for slice in "${slices[@]}"; do
	[ ! -e "$cgroupfs/$slice" ] || fail "$cgroupfs/$slice exists; run this in the guest only (make demo)"
done
work=$(mktemp -d /tmp/demo.XXXXXX)
trap cleanup EXIT
# A copy in memory: it starts faster, and its pages are charged to no cgroup below.
cp "$tools/memhog" "$work/"
mkfifo "$work/ready"
exec {ready}<>"$work/ready"
