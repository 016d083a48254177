// SPDX-License-Identifier: GPL-2.0

use super::*;

/// A directory that looks like cgroupfs: /a/b has memory, /a/b/c inherits it.
struct Fake {
    dir: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let fake = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(fake.dir.path().join("a/b/c/d")).unwrap();
        for cgroup in ["a", "a/b"] {
            let dir = fake.dir.path().join(cgroup);
            fs::write(dir.join("memory.current"), "40960\n").unwrap();
            fs::write(
                dir.join("memory.stat"),
                "anon 8192\nfile 4096\nkernel 5\nshmem 0\nfile_mapped 7\npgfault 300\n",
            )
            .unwrap();
        }
        fake
    }

    fn cgroupfs(&self) -> Cgroupfs {
        Cgroupfs(self.dir.path().to_owned())
    }

    /// The output of memcgctl, with `from` replaced.
    fn rows(&self, from: &str, to: &str) -> Rows {
        let id = |cgroup: &str| fs::metadata(self.dir.path().join(cgroup)).unwrap().ino();
        let mut json = r#"[{"path":"/","id":1,"memcg_id":1,"inherited":false,"usage":1,"anon":null,"file":1,"shmem":1,"pgfault":1}"#.to_owned();
        for (path, memcg, figures) in [
            (
                "a",
                "a",
                r#""usage":40960,"anon":8192,"file":4096,"shmem":0,"pgfault":300"#,
            ),
            (
                "a/b",
                "a/b",
                r#""usage":40960,"anon":8192,"file":4096,"shmem":0,"pgfault":300"#,
            ),
            (
                "a/b/c",
                "a/b",
                r#""usage":null,"anon":null,"file":null,"shmem":null,"pgfault":null"#,
            ),
            (
                "a/b/c/d",
                "a/b",
                r#""usage":null,"anon":null,"file":null,"shmem":null,"pgfault":null"#,
            ),
        ] {
            let (id, memcg_id, inherited) = (id(path), id(memcg), path != memcg);
            json += &format!(",\n{{\"path\":\"/{path}\",\"id\":{id},\"memcg_id\":{memcg_id},\"inherited\":{inherited},{figures}}}");
        }
        assert!(json.contains(from), "{from} in {json}");
        parse(format!("{}]", json.replace(from, to)).as_bytes()).unwrap()
    }

    fn identity(&self, rows: &Rows) -> String {
        self.cgroupfs()
            .check_identity(rows)
            .map_or_else(|error| error.to_string(), |()| "right".to_owned())
    }
}

#[test]
fn right_tree_passes() {
    let fake = Fake::new();
    let rows = fake.rows("", "");
    let differences = fake.cgroupfs().differences(&rows).unwrap();
    assert_eq!(fake.identity(&rows), "right");
    assert_eq!(
        verdict(&rows, &differences, 128).unwrap(),
        "checked 2 memcgs x 5 figures against memory.current and memory.stat: all equal\n\
         checked 2 cgroups without the memory controller: each names the ancestor that is charged\n"
    );
}

#[test]
fn figures_may_differ_by_a_batch() {
    let fake = Fake::new();
    for (from, to, size, text) in [
        (
            "\"usage\":40960",
            "\"usage\":45056",
            1.0,
            "/a: usage is 45056, cgroupfs says 40960",
        ),
        (
            "\"anon\":8192",
            "\"anon\":0",
            2.0,
            "/a: anon is 0, cgroupfs says 8192",
        ),
        (
            "\"file\":4096",
            "\"file\":6144",
            0.5,
            "/a: file is 6144, cgroupfs says 4096",
        ),
        (
            "\"shmem\":0",
            "\"shmem\":4096",
            1.0,
            "/a: shmem is 4096, cgroupfs says 0",
        ),
        (
            "\"pgfault\":300",
            "\"pgfault\":301",
            1.0,
            "/a: pgfault is 301, cgroupfs says 300",
        ),
    ] {
        let rows = fake.rows(from, to);
        let differences = fake.cgroupfs().differences(&rows).unwrap();
        assert_eq!(
            (
                differences.len(),
                differences[0].size,
                differences[0].text.as_str()
            ),
            (2, size, text)
        );
        let agree =
            format!("all agree (largest difference {size} pages or faults, 2 may be in flight)");
        assert!(verdict(&rows, &differences, 2).unwrap().contains(&agree));
        let error = verdict(&rows, &differences, 0).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!(
                "2 memcgs x 5 figures against memory.current and memory.stat:\n{text}\n"
            )),
            "{error}"
        );
    }
    assert!(fake
        .cgroupfs()
        .differences(&fake.rows("\"shmem\":0", "\"shmem\":null"))
        .is_err());
}

#[test]
fn wrong_identity_is_found() {
    let fake = Fake::new();
    let inherited = "\"inherited\":true,\"usage\":null";
    for (from, to, error) in [
        (
            "/a/b/c/d\"",
            "/a/b/c/e\"",
            "cgroups are missing or made up: [\"/a/b/c/d\", \"/a/b/c/e\"]",
        ),
        (
            inherited,
            "\"inherited\":true,\"usage\":1",
            "/a/b/c is inherited and has figures of its own",
        ),
        (
            inherited,
            "\"inherited\":false,\"usage\":null",
            "/a/b/c: inherited is false, cgroupfs says true",
        ),
        (
            "\"path\":\"/a/b\",\"id\":",
            "\"path\":\"/a/b\",\"id\":9",
            "/a/b: id is 9",
        ),
    ] {
        let found = fake.identity(&fake.rows(from, to));
        assert!(found.starts_with(error), "{found}");
    }
    let mut rows = fake.rows("", "");
    rows.get_mut("/a/b/c").unwrap().memcg_id =
        Some(fs::metadata(fake.dir.path().join("a")).unwrap().ino());
    assert!(fake.identity(&rows).starts_with("/a/b/c: memcg_id is "));
    rows.remove("/a/b/c");
    assert_eq!(
        fake.identity(&rows),
        "cgroups are missing or made up: [\"/a/b/c\"]"
    );
}
