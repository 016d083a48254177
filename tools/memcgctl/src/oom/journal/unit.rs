// SPDX-License-Identifier: GPL-2.0

//! The systemd unit that a cgroup belongs to, by its path.

const SUFFIXES: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
const SLICE: &str = ".slice";
/// Limits of systemd.
const NAME_MAX: usize = 255;

/// Units as systemd names them for a process of the cgroup.
#[derive(Debug, Default, PartialEq)]
pub struct Units<'a> {
    /// A unit of the system, such as postgresql.service; the slice if the cgroup is one.
    pub system: Option<&'a str>,
    /// A unit of a user's manager, and the user.
    pub user: Option<(&'a str, u32)>,
}

/// The units of the cgroup with this path.
pub fn of(path: &str) -> Units<'_> {
    let (system, rest) = first(path);
    let user = || {
        let uid = system?.strip_prefix("user@")?.strip_suffix(".service")?;
        Some((first(rest).0?, uid.parse().ok()?))
    };
    Units {
        system,
        user: user(),
    }
}

/// The first unit below the slices that a path begins with, and the rest of the path. If nothing is
/// below them, the last slice.
fn first(path: &str) -> (Option<&str>, &str) {
    let mut slice = None;
    let mut rest = path.trim_start_matches('/');
    while !rest.is_empty() {
        let (component, below) = rest.split_once('/').unwrap_or((rest, ""));
        // systemd's escape of a name that could be one of the kernel's files.
        let name = component.strip_prefix('_').unwrap_or(component);
        if is_name(name, &[SLICE]) {
            slice = Some(name);
            rest = below;
        } else if is_name(name, &SUFFIXES) {
            return (Some(name), below);
        } else {
            return (None, "");
        }
    }
    (slice, "")
}

fn is_name(name: &str, suffixes: &[&str]) -> bool {
    let is_valid = |char: char| char.is_ascii_alphanumeric() || ":-_.\\@".contains(char);
    name.len() <= NAME_MAX
        && name.chars().all(is_valid)
        && suffixes
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|stem| !stem.is_empty() && !stem.starts_with('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_below_slices() {
        for (path, unit) in [
            ("/system.slice/postgresql.service", "postgresql.service"),
            ("/system.slice/a.service/worker/1", "a.service"),
            (
                "/system.slice/system-postgresql.slice/postgresql@17-main.service",
                "postgresql@17-main.service",
            ),
            (
                "/machine.slice/libpod-0af.scope/container",
                "libpod-0af.scope",
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "session-3.scope",
            ),
            ("/init.scope", "init.scope"),
            ("/system.slice/_cgroup.service", "cgroup.service"),
            ("/user.slice/user-1000.slice", "user-1000.slice"),
        ] {
            let units = Units {
                system: Some(unit),
                user: None,
            };
            assert_eq!(of(path), units, "{path}");
        }
    }

    #[test]
    fn a_user_has_units_of_their_own() {
        let manager = "/user.slice/user-1000.slice/user@1000.service";
        for (below, unit) in [
            ("/app.slice/firefox.service", Some("firefox.service")),
            ("/app.slice/app-gnome.slice/x.scope/y", Some("x.scope")),
            ("/app.slice", Some("app.slice")),
            ("/init.scope", Some("init.scope")),
            ("/other", None),
            ("", None),
        ] {
            let path = format!("{manager}{below}");
            let units = of(&path);
            assert_eq!(units.system, Some("user@1000.service"), "{below}");
            assert_eq!(units.user, unit.map(|unit| (unit, 1000)), "{below}");
        }
        let odd = of("/user.slice/user@root.service/app.slice/a.service");
        assert_eq!(odd.user, None);
    }

    #[test]
    fn other_cgroups_have_no_unit() {
        let long = format!("/{}.service", "x".repeat(NAME_MAX));
        for path in [
            "/",
            "",
            "/shop/db.service",
            "/system.slice/a b.service",
            "/system.slice/.service",
            "/system.slice/@1.service",
            "/.slice/x",
            &long,
        ] {
            assert_eq!(of(path), Units::default(), "{path}");
        }
    }
}
