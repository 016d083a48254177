# SPDX-License-Identifier: GPL-2.0
# Sourced by the tests of policies: a slice whose cgroups run out of memory, and results.
. "$(dirname "$0")/../demo/lib.sh"

number=0
slice=policies.slice
memcgctl=$tools/memcgctl

# Four cgroups that hold as much memory as their names say; "hog" will run out of it.
fill() {
	local size
	for size in 16 40 14 hog; do
		mkdir_memory "$slice/$size"
	done
	echo 96M >"$cgroupfs/$slice/memory.max"
	run_in "$slice/16" "$work/memhog" 16M
	run_in "$slice/40" "$work/memhog" 40M
	run_in "$slice/14" "$work/memhog" 7M
	run_in "$slice/14" "$work/memhog" 7M
	await 4
}

# Leaves the decision in $work/decision; nothing when there was none.
take_oom() {
	run_in "$slice/hog" "$work/memhog" 32M
	timeout 60 "$memcgctl" oom watch -n 1 --json >"$work/decision" || true
	sleep 1 # a victim leaves its cgroup some time after the kill
}

# Prints the choice, the verdicts by rank, and the end.
decision() {
	"$tools/decisions" <"$work/decision"
}

# Prints the number of processes that are left in 16, 40, 14 and hog.
left() {
	wc -l "$cgroupfs/$slice"/{16,40,14,hog}/cgroup.procs | sed -n '1,4s/^ *\([0-9]*\) .*/\1/p' | paste -sd' '
}

# check NAME GOT PATTERN
check() {
	local name=$1 result=OK
	number=$((number + 1))
	if [[ $2 != $3 ]]; then
		echo "$name: '$2' instead of '$3'"
		result=FAIL
	fi
	echo "#$number $name:$result"
}

# skip NAME REASON
skip() {
	number=$((number + 1))
	echo "$1:SKIP: $2"
	echo "#$number $1:SKIP"
}

# map_id NAME: prints the id of the attached policy's map with this name.
map_id() {
	local program ids id
	program=$("$memcgctl" oom list --json | sed -n 's/.*"prog_id":\([0-9]*\).*/\1/p')
	ids=$("$tools/bpftool" prog show id "$program" | sed -n 's/.*map_ids \([0-9,]*\).*/\1/p')
	for id in ${ids//,/ }; do
		if [[ $("$tools/bpftool" map show id "$id") == *"name $1 "* ]]; then
			echo "$id"
		fi
	done
}
