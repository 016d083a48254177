// SPDX-License-Identifier: GPL-2.0

//! `decisions`: shortens the decisions that `memcgctl oom watch --json` prints, for a shell test to
//! compare.
//!
//! Prints a line for each decision on stdin: the name of the chosen cgroup, whether all of it or a
//! process was chosen, the verdict on each candidate by rank, and the end: "killed", "dying" for a
//! choice that was dying already, "passed", or "dry" in a dry run. Prints "lost N" for decisions that
//! were lost.

use std::io;
use std::process::ExitCode;

use serde_json::Value;

fn name(path: &Value) -> &str {
    let path = path.as_str().unwrap_or("removed");
    path.rsplit('/').next().unwrap_or(path)
}

fn summary(decision: &Value) -> String {
    if let Some(lost) = decision["lost"].as_u64() {
        return format!("lost {lost}");
    }
    let candidates = decision["candidates"].as_array().into_iter().flatten();
    let verdict = |candidate: &Value| {
        format!(
            "{}={}",
            name(&candidate["path"]),
            candidate["verdict"].as_str().unwrap_or("none")
        )
    };
    let chosen = match (&decision["chosen_id"], &decision["chosen_pid"]) {
        (Value::Null, _) => "nothing".to_string(),
        (_, Value::Null) => format!("{} cgroup", name(&decision["chosen_path"])),
        _ => format!("{} process", name(&decision["chosen_path"])),
    };
    let end = match (decision["result"].as_i64(), &decision["chosen_id"]) {
        _ if decision["dry_run"] == true => "dry",
        (Some(1..), _) => "killed",
        (Some(0), Value::Number(_)) => "dying",
        _ => "passed",
    };
    let mut words = vec![chosen];
    words.extend(candidates.map(verdict));
    words.push(end.to_string());
    words.join(" ")
}

fn main() -> ExitCode {
    for line in io::stdin().lines() {
        let decision = line.and_then(|line| Ok(serde_json::from_str(&line)?));
        match decision {
            Ok(decision) => println!("{}", summary(&decision)),
            Err(error) => {
                eprintln!("decisions: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summarize(json: &str) -> String {
        summary(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_summary_has_the_choice_the_verdicts_and_the_end() {
        assert_eq!(
            summarize(
                r#"{"chosen_path":"/a/40","chosen_id":7,"chosen_pid":null,"dry_run":false,"result":2,"candidates":[
                {"path":"/a/40","verdict":"chosen"},{"path":null,"verdict":"smaller"}]}"#
            ),
            "40 cgroup 40=chosen removed=smaller killed"
        );
        assert_eq!(
            summarize(
                r#"{"chosen_path":"/a","chosen_id":7,"chosen_pid":9,"dry_run":true,"result":0}"#
            ),
            "a process dry"
        );
        assert_eq!(
            summarize(
                r#"{"chosen_path":"/a","chosen_id":7,"chosen_pid":9,"dry_run":false,"result":0}"#
            ),
            "a process dying"
        );
        assert_eq!(
            summarize(
                r#"{"chosen_path":null,"chosen_id":null,"chosen_pid":null,"dry_run":false,"result":-3}"#
            ),
            "nothing passed"
        );
        assert_eq!(summarize(r#"{"lost":3,"policy":"largest"}"#), "lost 3");
    }
}
