// SPDX-License-Identifier: GPL-2.0

//! Asks the journal for the last decision that it has: it is the cursor of the service.

use std::fs;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use serde::Deserialize;

use super::entry;
use super::keeper::Keeper;

/// Between two looks at a command.
const LOOK: Duration = Duration::from_millis(50);
/// Between two tries, and their number: journald may be restarting.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: usize = 10;

#[derive(Deserialize)]
struct Found {
    #[serde(rename = "OOM_NUMBER")]
    number: String,
}

/// Waits until the journal has all messages that were sent: journald may still have those of the last
/// service in its socket. Returns false if the service is to stop.
pub fn sync(keeper: &mut Keeper) -> Result<bool> {
    let sync = ["--sync".to_string()];
    for _ in 1..TRIES {
        match journalctl(&sync, keeper) {
            Err(_) => keeper.wait(AGAIN)?,
            synced => return Ok(synced?.is_some()),
        }
    }
    Ok(journalctl(&sync, keeper)?.is_some())
}

/// The number of the last decision of a log that is in the journal, or is lost according to it; 0
/// without any. `None` if the service is to stop.
pub fn last(log: u32, keeper: &mut Keeper) -> Result<Option<u64>> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .context("cannot read the id of this boot")?;
    let found = journalctl(&arguments(log, &boot), keeper)?;
    found.as_deref().map(parse).transpose()
}

/// Only root's messages count: others could hide decisions.
fn arguments(log: u32, boot: &str) -> Vec<String> {
    let options = "--quiet --no-pager --output=json --output-fields=OOM_NUMBER --lines=1 _UID=0";
    let mut arguments: Vec<_> = options.split(' ').map(String::from).collect();
    arguments.extend([
        format!("_BOOT_ID={}", boot.trim_end().replace('-', "")),
        // Two values of a field are alternatives.
        format!("MESSAGE_ID={}", entry::DECISION),
        format!("MESSAGE_ID={}", entry::LOST),
        format!("{}={log}", entry::LOG_ID),
    ]);
    arguments
}

fn parse(output: &str) -> Result<u64> {
    let Some(line) = output.lines().next() else {
        return Ok(0);
    };
    let found: Found = serde_json::from_str(line)
        .with_context(|| format!("journalctl prints a message without number: {line}"))?;
    found
        .number
        .parse()
        .with_context(|| format!("journalctl prints the number {:?}", found.number))
}

/// The output of journalctl, which is shorter than a pipe takes.
fn journalctl(arguments: &[String], keeper: &mut Keeper) -> Result<Option<String>> {
    let mut child = Command::new("journalctl")
        // It would report its own end to the service manager.
        .env_remove("NOTIFY_SOCKET")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run journalctl")?;
    while child.try_wait().context("cannot run journalctl")?.is_none() {
        keeper.wait(LOOK)?;
        if keeper.stops() {
            child.kill().context("cannot end journalctl")?;
            child.wait().context("cannot end journalctl")?;
            return Ok(None);
        }
    }
    let output = child.wait_with_output().context("cannot run journalctl")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!(
            "cannot ask the journal: {}",
            errors.lines().last().unwrap_or("journalctl failed")
        );
    }
    Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_about_one_log_and_this_boot() {
        let arguments = arguments(5, "0b1e6c3a-79a5-4b59-9d9c-0c4d5f3a1b2c\n");
        let matches: Vec<_> = arguments
            .iter()
            .filter(|argument| !argument.starts_with('-'))
            .collect();
        assert_eq!(
            matches,
            [
                "_UID=0",
                "_BOOT_ID=0b1e6c3a79a54b599d9c0c4d5f3a1b2c",
                "MESSAGE_ID=0f6107b345864d608d48005ce0b7f95f",
                "MESSAGE_ID=dc2604ee5ecc440787bba332be97d616",
                "OOM_LOG_ID=5",
            ]
        );
    }

    #[test]
    fn the_last_number_is_that_of_the_message() {
        assert_eq!(parse("").unwrap(), 0);
        let line = r#"{"__CURSOR":"s=1","OOM_NUMBER":"41","_BOOT_ID":"0b1e"}"#;
        assert_eq!(parse(&format!("{line}\n")).unwrap(), 41);
        for odd in [
            "{}",
            "x",
            r#"{"OOM_NUMBER":["1","2"]}"#,
            r#"{"OOM_NUMBER":"-1"}"#,
            r#"{"OOM_NUMBER":null}"#,
        ] {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }
}
