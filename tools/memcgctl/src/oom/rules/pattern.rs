// SPDX-License-Identifier: GPL-2.0

//! Patterns of rules: paths of cgroups, with wildcards.

use std::fmt;
use std::str::FromStr;

use anyhow::bail;
use anyhow::Error;
use anyhow::Result;
use memcgbpf::records::OOM_RULE_PATTERN_LEN;

use crate::format::printable;

/// Components that a pattern may have: they share a word of positions.
pub const MAX_COMPONENTS: usize = u64::BITS as usize;

/// The path of a cgroup from the root of the hierarchy on, in which `*` stands for any characters of
/// a name, `?` for one byte, and the component `**` for any number of components.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    components: Vec<Component>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Component {
    Literal(String),
    Glob(String),
    /// `**`
    Any,
}

impl Component {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => literal.as_bytes() == name,
            Self::Glob(glob) => matches(
                glob.as_bytes(),
                name,
                |wildcard| *wildcard == b'*',
                |wanted, byte| *wanted == b'?' || wanted == byte,
            ),
            Self::Any => true,
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Literal(text) | Self::Glob(text) => text,
            Self::Any => "**",
        })
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let shown = printable(text);
        let path = text.strip_prefix('/').unwrap_or(text);
        let path = path.strip_suffix('/').unwrap_or(path);
        let mut components = Vec::new();
        for component in path.split('/').filter(|_| !path.is_empty()) {
            components.push(match component {
                "" => bail!("'{shown}' has an empty component"),
                "." | ".." => bail!("'{shown}': a rule's path must not have '.' or '..' in it"),
                // Two have the same meaning as one.
                "**" if components.last() == Some(&Component::Any) => continue,
                "**" => Component::Any,
                _ if component.contains("**") => {
                    bail!("'{shown}': '**' must be a component of its own (a/**/b)")
                }
                _ if component.contains(['*', '?']) => Component::Glob(component.to_string()),
                _ => Component::Literal(component.to_string()),
            });
        }
        if components.len() > MAX_COMPONENTS {
            bail!(
                "'{shown}' has {} components, and a rule has at most {MAX_COMPONENTS}",
                components.len()
            );
        }
        let pattern = Self { components };
        let length = pattern.to_string().len();
        if length >= OOM_RULE_PATTERN_LEN as usize {
            bail!(
                "'{shown}' has {length} bytes, and a rule has at most {}",
                OOM_RULE_PATTERN_LEN - 1
            );
        }
        Ok(pattern)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.components.is_empty() {
            return f.write_str("/");
        }
        self.components
            .iter()
            .try_for_each(|component| write!(f, "/{component}"))
    }
}

impl Pattern {
    /// Whether a text has a wildcard, and so is not just a path.
    pub fn is_wild(text: &str) -> bool {
        text.contains(['*', '?'])
    }

    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// The cgroup at or above all that match: the path before the first wildcard.
    pub fn base(&self) -> String {
        let literals = self.components.iter().map_while(|component| {
            matches!(component, Component::Literal(_)).then(|| component.clone())
        });
        Self {
            components: literals.collect(),
        }
        .to_string()
    }

    pub fn matches(&self, path: &str) -> bool {
        self.matches_bytes(path.as_bytes())
    }

    /// The same, for a path that need not be UTF-8.
    pub fn matches_bytes(&self, path: &[u8]) -> bool {
        let names: Vec<_> = path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
            .collect();
        matches(
            &self.components,
            &names,
            |component| *component == Component::Any,
            |component, name| component.matches(name),
        )
    }
}

/// Whether a pattern matches all items. A `many` stands for any number of items, and any other part
/// of the pattern for `one`.
fn matches<P, T>(
    pattern: &[P],
    items: &[T],
    many: impl Fn(&P) -> bool,
    one: impl Fn(&P, &T) -> bool,
) -> bool {
    // Whether the rest of the pattern after each part matches the items from the current one on.
    let mut rest = vec![false; pattern.len() + 1];
    rest[pattern.len()] = true;
    for (index, part) in pattern.iter().enumerate().rev() {
        rest[index] = many(part) && rest[index + 1];
    }
    for item in items.iter().rev() {
        let after = std::mem::replace(&mut rest, vec![false; pattern.len() + 1]);
        for (index, part) in pattern.iter().enumerate().rev() {
            rest[index] = if many(part) {
                rest[index + 1] || after[index]
            } else {
                after[index + 1] && one(part, item)
            };
        }
    }
    rest[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    #[test]
    fn a_pattern_is_shown_as_a_path() {
        for (text, shown) in [
            ("/", "/"),
            ("a/b", "/a/b"),
            ("/a/b/", "/a/b"),
            ("a/**/**/x*", "/a/**/x*"),
            ("dev-disk-by\\x2duuid.swap", "/dev-disk-by\\x2duuid.swap"),
        ] {
            assert_eq!(pattern(text).to_string(), shown);
        }
    }

    #[test]
    fn malformed_patterns_are_refused() {
        let refused = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();
        assert_eq!(refused("a//b"), "'a//b' has an empty component");
        assert_eq!(refused("//a"), "'//a' has an empty component");
        assert!(refused("a/../b").contains("'.' or '..'"));
        for glued in ["a**", "**a", "a/***"] {
            assert!(refused(glued).contains("a component of its own"), "{glued}");
        }
        assert!(refused(&"a/".repeat(65)).contains("has 65 components"));
        let longest = "a".repeat(190);
        assert_eq!(pattern(&longest).to_string().len(), 191);
        assert!(refused(&(longest + "a")).contains("has 192 bytes, and a rule has at most 191"));
    }

    #[test]
    fn wildcards_match() {
        for (text, path) in [
            ("/", "/"),
            ("**", "/"),
            ("**", "/a/b"),
            ("a/**", "/a"),
            ("a/**/b", "/a/b"),
            ("a/**/b", "/a/x/y/b"),
            (
                "system.slice/postgresql*.service",
                "/system.slice/postgresql@15-main.service",
            ),
            (
                "kubepods.slice/**/besteffort*",
                "/kubepods.slice/x/besteffort-1",
            ),
            ("*", "/a"),
            ("?*?", "/ab"),
            ("a*b*c", "/abbbc"),
        ] {
            assert!(pattern(text).matches(path), "{text} {path}");
        }
        for (text, path) in [
            ("/", "/a"),
            ("*", "/"),
            ("*", "/a/b"),
            ("a", "/a/b"),
            ("a/b", "/a"),
            ("a/**/b", "/a/b/c"),
            ("?*?", "/a"),
            ("a*b", "/abc"),
            ("[ab]", "/a"),
        ] {
            assert!(!pattern(text).matches(path), "{text} {path}");
        }
    }

    #[test]
    fn a_name_that_is_not_utf8_has_bytes() {
        assert!(pattern("a?c").matches_bytes(b"/a\xffc"));
        assert!(!pattern("a??c").matches_bytes(b"/a\xffc"));
        assert!(!pattern("a\u{fffd}c").matches_bytes(b"/a\xffc"));
        // One byte of two.
        assert!(!pattern("a?c").matches("/aéc"));
    }

    #[test]
    fn the_base_ends_at_the_first_wildcard() {
        for (text, base) in [("a/b", "/a/b"), ("a/b*/c", "/a"), ("**/c", "/"), ("/", "/")] {
            assert_eq!(pattern(text).base(), base);
        }
    }
}
