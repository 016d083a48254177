// SPDX-License-Identifier: GPL-2.0

//! The patterns of English that has to be read twice. A new one needs a line in the table, with a
//! sentence that it must find and a similar one that it must not.

use std::sync::LazyLock;

use regex::Regex;

pub struct Pattern {
    /// A regular expression; with `opening`, it is matched at the start of a sentence only, and a
    /// question may start so.
    pub words: &'static str,
    pub opening: bool,
    pub advice: &'static str,
    /// A sentence that it must find, for the unit tests.
    #[cfg_attr(not(test), expect(dead_code))]
    pub bad: &'static str,
    /// A sentence that it must not find.
    #[cfg_attr(not(test), expect(dead_code))]
    pub good: &'static str,
}

/// Idioms that contain a pattern and are good English.
pub const ALLOWED: &str = r"(?xi)\b(?:
    of\ course | when\ it\ comes\ to | which\ (?:means|is\ why|is\ how)
    | questions?\ and\ answers? | short\ answer | answer(?:s|ed)?\ (?:a|the|this|these|that)\ questions? | does\ not\ answer
    | (?:regardless|irrespective|idea|sense)\ of\ what
    | (?:similar|equal|close|identical|compared|opposite|equivalent)\ to\ what | (?:different|differs?)\ from\ what
)\b";

const NAME_IT: &str =
    "start with the thing itself (\"dmesg says why\", not \"What is wrong is in dmesg\")";
const NAME_THE_CALLER: &str = "name the subject: the caller, the process, another task";

