# SPDX-License-Identifier: GPL-2.0
# Sourced by the scripts that run on the server (vm/server): its services, and OOMs that hit them.

database=postgresql@17-main.service
psql=/usr/lib/postgresql/17/bin/psql # the one in the path is a script
packages=(memcgctl "rust-bpf-memcontrol-$(uname -r)")

# until_true SECONDS COMMAND...: waits until COMMAND succeeds.
until_true() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.2
	done
}

# A session of the database that holds 250 MB, redis with 100 MB, and reports, each of which grows
# to 100 MB: too much for the machine. The session is the largest process.
make_services() {
	install /src/build/memhog /usr/local/bin/report
	cat >/usr/local/bin/session <<-END
		#!/bin/sh
		exec $psql -qc "do 'declare held text := repeat(''x'', 85000000); begin perform pg_sleep(100000); end'"
	END
	chmod +x /usr/local/bin/session
	cat >/etc/systemd/system/session.service <<-END
		[Unit]
		Requisite=$database
		After=$database
		[Service]
		User=postgres
		ExecStart=/usr/local/bin/session
	END
	cat >/etc/systemd/system/report@.service <<-END
		[Service]
		ExecStart=/usr/local/bin/report 100M
	END
	cat >/etc/systemd/system/upgrade.slice <<-END
		[Slice]
		MemoryMax=60M
	END
	mkdir -p /etc/systemd/system/redis-server.service.d
	cat >/etc/systemd/system/redis-server.service.d/omit.conf <<-END
		[Service]
		ManagedOOMPreference=omit
	END
	systemctl daemon-reload
	systemctl restart redis-server.service
}

# Makes the database and redis hold their memory.
fill_services() {
	redis-cli config set save '' >/dev/null # it would write all of it to the disk
	redis-cli setrange large 100000000 x >/dev/null
	systemctl start session.service
	until_true 60 session_sleeps || {
		echo 'the session does not hold its memory' >&2
		return 1
	}
}

# The session holds its memory.
session_sleeps() {
	local sleeping="select count(*) from pg_stat_activity where wait_event = 'PgSleep'"
	[ "$(runuser -u postgres -- $psql -qtAc "$sleeping" 2>&1)" = 1 ]
}

kills() {
	sed -n 's/^oom_kill //p' /proc/vmstat
}

# Starts the reports, waits until the OOMs are over, and stops those that are left. Leaves the names
# of the processes that were killed in $killed.
take_oom() {
	local from
	from=$(cut -d' ' -f1 /proc/uptime)
	systemctl start report@{1..6}.service
	until_true 120 are_large /sys/fs/cgroup/system.slice/system-report.slice/report@*.service
	killed=$(dmesg | sed -n 's/^\[ *\([0-9.]*\)\].*Killed process [0-9]* (\([^)]*\)).*/\1 \2/p' |
		awk -v from="$from" '$1 > from { n[$2]++ } END { for (name in n) print n[name] " x " name }' |
		sort -k3 | paste -sd, | sed 's/,/, /g')
	systemctl stop 'report@*.service'
	systemctl reset-failed 'report@*.service' 2>/dev/null
}

# are_large CGROUP...: those that are left have grown to 100 MB.
are_large() {
	local cgroup
	for cgroup; do
		[ ! -e "$cgroup" ] || holds 100 "$cgroup" || return 1
	done
}

# holds MEGABYTES CGROUP
holds() {
	[ "$(cat "$2/memory.current" 2>/dev/null || echo 0)" -ge $(($1 << 20)) ]
}

# Prints the services that are up.
alive() {
	local service alive=()
	for service in "${database%%@*}:$database" session:session.service redis:redis-server.service nginx:nginx.service; do
		! systemctl --quiet is-active "${service#*:}" || alive+=("${service%%:*}")
	done
	echo "${alive[*]}"
}

# Starts the database again that lost its session. systemd has asked the rest of it to stop, and
# would wait for an hour.
start_database() {
	systemctl kill -s KILL "$database" 2>/dev/null
	systemctl reset-failed
	systemctl start "$database"
}

# is_alive SERVICES: these are up, and no others.
is_alive() {
	[ "$(alive)" = "$1" ]
}

install_packages() {
	DEBIAN_FRONTEND=noninteractive apt-get install -y -o APT::Sandbox::User=root "$@" 2>&1
}

# The administrator's ten lines.
write_configuration() {
	cat >/etc/bpf-memcontrol/oom.d/server.toml <<-'END'
		[policy."/"]
		object = "priority"

		[[rule]]
		cgroup = "system.slice/system-postgresql.slice/postgresql@*.service"
		class = "omit"
	END
}
