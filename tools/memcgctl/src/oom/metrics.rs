// SPDX-License-Identifier: GPL-2.0

//! `memcgctl oom metrics`: counters for monitoring, as an OpenMetrics page.

use std::fmt;
use std::io;
use std::io::Write;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use anyhow::Context;
use anyhow::Result;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use super::journal::state;
use super::journal::state::State;
use super::journal::state::Totals;
use super::log;
use super::policy::Policies;
use super::policy::Policy;
use crate::cgroup::Paths;
use crate::format::write_atomically;

/// Print counters of OOM policies for monitoring
///
/// Prints an OpenMetrics page. The counters memcg_oom_policy_* are those of memcgctl oom list: they
/// begin at zero when a policy is attached or replaced. All others are totals since the boot, which
/// the service bpf-memcontrol-journal (memcgctl oom journal) counts; the page has them once it has
/// run.
#[derive(clap::Args)]
#[command(
    verbatim_doc_comment,
    after_long_help = "\
Examples:
  memcgctl oom metrics
  memcgctl oom metrics -o /var/lib/prometheus/node-exporter/memcg_oom.prom
                          for the textfile collector of node_exporter, from a timer"
)]
pub struct Args {
    /// Write to this file, which always has one whole page
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let page = Page {
        policies: policies()?,
        totals: State::read(&state::dir())?,
    };
    let text = page.text()?;
    match &args.output {
        Some(path) => write_atomically(path, &text),
        None => io::stdout()
            .write_all(text.as_bytes())
            .context("cannot write the page"),
    }
}

fn policies() -> Result<Vec<Attached>> {
    let mut storage = MaybeUninit::uninit();
    let policies = Policies::load(&mut storage)?.list()?;
    let paths = Paths::read()?;
    let attached = |policy: Policy| Attached {
        cgroup: paths.place(policy.cgroup_id).to_string(),
        // It may be gone, or may have a map of that name which is something else.
        dropped: log::open(&policy).and_then(|log| log.dropped()).ok(),
        policy,
    };
    Ok(policies.into_iter().map(attached).collect())
}

#[derive(Debug)]
struct Attached {
    policy: Policy,
    cgroup: String,
    dropped: Option<u64>,
}

#[derive(Debug)]
struct Page {
    policies: Vec<Attached>,
    totals: Option<State>,
}

type Labels = Vec<(&'static str, String)>;

fn labels(policy: &str, cgroup: &str) -> Labels {
    vec![
        ("policy", policy.to_string()),
        ("cgroup", cgroup.to_string()),
    ]
}

impl Page {
    fn text(self) -> Result<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry)?;
        Ok(text)
    }

    /// A counter of the attached policies, without those that do not have it.
    fn of_policies(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        (name, help, unit): (&str, &str, &str),
        value: impl Fn(&Attached) -> Option<u64>,
    ) -> fmt::Result {
        let samples = self.policies.iter().filter_map(|attached| {
            let labels = labels(&attached.policy.name, &attached.cgroup);
            Some((labels, ConstCounter::new(value(attached)?)))
        });
        family(encoder, (name, help, unit), samples)
    }

    /// A metric of the totals, in which each policy has any number of samples.
    fn of_totals<M: EncodeMetric, I: IntoIterator<Item = (Labels, M)>>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        about: (&str, &str, &str),
        samples: impl Fn(&Totals) -> I,
    ) -> fmt::Result {
        let policies = self.totals.iter().flat_map(|state| &state.policies);
        let samples = policies.flat_map(|totals| {
            let of_policy = labels(&totals.policy, &totals.cgroup);
            samples(totals)
                .into_iter()
                .map(move |(more, value)| ([of_policy.clone(), more].concat(), value))
        });
        family(encoder, about, samples)
    }
}