pub const PATTERNS: &[Pattern] = &[
    Pattern {
        words: r"^What\b(?:'s)?",
        opening: true,
        advice: NAME_IT,
        bad: "What is wrong, is in dmesg.",
        good: "If it fails to load, dmesg says why. What is wrong?",
    },
    Pattern {
        words: r"^(?:Who|Whom|Whose)\b",
        opening: true,
        advice: NAME_IT,
        bad: "Who is asked",
        good: "The policies that are asked. Who decides?",
    },
    Pattern {
        words: r"^Which\b",
        opening: true,
        advice: NAME_IT,
        bad: "Which policies the verifier refuses.",
        good: "The policies that the verifier refuses. Which one?",
    },
    Pattern {
        words: r"^That (?:of|those|an?|the|every|each|no|nothing|nobody|any|all|it|they|there|its|their|what|which|some|many of)\b",
        opening: true,
        advice: NAME_IT,
        bad: "That of a module outlives it.",
        good: "That is why it is refused. That cgroup is gone. That is, nothing happens.",
    },
    Pattern {
        words: r"^Of\b",
        opening: true,
        advice: NAME_IT,
        bad: "Of removed cgroups, the ids.",
        good: "The ids of removed cgroups. Of course, it fails.",
    },
    Pattern {
        words: r"^Beside\b",
        opening: true,
        advice: "\"besides\", or put the place after the verb",
        bad: "Beside the main guest there are others.",
        good: "Besides, the file is beside it.",
    },
    Pattern {
        words: r"(?i)\bwho(?:m|se)?ever\b",
        opening: false,
        advice: NAME_THE_CALLER,
        bad: "It reaches beyond whoever loads it.",
        good: "It reaches beyond the process that loads it.",
    },
    Pattern {
        words: r"(?i)\bsomebody\b",
        opening: false,
        advice: NAME_THE_CALLER,
        bad: "Somebody must hold a reference.",
        good: "The caller must hold a reference.",
    },
    Pattern {
        words: r"(?i)\b(?:for|by|to|from|with|than|only|but|is) who\b",
        opening: false,
        advice: NAME_THE_CALLER,
        bad: "This is costly for who waits.",
        good: "This is costly for those who wait.",
    },
    Pattern {
        words: r"(?i)\banswer(?:s|ed|ing)?\b",
        opening: false,
        advice: "a function \"returns\"",
        bad: "It answers NULL.",
        good: "It returns NULL. See the questions and answers.",
    },
    Pattern {
        words: r"(?i)\b(?:the|its|their|no) like\b(?: of)?",
        opening: false,
        advice: "name it, or \"and similar ...\"",
        bad: "It copies files and the like.",
        good: "It copies files and similar objects, which is like a backup.",
    },
    Pattern {
        words: r"(?i)\bkin\b",
        opening: false,
        advice: "name them, or \"and related functions\"",
        bad: "bpf_get() and its kin",
        good: "the kind of function",
    },
    Pattern {
        words: r"(?i)\b(?:has|have|had) to say\b",
        opening: false,
        advice: "\"says\", \"must be identical\", ...",
        bad: "Read the pages that rustdoc has to say.",
        good: "Read the pages of rustdoc. It has to sleep.",
    },
    Pattern {
        words: r"(?i)\btak(?:es?|ing) along\b",
        opening: false,
        advice: "name the action: copies, kills, includes",
        bad: "the children that it takes along",
        good: "It takes a long time to kill the children.",
    },
    Pattern {
        words: r"(?i)\b(?:after|against|before|behind|between|beyond|by|for|from|into|of|over|than|to|under|with|without) what\b",
        opening: false,
        advice: "a noun after the preposition: \"for pages that\", not \"for what\"",
        bad: "Each is keyed by what it was made from.",
        good: "Each is keyed by its inputs. It depends on what you want.",
    },
    Pattern {
        words: r"(?i)\b(?:becomes?|became|become) of\b",
        opening: false,
        advice: "\"happens to\", \"the result of\"",
        bad: "This decides what becomes of an OOM.",
        good: "This decides how an OOM ends. It becomes a victim.",
    },
    Pattern {
        words: r"(?i)\b(?:comes?|came) (?:to (?:an?|it|that)|of it)\b",
        opening: false,
        advice: "\"happens\", \"adds up to\", \"the result is\"",
        bad: "before it comes to an OOM",
        good: "before an OOM happens, when it comes to a kill; it came to the end",
    },
    Pattern {
        words: r"(?i)\b(?:come|came|comes) by\b",
        opening: false,
        advice: "\"gets\", \"way to get\"",
        bad: "each way to come by a css",
        good: "each way to get a css",
    },
    Pattern {
        words: r"(?i)\bput to (?:an?|the|each|every|all|its|another|no|one|policies)\b",
        opening: false,
        advice: "turn it round: \"asks the policy\"",
        bad: "An OOM is put to the old policy.",
        good: "The old policy is asked; the task is put to sleep.",
    },
    Pattern {
        words: r"(?i)\b(?:one|two|a \w+) a (?:line|call|round|cgroup|process|boot|CPU)\b",
        opening: false,
        advice: "\"per\": one per line",
        bad: "names of tests, a name a line",
        good: "names of tests, one per line; it prints a line",
    },
    Pattern {
        words: r"(?i), be (?:it|they|he)\b",
        opening: false,
        advice: "\"whether\"",
        bad: "calls of functions, be they of C or Rust",
        good: "calls of functions in C or Rust, to be it later",
    },
    Pattern {
        words: r"(?i)\brightly\b",
        opening: false,
        advice: "\"correctly\"",
        bad: "programs that call it rightly",
        good: "programs that call it correctly, brightly",
    },
    Pattern {
        words: r"(?i)\bas \w+(?: \w+)? has it\b",
        opening: false,
        advice: "\"as in\", \"as X does\"",
        bad: "as BPF CI has it",
        good: "as BPF CI does, which has it",
    },
    Pattern {
        words: r"(?i)\bnothing of (?:it|them|this|that)\b",
        opening: false,
        advice: "name what is left alone",
        bad: "in a guest, nothing of it on your machine",
        good: "in a guest; your machine is left untouched",
    },
    Pattern {
        words: r"(?i)\bsome times over\b",
        opening: false,
        advice: "\"several times\"",
        bad: "All of it is done some times over.",
        good: "All of it is done several times.",
    },
];

pub static COMPILED: LazyLock<Vec<(Regex, &Pattern)>> = LazyLock::new(|| {
    let compile =
        |pattern: &'static Pattern| (Regex::new(pattern.words).expect("a valid pattern"), pattern);
    PATTERNS.iter().map(compile).collect()
});
