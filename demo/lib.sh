# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts beside it: cgroups with processes that hold memory, and
# their end. What is in $slices is made, and removed, by whoever sources this.
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

# remove SLICE: with all that is in it.
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

# A cgroup whose ancestors all pass the memory controller down.
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

# run_in CGROUP PROGRAM ARGUMENT...: in the background; it says when it is ready.
run_in() {
	(
		echo "$BASHPID" >"$cgroupfs/$1/cgroup.procs"
		shift
		exec "$@"
	) >&"$ready" &
	disown # bash would announce its end
}

# await N: waits until N processes are ready.
await() {
	local waiting
	for ((waiting = $1; waiting > 0; waiting--)); do
		read -r -t 60 -u "$ready" || fail 'a process did not start'
	done
}

[ -e "$btf" ] || fail 'rust_bpf_memcontrol is not loaded'
mountpoint -q "$cgroupfs" || mount -t cgroup2 cgroup2 "$cgroupfs"
for slice in "${slices[@]}"; do
	[ ! -e "$cgroupfs/$slice" ] || fail "$cgroupfs/$slice exists; this is for the guest (make demo)"
done
work=$(mktemp -d /tmp/demo.XXXXXX)
trap cleanup EXIT
# A copy in memory: it starts faster, and its pages are charged to no cgroup below.
cp "$tools/memhog" "$work/"
mkfifo "$work/ready"
exec {ready}<>"$work/ready"
