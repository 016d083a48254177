# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts that run outside of the build root: messages, cache, keys, and the
# way into the root.

set -euo pipefail
umask 022
unset MAKELEVEL MAKEFLAGS MFLAGS # they belong to the make that runs these scripts

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$(realpath -m "${CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/bpf-memcontrol}")
suite=trixie
series=7.3

die() {
	echo "${0##*/}: error: $*" >&2
	exit 1
}

case $top$cache in
*[[:space:]]*) die "the paths of the checkout and of the cache must have no spaces: $top, $cache" ;;
esac

# Killing a script also kills everything it started: the kernel signals each process when
# its parent ends. (The process id outlives exec, so this is done once.)
if [ "${bound_to_parent:-}" != "$BASHPID" ] && [ "${BASH_SOURCE[-1]}" = "$0" ]; then
	bound_to_parent=$BASHPID exec setpriv --pdeathsig TERM "$BASH" "$0" "$@"
fi

# step NAME COMMAND...: prints the name and the time that the command took. Its output
# goes to a log; a failure prints the end of it.
exec 3>&2
step() {
	step_name=$1 step_start=$SECONDS
	shift
	mkdir -p "$top/build/log"
	step_log=$top/build/log/${step_name//[^a-zA-Z0-9.]/-}.log
	printf '==> %s ... ' "$step_name" >&3
	trap step_failed EXIT
	"$@" >"$step_log" 2>&1 </dev/null
	trap - EXIT
	echo "$((SECONDS - step_start)) s" >&3
}

step_failed() {
	exec 2>&3
	echo "failed after $((SECONDS - step_start)) s" >&2
	if grep -qi 'no space left on device' "$step_log"; then
		die "$step_name: the disk is full; free some of it, or point CACHE_DIR at another one ($cache)"
	fi
	if grep -qiE 'failure resolving|could not (connect|resolve)|unable to connect|failed to download' "$step_log"; then
		die "$step_name: the network or the mirror does not answer; the whole log is $step_log"
	fi
	tail -n 25 "$step_log" >&2
	die "$step_name failed; the whole log is $step_log"
}

# lock NAME: one run at a time makes NAME; others wait for it.
lock() {
	mkdir -p "$cache" 2>/dev/null || die "cannot write to $cache; set CACHE_DIR to a directory that you can write to"
	exec {lock_fd}>"$cache/$1.lock"
	if ! flock -n "$lock_fd"; then
		echo "==> another run is making the $1; waiting for it" >&2
		flock "$lock_fd"
	fi
}

unlock() {
	exec {lock_fd}>&-
}

# key FILE...: prints a hash of the files, which names a cache entry.
key() {
	cat "$@" | sha256sum | cut -c1-12
}

need_space() {
	local free
	free=$(df --output=avail -BG "$cache" | tail -n 1 | tr -dc 0-9)
	[ "$free" -ge "$1" ] || die "$cache has $free GB free and $1 GB are needed; free some, or set CACHE_DIR"
}

# Root stays root. An ordinary user becomes root of a new user namespace, with the
# subordinate ids that a Debian system needs.
namespace=(setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --propagation private)
if [ "$(id -u)" != 0 ]; then
	namespace+=(--user --map-root-user --map-auto)
fi

root_dir() {
	echo "$cache/root-$(key "$top/vm/packages" "$top/vm/root" <(echo "$suite $series"))"
}

# The mirror that the host's own apt uses, for its own release.
mirror() {
	if [ -n "${MIRROR:-}" ]; then
		echo "$MIRROR"
		return
	fi
	apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 2>/dev/null |
		sed -n 's/^Debian|//p' | sort -u | sed -n 1p
}

# enter COMMAND...: runs COMMAND in the build root, in mount and process namespaces of its
# own, which end with it. The checkout is /src, the cache /cache, and the tree that
# KERNEL_TREE names /mnt.
enter() {
	SERIES=$series HOST_TOP=$top HOST_CACHE=$cache HOST_ROOT=$(root_dir) \
		"${namespace[@]}" "$top/vm/enter" "$@"
}
