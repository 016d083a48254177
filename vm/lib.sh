# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts beside it: messages, cache, keys, and the way into the
# build root.

set -euo pipefail
umask 022
unset MAKELEVEL MAKEFLAGS MFLAGS # of the make that runs these scripts; what they run is another

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$(realpath -m "${CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/bpf-memcontrol}")
suite=trixie
series=7.3
jobs=$(nproc)

die() {
	echo "${0##*/}: error: $*" >&2
	exit 1
}

case $top$cache in
*[[:space:]]*) die "the paths of the checkout and of the cache must have no spaces: $top, $cache" ;;
esac

# Whoever kills a script kills what it runs, however deep: every process is told
# of its parent's end. (The process id outlives exec, so this is done once.)
if [ "${bound_to_parent:-}" != "$BASHPID" ] && [ "${BASH_SOURCE[-1]}" = "$0" ]; then
	bound_to_parent=$BASHPID exec setpriv --pdeathsig TERM "$BASH" "$0" "$@"
fi

# step WHAT COMMAND...: says what runs and how long it took; the output goes to
# a log, of which a failure shows the end.
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

# lock NAME: one run at a time makes NAME; the others wait for it.
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

# key FILE...: what the cache is keyed by.
key() {
	cat "$@" | sha256sum | cut -c1-12
}

need_space() {
	local free
	free=$(df --output=avail -BG "$cache" | tail -n 1 | tr -dc 0-9)
	[ "$free" -ge "$1" ] || die "$cache has $free GB free and $1 GB are needed; free some, or set CACHE_DIR"
}

# require CAUSE OPTION...: each OPTION ("NAME=y", "NAME=n") holds in the kernel
# that is configured in $build.
require() {
	local cause=$1 option
	shift
	for option; do
		case $option in
		*=n) ! grep -q "^CONFIG_${option%=n}=" "$build/.config" ;;
		*) grep -q "^CONFIG_$option\$" "$build/.config" ;;
		esac || die "CONFIG_$option does not hold in ${KERNEL_TREE:-the configured kernel}: $cause"
	done
}

# Root stays root. An ordinary user becomes root of a user namespace of their
# own, with the subordinate ids that a Debian system needs.
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

# enter [NAME=DIR]... -- COMMAND...: runs COMMAND in the build root, in mount
# and process namespaces of its own, so that nothing outlives it. The checkout
# is /src, the cache /cache, and each DIR is mounted on /NAME.
enter() {
	"${namespace[@]}" "$top/vm/enter" "$(root_dir)" "$top" "$cache" "$@"
}
