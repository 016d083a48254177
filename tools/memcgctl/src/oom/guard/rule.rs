// SPDX-License-Identifier: GPL-2.0

//! Rules of the guard: which cgroups, which conditions, and which action.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::anyhow;
use anyhow::bail;
use anyhow::Context;
use anyhow::Error;
use anyhow::Result;
use memcgbpf::records::oom_guard_rule;
use memcgbpf::records::OOM_GUARD_APPLIED;
use memcgbpf::records::OOM_GUARD_AVAILABLE;
use memcgbpf::records::OOM_GUARD_CONDITIONS;
use memcgbpf::records::OOM_GUARD_DRY_RUN;
use memcgbpf::records::OOM_GUARD_PRESSURE;
use memcgbpf::records::OOM_GUARD_SWAP;
use memcgbpf::records::OOM_GUARD_USAGE;

use super::super::rules::Pattern;
use crate::format::printable;

/// The averages of PSI, in the order of `oom_guard_rule.average`.
const AVERAGES: [&str; 6] = ["some10", "some60", "some300", "full10", "full60", "full300"];
/// Hundredths of a percent.
const WHOLE: u32 = 10_000;
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

/// The time for which conditions have to hold, unless a rule has another one.
pub const FOR: Duration = Duration::from_secs(10);
/// The time after an action, unless a rule has another one.
pub const COOLDOWN: Duration = Duration::from_secs(15);

/// A share of time or memory, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Share(pub u32);

impl FromStr for Share {
    type Err = Error;

    /// Reads `40%` or `0.25%`.
    fn from_str(text: &str) -> Result<Self> {
        let share = || {
            let (whole, part) = text
                .strip_suffix('%')?
                .split_once('.')
                .unwrap_or((text.strip_suffix('%')?, ""));
            if part.len() > 2
                || !whole
                    .bytes()
                    .chain(part.bytes())
                    .all(|c| c.is_ascii_digit())
            {
                return None;
            }
            let share = format!("{whole}{part:0<2}").parse().ok()?;
            (1..=WHOLE).contains(&share).then_some(Self(share))
        };
        share().with_context(|| {
            format!(
                "\"{}\" is not a share: a percentage above 0 and up to 100, such as 40% or 0.25%",
                printable(text)
            )
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

/// An average of PSI, and the share of time from which on it is too much.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pressure {
    average: usize,
    limit: Share,
}

impl FromStr for Pressure {
    type Err = Error;

    /// Reads `full10=40%`.
    fn from_str(text: &str) -> Result<Self> {
        let (name, limit) = text.split_once('=').unwrap_or((text, ""));
        let average = AVERAGES.iter().position(|average| *average == name);
        let (Some(average), false) = (average, limit.is_empty()) else {
            bail!(
                "\"{}\" is no pressure: one of {}, and its limit, such as full10=40%",
                printable(text),
                AVERAGES.join(", ")
            );
        };
        Ok(Self {
            average,
            limit: limit.parse()?,
        })
    }
}

/// The conditions of a rule, all of which have to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    pub pressure: Option<Pressure>,
    pub usage: Option<Share>,
    pub swap: Option<Share>,
    pub available: Option<Share>,
}

impl Conditions {
    /// The limits, by the numbers of `enum oom_guard_condition`.
    fn limits(&self) -> [Option<Share>; OOM_GUARD_CONDITIONS as usize] {
        let mut limits = [None; OOM_GUARD_CONDITIONS as usize];
        limits[OOM_GUARD_PRESSURE as usize] = self.pressure.map(|pressure| pressure.limit);
        limits[OOM_GUARD_USAGE as usize] = self.usage;
        limits[OOM_GUARD_SWAP as usize] = self.swap;
        limits[OOM_GUARD_AVAILABLE as usize] = self.available;
        limits
    }

    /// Bits, by the same numbers.
    fn kinds(&self) -> u32 {
        (0..).zip(self.limits()).fold(0, |kinds, (bit, limit)| {
            kinds | (u32::from(limit.is_some()) << bit)
        })
    }

    /// The figures that the guard has for the conditions, with their names.
    pub fn figures(&self, figures: [u32; OOM_GUARD_CONDITIONS as usize]) -> Vec<(String, Share)> {
        let limits = self.limits();
        self.names()
            .into_iter()
            .zip(figures)
            .zip(limits)
            .filter(|(_, limit)| limit.is_some())
            .map(|((name, figure), _)| (name.to_string(), Share(figure)))
            .collect()
    }

    fn names(&self) -> [&'static str; OOM_GUARD_CONDITIONS as usize] {
        let average = self
            .pressure
            .map_or("", |pressure| AVERAGES[pressure.average]);
        [average, "usage", "swap", "available"]
    }

    pub fn limits_by_name(&self) -> Vec<(String, Share)> {
        let limits = self.limits().into_iter();
        let named = self.names().into_iter().zip(limits);
        named
            .filter_map(|(name, limit)| Some((name.to_string(), limit?)))
            .collect()
    }
}

/// `full10 >= 40% and available <= 5%`
impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self
            .limits_by_name()
            .into_iter()
            .map(|(name, limit)| {
                let sign = if name == "available" { "<=" } else { ">=" };
                format!("{name} {sign} {limit}")
            })
            .collect();
        f.write_str(&words.join(" and "))
    }
}

