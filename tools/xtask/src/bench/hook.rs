// SPDX-License-Identifier: GPL-2.0

//! The instructions that the hook of the series adds to an OOM without a policy.

use anyhow::Context;
use anyhow::Result;

use super::Counts;
use super::Limits;
use super::Report;

pub fn check(counts: &Counts, limits: &Limits, report: &mut Report) -> Result<()> {
    let stock = count(counts, "hook-stock")?;
    let series = count(counts, "hook-series")?;
    let module = count(counts, "hook-module")?;
    report.line("");
    report.line(format!(
        "{:<62}{:>14}",
        "from the start of out_of_memory() to select_bad_process()", "instructions"
    ));
    for (kernel, instructions) in [
        ("Linux", stock),
        ("Linux with the series", series),
        (
            "Linux with the series and the module, without a policy",
            module,
        ),
    ] {
        report.line(format!("  {kernel:<60}{instructions:14}"));
        if instructions as f64 > limits.hook * stock as f64 {
            report.problem(format!(
                "an OOM without a policy costs more than {:.0} % more than Linux's: {instructions} instructions instead \
                 of {stock}",
                (limits.hook - 1.0) * 100.0
            ));
        }
    }
    Ok(())
}

/// Returns the number that a guest printed last.
fn count(counts: &Counts, guest: &str) -> Result<u64> {
    let words = counts.each(guest, |words| Ok(words[0].to_owned()))?;
    let last = words.last().with_context(|| format!("{guest}: empty"))?;
    last.parse().with_context(|| format!("{guest}: {last}"))
}