/// Encodes a metric, if it has a sample.
fn family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, &str),
    samples: impl IntoIterator<Item = (Labels, M)>,
) -> fmt::Result {
    let mut samples = samples.into_iter().peekable();
    let Some((_, first)) = samples.peek() else {
        return Ok(());
    };
    let unit = Unit::Other(unit.to_string());
    let metric_type = first.metric_type();
    let mut metric = encoder.encode_descriptor(name, help, Some(&unit), metric_type)?;
    for (labels, value) in samples {
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        self.of_policies(
            encoder,
            (
                "memcg_oom_policy_handled",
                "OOMs that the attached policy settled",
                "ooms",
            ),
            |attached| Some(attached.policy.handled),
        )?;
        self.of_policies(
            encoder,
            (
                "memcg_oom_policy_passed",
                "OOMs that the attached policy passed on",
                "ooms",
            ),
            |attached| Some(attached.policy.passed),
        )?;
        self.of_policies(
            encoder,
            (
                "memcg_oom_policy_no_progress",
                "OOMs that the attached policy claimed to have handled, and did not settle",
                "ooms",
            ),
            |attached| Some(attached.policy.no_progress),
        )?;
        self.of_policies(
            encoder,
            (
                "memcg_oom_policy_killed",
                "Processes that the attached policy killed",
                "processes",
            ),
            |attached| Some(attached.policy.kills),
        )?;
        self.of_policies(
            encoder,
            (
                "memcg_oom_policy_dropped",
                "Decisions that the log of the attached policy no longer has",
                "decisions",
            ),
            |attached| attached.dropped,
        )?;
        self.of_totals(
            encoder,
            (
                "memcg_oom",
                "Decisions since the boot, by their outcome",
                "decisions",
            ),
            |totals| {
                let sample = |(outcome, count): (&super::decision::Outcome, &u64)| {
                    (
                        vec![("result", outcome.name().to_string())],
                        ConstCounter::new(*count),
                    )
                };
                totals.decisions.iter().map(sample).collect::<Vec<_>>()
            },
        )?;
        self.of_totals(
            encoder,
            (
                "memcg_oom_killed",
                "Processes killed since the boot, by the source of the class and the number of the rule",
                "processes",
            ),
            |totals| {
                let sample = |kills: &state::Kills| {
                    let rule = kills.rule.map(|rule| rule.to_string());
                    (
                        vec![
                            ("source", kills.source.clone()),
                            ("rule", rule.unwrap_or_default()),
                        ],
                        ConstCounter::new(kills.processes),
                    )
                };
                totals.kills.iter().map(sample).collect::<Vec<_>>()
            },
        )?;
        self.of_totals(
            encoder,
            (
                "memcg_oom_lost",
                "Decisions since the boot that the journal does not have",
                "decisions",
            ),
            |totals| [(Labels::new(), ConstCounter::new(totals.lost))],
        )?;
        self.of_totals(
            encoder,
            (
                "memcg_oom_last_decision_timestamp",
                "Time of the last decision, since 1970",
                "seconds",
            ),
            |totals| {
                let seconds = i64::try_from(totals.last).unwrap_or(i64::MAX);
                (totals.last != 0).then(|| (Labels::new(), ConstGauge::new(seconds)))
            },
        )?;
        let hook = self.totals.iter().flat_map(|state| &state.hook);
        family(
            encoder,
            (
                "memcg_oom_hook",
                "Runs of the hook since the boot, by their end",
                "runs",
            ),
            hook.map(|(ending, count)| {
                (
                    vec![("result", ending.name().to_string())],
                    ConstCounter::new(*count),
                )
            }),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oom::follow::tests::policy;
    use crate::oom::journal::state::tests::state;

    fn page(totals: Option<State>) -> Page {
        let mut largest = policy("largest");
        (largest.handled, largest.passed, largest.kills) = (3, 1, 7);
        Page {
            policies: vec![
                Attached {
                    policy: largest,
                    cgroup: "/".to_string(),
                    dropped: Some(488),
                },
                Attached {
                    policy: policy("a\"b\\c\nd"),
                    cgroup: "/shop".to_string(),
                    dropped: None,
                },
            ],
            totals,
        }
    }

    const POLICIES: &str = r#"# HELP memcg_oom_policy_handled_ooms OOMs that the attached policy settled
# TYPE memcg_oom_policy_handled_ooms counter
# UNIT memcg_oom_policy_handled_ooms ooms
memcg_oom_policy_handled_ooms_total{policy="largest",cgroup="/"} 3
memcg_oom_policy_handled_ooms_total{policy="a\"b\\c\nd",cgroup="/shop"} 0
# HELP memcg_oom_policy_passed_ooms OOMs that the attached policy passed on
# TYPE memcg_oom_policy_passed_ooms counter
# UNIT memcg_oom_policy_passed_ooms ooms
memcg_oom_policy_passed_ooms_total{policy="largest",cgroup="/"} 1
memcg_oom_policy_passed_ooms_total{policy="a\"b\\c\nd",cgroup="/shop"} 0
# HELP memcg_oom_policy_no_progress_ooms OOMs that the attached policy claimed to have handled, and did not settle
# TYPE memcg_oom_policy_no_progress_ooms counter
# UNIT memcg_oom_policy_no_progress_ooms ooms
memcg_oom_policy_no_progress_ooms_total{policy="largest",cgroup="/"} 0
memcg_oom_policy_no_progress_ooms_total{policy="a\"b\\c\nd",cgroup="/shop"} 0
# HELP memcg_oom_policy_killed_processes Processes that the attached policy killed
# TYPE memcg_oom_policy_killed_processes counter
# UNIT memcg_oom_policy_killed_processes processes
memcg_oom_policy_killed_processes_total{policy="largest",cgroup="/"} 7
memcg_oom_policy_killed_processes_total{policy="a\"b\\c\nd",cgroup="/shop"} 0
# HELP memcg_oom_policy_dropped_decisions Decisions that the log of the attached policy no longer has
# TYPE memcg_oom_policy_dropped_decisions counter
# UNIT memcg_oom_policy_dropped_decisions decisions
memcg_oom_policy_dropped_decisions_total{policy="largest",cgroup="/"} 488
"#;

    const TOTALS: &str = r#"# HELP memcg_oom_decisions Decisions since the boot, by their outcome
# TYPE memcg_oom_decisions counter
# UNIT memcg_oom_decisions decisions
memcg_oom_decisions_total{policy="largest",cgroup="/shop",result="killed"} 4
# HELP memcg_oom_killed_processes Processes killed since the boot, by the source of the class and the number of the rule
# TYPE memcg_oom_killed_processes counter
# UNIT memcg_oom_killed_processes processes
memcg_oom_killed_processes_total{policy="largest",cgroup="/shop",source="default",rule=""} 6
memcg_oom_killed_processes_total{policy="largest",cgroup="/shop",source="rule",rule="2"} 3
memcg_oom_killed_processes_total{policy="largest",cgroup="/shop",source="rule",rule="3"} 3
# HELP memcg_oom_lost_decisions Decisions since the boot that the journal does not have
# TYPE memcg_oom_lost_decisions counter
# UNIT memcg_oom_lost_decisions decisions
memcg_oom_lost_decisions_total{policy="largest",cgroup="/shop"} 1
# HELP memcg_oom_last_decision_timestamp_seconds Time of the last decision, since 1970
# TYPE memcg_oom_last_decision_timestamp_seconds gauge
# UNIT memcg_oom_last_decision_timestamp_seconds seconds
memcg_oom_last_decision_timestamp_seconds{policy="largest",cgroup="/shop"} 1020
# HELP memcg_oom_hook_runs Runs of the hook since the boot, by their end
# TYPE memcg_oom_hook_runs counter
# UNIT memcg_oom_hook_runs runs
memcg_oom_hook_runs_total{result="ok"} 1
memcg_oom_hook_runs_total{result="dropped"} 2
"#;

    #[test]
    fn the_page_is_complete() {
        assert_eq!(
            page(Some(state())).text().unwrap(),
            format!("{POLICIES}{TOTALS}# EOF\n")
        );
    }

    #[test]
    fn without_the_service_the_page_has_the_policies() {
        assert_eq!(page(None).text().unwrap(), format!("{POLICIES}# EOF\n"));
        let empty = Page {
            policies: Vec::new(),
            totals: Some(State::default()),
        };
        assert_eq!(empty.text().unwrap(), "# EOF\n");
    }
}
