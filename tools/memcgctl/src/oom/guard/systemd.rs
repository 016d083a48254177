// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom guard import-systemd`: what units ask of systemd-oomd, as rules.

use std::io;
use std::io::Write;
use std::process::Command;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;

use super::Share;
use crate::format::printable;

const PROPERTIES: &str = "Id,ControlGroup,ManagedOOMSwap,ManagedOOMMemoryPressure,\
                          ManagedOOMMemoryPressureLimit,ManagedOOMMemoryPressureDurationUSec";
/// The scale of ManagedOOMMemoryPressureLimit= on the bus.
const WHOLE: u64 = u32::MAX as u64;

/// Print the rules that ManagedOOM... settings of units stand for, as a configuration
///
/// Each loaded unit with ManagedOOMMemoryPressure=kill or ManagedOOMSwap=kill gives a rule, with its own
/// limit and time or those of oomd.conf. Nothing is changed: write the rules to a file in
/// /etc/bpf-memcontrol/oom.d, look at them, and apply them. systemd-oomd kills a whole cgroup below the
/// unit. The guard declares an OOM in the unit, and the policy there decides; ManagedOOMPreference=
/// counts for both. Stop systemd-oomd before you apply the rules, or both act.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {}

/// The settings of oomd.conf.
#[derive(Debug, PartialEq)]
struct Defaults {
    limit: String,
    time: String,
    swap: Share,
}

pub fn run(_args: &Args) -> Result<()> {
    let units = output(&mut command(
        "systemctl",
        &["show", "--property", PROPERTIES, "*"],
    ))?;
    let config = output(&mut command(
        "systemd-analyze",
        &["cat-config", "systemd/oomd.conf"],
    ));
    // Without systemd-oomd there is no such file.
    let defaults = defaults(&config.unwrap_or_default());
    let text = rules(&units, &defaults);
    if text.is_empty() {
        eprintln!(
            "memcgctl: no loaded unit has ManagedOOMMemoryPressure=kill or ManagedOOMSwap=kill"
        );
    }
    io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write the rules")
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env("SYSTEMD_PAGER", "");
    command
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}", printable(message.trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn defaults(config: &str) -> Defaults {
    let last = |name: &str, default: &str| {
        let values = config
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        values
            .filter(|value| !value.is_empty())
            .last()
            .unwrap_or(default)
            .to_string()
    };
    Defaults {
        limit: last("DefaultMemoryPressureLimit", "60%"),
        time: last("DefaultMemoryPressureDurationSec", "30s"),
        swap: last("SwapUsedLimit", "90%").parse().unwrap_or(Share(9000)),
    }
}

/// The rules of the units that systemctl describes in blocks, as a configuration.
fn rules(units: &str, defaults: &Defaults) -> String {
    let mut text = String::new();
    for unit in units.split("\n\n") {
        let value = |name: &str| {
            let lines = unit.lines().filter_map(|line| line.split_once('='));
            lines
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value)
                .next()
                .unwrap_or_default()
        };
        let cgroup = match value("ControlGroup") {
            // The root slice has an empty path.
            "" if value("Id") == "-.slice" => "/",
            "" => continue, // it does not run
            path => path,
        };
        let head = format!(
            "# {}\n[[guard]]\ncgroup = {}\n",
            value("Id"),
            quoted(cgroup)
        );
        if value("ManagedOOMMemoryPressure") == "kill" {
            let limit = limit(value("ManagedOOMMemoryPressureLimit"))
                .unwrap_or_else(|| defaults.limit.clone());
            let time = match value("ManagedOOMMemoryPressureDurationUSec") {
                "" | "infinity" | "[not set]" => seconds(&defaults.time),
                time => time.to_string(),
            };
            text += &format!("{head}pressure = \"full10={limit}\"\nfor = \"{time}\"\n\n");
        }
        if value("ManagedOOMSwap") == "kill" {
            // systemd-oomd wants memory to be used up as well as swap.
            let available = Share((10_000 - defaults.swap.0).max(1));
            text += &format!(
                "{head}swap = \"{}\"\navailable = \"{available}\"\nfor = \"0s\"\n\n",
                defaults.swap
            );
        }
    }
    text
}

/// A number without a unit is one of seconds.
fn seconds(time: &str) -> String {
    if time.bytes().all(|c| c.is_ascii_digit()) {
        format!("{time}s")
    } else {
        time.to_string()
    }
}

/// A share, from a percentage or from a part of `WHOLE`; `None` for 0, which stands for the default.
fn limit(value: &str) -> Option<String> {
    if value.ends_with('%') {
        return Some(value.to_string()).filter(|value| value != "0%");
    }
    let hundredths = (value.parse::<u64>().ok()? * 10_000 + WHOLE / 2) / WHOLE;
    (hundredths != 0).then(|| Share(hundredths as u32).to_string())
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_last_settings() {
        let config = "# /etc/systemd/oomd.conf\n[OOM]\n#SwapUsedLimit=90%\nSwapUsedLimit=80%\n\n\
                      DefaultMemoryPressureDurationSec=20\n[OOM]\nSwapUsedLimit=70%\n";
        let expected = Defaults {
            limit: "60%".to_string(),
            time: "20".to_string(),
            swap: Share(7000),
        };
        assert_eq!(defaults(config), expected);
    }

    #[test]
    fn units_become_rules() {
        let units = "\
Id=user@1000.service
ControlGroup=/user.slice/user-1000.slice/user@1000.service
ManagedOOMSwap=auto
ManagedOOMMemoryPressure=kill
ManagedOOMMemoryPressureLimit=2147483648
ManagedOOMMemoryPressureDurationUSec=20s

Id=-.slice
ControlGroup=
ManagedOOMSwap=kill
ManagedOOMMemoryPressure=auto

Id=a.service
ControlGroup=/system.slice/a\\x2db.service
ManagedOOMMemoryPressure=kill
ManagedOOMMemoryPressureLimit=0
ManagedOOMMemoryPressureDurationUSec=[not set]

Id=dead.service
ControlGroup=
ManagedOOMSwap=kill
";
        let expected = r#"# user@1000.service
[[guard]]
cgroup = "/user.slice/user-1000.slice/user@1000.service"
pressure = "full10=50%"
for = "20s"

# -.slice
[[guard]]
cgroup = "/"
swap = "90%"
available = "10%"
for = "0s"

# a.service
[[guard]]
cgroup = '/system.slice/a\x2db.service'
pressure = "full10=60%"
for = "30s"

"#;
        assert_eq!(rules(units, &defaults("")), expected);
    }
}
