// SPDX-License-Identifier: GPL-2.0

use super::*;

/// As if "priority", which has rules, and "largest", which has none, were installed.
fn installed(path: &Path) -> Result<Option<bool>> {
    let name = path.strip_prefix(POLICIES).ok().and_then(Path::to_str);
    Ok(match name {
        Some("priority.bpf.o") => Some(true),
        Some("largest.bpf.o") => Some(false),
        _ => None,
    })
}

fn read(files: &[(&str, &[u8])]) -> Result<Config, Vec<String>> {
    let mut reader = Reader::default();
    for (name, bytes) in files {
        reader.file(Path::new(name), bytes);
    }
    let lines = |errors: Vec<Error>| errors.iter().map(|error| format!("{error:#}")).collect();
    reader.finish(installed).map_err(lines)
}

/// The configuration in files named "1", "2" and so on.
fn config<const COUNT: usize>(files: [&str; COUNT]) -> Result<Config, Vec<String>> {
    let names: Vec<_> = (1..=COUNT).map(|number| number.to_string()).collect();
    let names = names.iter().map(String::as_str);
    read(&names.zip(files.map(str::as_bytes)).collect::<Vec<_>>())
}

fn rule(pattern: &str, class: Class) -> Rule {
    Rule {
        pattern: pattern.parse().unwrap(),
        class,
        scope: Scope::Process,
    }
}

/// The rules of a policy, as words.
fn rules(config: &Config, cgroup: &str) -> String {
    let policy = config
        .policies
        .iter()
        .find(|policy| policy.cgroup == cgroup);
    let rules = policy.unwrap().rules.iter();
    let words: Vec<_> = rules
        .map(|rule| format!("{} {}", rule.class, rule.pattern))
        .collect();
    words.join(", ")
}

const PRIORITY: &str = "[policy.\"/\"]\nobject = \"priority\"\n";

#[test]
fn a_file_has_policies_and_rules_and_a_hook() {
    let text = r#"
[policy."/"]
object = "priority"
[policy."user.slice/"]
object = "/opt/policy.bpf.o"
[[rule]]
cgroup = "system.slice/postgresql*.service"
class = "omit"
[[rule]]
cgroup = "ci.slice"
class = "prefer"
scope = "cgroup"
policy = "/"
[[guard]]
cgroup = "user.slice"
pressure = "full10=40%"
available = "5%"
for = "20s"
cooldown = "1m"
term = "5s"
dry_run = true
[hook]
command = ["/bin/sh", "-c", "true"]
timeout = "1m 30s"
limit = 2
"#;
    let mut reader = Reader::default();
    reader.file(Path::new("oom.toml"), text.as_bytes());
    let policy = |cgroup: &str, name: &str, object: &str, rules| Policy {
        cgroup: cgroup.to_string(),
        name: name.to_string(),
        object: object.into(),
        rules,
    };
    let whole = Rule {
        scope: Scope::Cgroup,
        ..rule("/ci.slice", Class::Prefer)
    };
    let omitted = rule("system.slice/postgresql*.service", Class::Omit);
    let expected = Config {
        policies: vec![
            policy(
                "/",
                "priority",
                &format!("{POLICIES}/priority.bpf.o"),
                vec![omitted, whole],
            ),
            policy(
                "/user.slice",
                "/opt/policy.bpf.o",
                "/opt/policy.bpf.o",
                vec![],
            ),
        ],
        guard: vec![guard::Rule {
            id: 0,
            pattern: "/user.slice".parse().unwrap(),
            conditions: guard::Conditions {
                pressure: Some("full10=40%".parse().unwrap()),
                available: Some("5%".parse().unwrap()),
                ..Default::default()
            },
            holds_for: Duration::from_secs(20),
            cooldown: Duration::from_secs(60),
            term: Some(Duration::from_secs(5)),
            dry_run: true,
            applied: true,
        }],
        hook: Some(Hook {
            command: ["/bin/sh", "-c", "true"].map(String::from).into(),
            timeout: Duration::from_secs(90),
            limit: 2,
        }),
    };
    assert_eq!(reader.finish(|_| Ok(Some(true))).unwrap(), expected);
}

#[test]
fn a_later_rule_of_the_guard_replaces_one_like_it() {
    let first =
        "[[guard]]\ncgroup = \"a\"\nswap = \"80%\"\n[[guard]]\ncgroup = \"a\"\nusage = \"80%\"\n";
    let second = "[[guard]]\ncgroup = \"/a\"\nswap = \"90%\"\n[[guard]]\ncgroup = \"a\"\nusage = \"1%\"\nfor = \"\"\n";
    let rules = config([first, second]).unwrap().guard;
    let words: Vec<_> = rules.iter().map(guard::Rule::to_string).collect();
    assert_eq!(words, ["swap >= 90% for 10s in /a"]);
}

#[test]
fn nothing_is_configured_by_default() {
    assert_eq!(config([]).unwrap(), Config::default());
    assert_eq!(config(["", "# nothing\n"]).unwrap(), Config::default());
    let text = include_str!("../../../../../../systemd/oom.toml");
    assert_eq!(config([text]).unwrap(), Config::default());
}