/// A rule. Those with the same pattern and the same kinds of conditions are one rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// 0 until the guard has it.
    pub id: u32,
    pub pattern: Pattern,
    pub conditions: Conditions,
    pub holds_for: Duration,
    pub cooldown: Duration,
    /// From SIGTERM to the kill.
    pub term: Option<Duration>,
    pub dry_run: bool,
    /// It is one of the configuration's.
    pub applied: bool,
}

impl Rule {
    /// Fails for conditions that the cgroup cannot have.
    pub fn check(&self) -> Result<()> {
        let Conditions { usage, .. } = self.conditions;
        if self.conditions.kinds() == 0 {
            bail!("a rule needs a condition: pressure, usage, swap or available");
        }
        if usage.is_some() && self.pattern.components().is_empty() {
            bail!("the root has no limit that its usage could come near: use available, or name a cgroup");
        }
        Ok(())
    }

    /// Whether it takes the place of another rule.
    pub fn replaces(&self, other: &Self) -> bool {
        self.pattern == other.pattern && self.conditions.kinds() == other.conditions.kinds()
    }

    /// Whether the two differ in more than their ids.
    pub fn differs(&self, other: &Self) -> bool {
        Self {
            id: other.id,
            ..self.clone()
        } != *other
    }

    pub fn record(&self) -> oom_guard_rule {
        let ns = |time: Duration| time.as_nanos() as u64;
        let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
        oom_guard_rule {
            for_ns: ns(self.holds_for),
            cooldown_ns: ns(self.cooldown),
            term_ns: self.term.map_or(0, ns),
            id: self.id,
            flags: flag(self.dry_run, OOM_GUARD_DRY_RUN) | flag(self.applied, OOM_GUARD_APPLIED),
            conditions: self.conditions.kinds(),
            average: self
                .conditions
                .pressure
                .map_or(0, |pressure| pressure.average as u32),
            limits: self
                .conditions
                .limits()
                .map(|limit| limit.map_or(0, |share| share.0)),
        }
    }

    pub fn read(record: &oom_guard_rule, pattern: Pattern) -> Result<Self> {
        let limit = |kind: u32| {
            (record.conditions & (1 << kind) != 0).then_some(Share(record.limits[kind as usize]))
        };
        let average = record.average as usize;
        if average >= AVERAGES.len() || record.conditions >> OOM_GUARD_CONDITIONS != 0 {
            bail!("the guard's rule {} is malformed", record.id);
        }
        Ok(Self {
            id: record.id,
            pattern,
            conditions: Conditions {
                pressure: limit(OOM_GUARD_PRESSURE).map(|limit| Pressure { average, limit }),
                usage: limit(OOM_GUARD_USAGE),
                swap: limit(OOM_GUARD_SWAP),
                available: limit(OOM_GUARD_AVAILABLE),
            },
            holds_for: Duration::from_nanos(record.for_ns),
            cooldown: Duration::from_nanos(record.cooldown_ns),
            term: Some(Duration::from_nanos(record.term_ns)).filter(|time| !time.is_zero()),
            dry_run: record.flags & OOM_GUARD_DRY_RUN != 0,
            applied: record.flags & OOM_GUARD_APPLIED != 0,
        })
    }
}

/// `full10 >= 40% for 20s in /user.slice`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} for {} in {}",
            self.conditions,
            humantime::format_duration(self.holds_for),
            printable(&self.pattern.to_string())
        )?;
        if let Some(term) = self.term {
            write!(f, " (SIGTERM {} before)", humantime::format_duration(term))?;
        }
        if self.dry_run {
            f.write_str(" (dry run)")?;
        }
        Ok(())
    }
}

/// Reads a time of a rule.
pub fn time(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text)
        .map_err(|error| anyhow!("\"{}\" is not a time: {error}", printable(text)))?;
    if time > MAX_TIME {
        bail!(
            "{} is too long: a time of the guard is at most a day",
            printable(text)
        );
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(pattern: &str, conditions: Conditions) -> Rule {
        Rule {
            id: 3,
            pattern: pattern.parse().unwrap(),
            conditions,
            holds_for: Duration::from_secs(20),
            cooldown: Duration::from_secs(15),
            term: Some(Duration::from_secs(5)),
            dry_run: true,
            applied: false,
        }
    }

    #[test]
    fn shares_are_percentages() {
        for (text, share) in [
            ("40%", 4000),
            ("0.25%", 25),
            ("99.5%", 9950),
            ("100%", 10_000),
        ] {
            let read: Share = text.parse().unwrap();
            assert_eq!(read, Share(share));
            assert_eq!(read.to_string(), text);
        }
        for text in [
            "", "%", "40", "0%", "100.01%", "-1%", "1.234%", "4e1%", "40 %",
        ] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn pressure_is_an_average_and_a_limit() {
        let pressure: Pressure = "some60=12.5%".parse().unwrap();
        assert_eq!((pressure.average, pressure.limit), (1, Share(1250)));
        assert_eq!(
            "full10=1%".parse::<Pressure>().unwrap(),
            Pressure {
                average: 3,
                limit: Share(100)
            }
        );
        for text in [
            "",
            "full10",
            "full10=",
            "full20=4%",
            "full10=4",
            "full10:4%",
        ] {
            assert!(text.parse::<Pressure>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_survives_its_record() {
        let all = Conditions {
            pressure: Some("full300=40%".parse().unwrap()),
            usage: Some(Share(9500)),
            swap: Some(Share(1)),
            available: Some(Share(500)),
        };
        for conditions in [
            all,
            Conditions { usage: None, ..all },
            Conditions {
                swap: all.swap,
                ..Default::default()
            },
        ] {
            let rule = rule("/a/*", conditions);
            assert_eq!(
                Rule::read(&rule.record(), rule.pattern.clone()).unwrap(),
                rule
            );
        }
        let mut record = rule("/a", all).record();
        record.average = 6;
        assert!(Rule::read(&record, "/a".parse().unwrap()).is_err());
    }

    #[test]
    fn a_rule_in_words() {
        let conditions = Conditions {
            pressure: Some("full10=40%".parse().unwrap()),
            available: Some(Share(500)),
            ..Default::default()
        };
        assert_eq!(
            rule("a", conditions).to_string(),
            "full10 >= 40% and available <= 5% for 20s in /a (SIGTERM 5s before) (dry run)"
        );
    }

    #[test]
    fn kinds_of_conditions_tell_rules_apart() {
        let swap = |share| Conditions {
            swap: Some(Share(share)),
            ..Default::default()
        };
        let usage = Conditions {
            usage: Some(Share(1)),
            ..Default::default()
        };
        assert!(rule("a", swap(1)).replaces(&rule("/a", swap(2))));
        assert!(!rule("a", swap(1)).replaces(&rule("a", usage)));
        assert!(!rule("a", swap(1)).replaces(&rule("b", swap(1))));
        assert!(rule("a", swap(1)).check().is_ok());
        assert!(rule("a", Conditions::default()).check().is_err());
        assert!(rule("/", usage).check().is_err());
        assert!(rule("/", swap(1)).check().is_ok());
    }
}