/// The examples in the default configuration are one, without the marks of comments.
#[test]
fn the_examples_of_the_default_configuration_are_right() {
    let text = include_str!("../../../../../../systemd/oom.toml");
    let example: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with([' ', '#']))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = config([&example.replace("/usr/local/bin/oom-hook", "/bin/sh")]).unwrap();
    assert_eq!(config.policies.len(), 1);
    assert!(!config.policies[0].rules.is_empty());
    assert_eq!(config.guard.len(), 1);
    assert_eq!(config.hook.unwrap().limit, LIMIT);
}

#[test]
fn a_later_file_wins() {
    let first = r#"
[policy."/"]
object = "priority"
[policy."/a"]
object = "priority"
[[rule]]
cgroup = "/b"
class = "omit"
[[rule]]
cgroup = "/c"
class = "omit"
[hook]
command = ["/bin/sh"]
"#;
    let second = r#"
[policy."/a"]
object = "largest"
[[rule]]
cgroup = "b"
class = "avoid"
policy = "/"
[hook]
command = ["/bin/sh", "-e"]
timeout = "1s"
"#;
    let config = config([first, second]).unwrap();
    assert_eq!(rules(&config, "/"), "omit /c, avoid /b");
    assert_eq!(config.policies[1].name, "largest");
    let hook = config.hook.unwrap();
    assert_eq!(
        (hook.command.len(), hook.timeout, hook.limit),
        (2, Duration::from_secs(1), LIMIT)
    );
}

#[test]
fn an_empty_value_takes_an_entry_back() {
    let first = &format!(
        "{PRIORITY}{}{}[hook]\ncommand = [\"/bin/sh\"]\n",
        "[[rule]]\ncgroup = \"b\"\nclass = \"omit\"\n",
        "[[rule]]\ncgroup = \"c\"\nclass = \"omit\"\n"
    );
    let without_rule = "[[rule]]\ncgroup = \"b\"\nclass = \"\"\n";
    assert_eq!(
        rules(&config([first, without_rule]).unwrap(), "/"),
        "omit /c"
    );
    let without_hook = "[hook]\ncommand = []\n";
    assert_eq!(config([first, without_hook]).unwrap().hook, None);
    // A rule for which there is no policy any more is an error, until it is taken back as well.
    let without_policy = "[policy.\"/\"]\nobject = \"\"\n";
    assert_eq!(
        config([first, without_policy]).unwrap_err(),
        [
            "1:4:10: no policy with rules is configured for /b or above it",
            "1:7:10: no policy with rules is configured for /c or above it",
        ]
    );
    let without_others = &without_rule.replace("b", "c");
    let nothing = config([first, without_policy, without_rule, without_others]).unwrap();
    assert_eq!(nothing.policies, []);
    // Nothing to take back.
    assert_eq!(
        config([without_policy, without_rule, without_hook]).unwrap(),
        Config::default()
    );
}

#[test]
fn a_rule_is_for_the_nearest_policy_with_rules() {
    let text = r#"
[policy."/"]
object = "priority"
[policy."/a"]
object = "priority"
[policy."/a/b"]
object = "largest"
[[rule]]
cgroup = "/a/b/c"
class = "omit"
[[rule]]
cgroup = "/a*/b"
class = "avoid"
[[rule]]
cgroup = "/a/b/c"
class = "prefer"
policy = "/"
"#;
    let config = config([text]).unwrap();
    assert_eq!(rules(&config, "/a"), "omit /a/b/c");
    assert_eq!(rules(&config, "/"), "avoid /a*/b, prefer /a/b/c");
    assert_eq!(rules(&config, "/a/b"), "");
}

/// Each file has the errors that its comments say.
#[test]
fn broken_files_are_refused() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let comments = text
            .lines()
            .skip(1)
            .map_while(|line| line.strip_prefix("# "));
        let expected: Vec<_> = comments.map(|error| format!("oom.toml:{error}")).collect();
        let errors = read(&[("oom.toml", text.as_bytes())]).unwrap_err();
        assert_eq!(errors, expected, "{}", path.display());
        count += 1;
    }
    assert!(count >= 20);
}

#[test]
fn errors_name_their_file() {
    let errors = config([PRIORITY, "[hook]\nlimit = 1\n", "[hooks]\n"]).unwrap_err();
    assert_eq!(
        errors,
        [
            "2:1:1: missing field `command`",
            "3:1:2: unknown key `hooks`, expected `policy`, `rule`, `guard` or `hook`",
        ]
    );
    let errors = read(&[("a", b"# \xc3\xa9\n# \xc3\xa9\xff\n")]).unwrap_err();
    assert_eq!(errors, ["a:2:4: this byte is not UTF-8"]);
}

#[test]
fn rules_that_a_policy_cannot_have_are_refused() {
    let rule = |pattern: &str| format!("[[rule]]\ncgroup = \"{pattern}\"\nclass = \"omit\"\n");
    let mut text = PRIORITY.to_string();
    (1..=256).for_each(|number| text += &rule(&format!("c{number}")));
    assert!(config([&text]).is_ok());
    assert_eq!(
        config([&text, &rule("d")]).unwrap_err(),
        ["2:2:10: a policy has room for 256 rules, and this would be rule 257"]
    );
    let mut text = PRIORITY.to_string();
    (1..=16).for_each(|number| text += &rule(&format!("c{number}{}", "/c".repeat(63))));
    assert!(config([&text]).is_ok());
    assert_eq!(
        config([&text, &rule("d")]).unwrap_err(),
        ["2:2:10: the rules together have more than 1024 components: there is no room for '/d'"]
    );
}
