// SPDX-License-Identifier: GPL-2.0

//! The records that `src/bpf/tree.bpf.c` writes.

use anyhow::Result;
use memcgbpf::records::cgroup_record;
use serde::Serialize;

use crate::oom::decision::Class;
use crate::record;
use crate::record::Writer;

const PROGRAM: Writer = Writer {
    name: "the BPF program in memcgctl",
    update: "build memcgctl again",
};

/// The kernel's counters of a memcg; `None` where it does not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Bytes, like the next three.
    pub usage: Option<u64>,
    pub anon: Option<u64>,
    pub file: Option<u64>,
    pub shmem: Option<u64>,
    /// Events.
    pub pgfault: Option<u64>,
}

/// A cgroup, as the walk found it.
#[derive(Debug, PartialEq)]
pub struct Record {
    pub id: u64,
    /// The id of the cgroup that the memcg belongs to.
    pub memcg_id: Option<u64>,
    /// Figures of the cgroup's own memcg; empty when the memcg is another cgroup's.
    pub figures: Figures,
    pub level: u64,
    /// Need not be UTF-8.
    pub name: Vec<u8>,
    pub owner: u32,
    /// The class in the extended attributes.
    pub preference: Class,
}

impl Record {
    /// Whether the tasks of this cgroup are charged to an ancestor's memcg.
    pub fn inherited(&self) -> bool {
        self.memcg_id.is_some_and(|memcg_id| memcg_id != self.id)
    }

    pub fn read(bytes: &[u8]) -> Result<Self> {
        Ok(record::read::<cgroup_record>(bytes, &PROGRAM)?.into())
    }
}

impl From<cgroup_record> for Record {
    fn from(record: cgroup_record) -> Self {
        let id = record.cgroup_id;
        let memcg_id = Some(record.memcg_id).filter(|&memcg_id| memcg_id != 0);
        // The kfuncs return all ones where the kernel does not count.
        let figure =
            |figure| Some(figure).filter(|&figure| memcg_id == Some(id) && figure != u64::MAX);
        let figures = record.figures;
        Self {
            id,
            memcg_id,
            figures: Figures {
                usage: figure(figures.usage),
                anon: figure(figures.anon),
                file: figure(figures.file),
                shmem: figure(figures.shmem),
                pgfault: figure(figures.pgfault),
            },
            level: record.level,
            name: record::bytes(&record.name).to_vec(),
            owner: record.owner,
            preference: Class::from_number(record.preference).unwrap_or(Class::Normal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::chars;
    use memcgbpf::records::memcg_figures;
    use memcgbpf::records::CGROUP_NAME_SIZE;
    use memcgbpf::records::CGROUP_RECORD_VERSION;
    use memcgbpf::records::OOM_AVOID;
    use zerocopy::IntoBytes;

    /// A record with these `[usage, anon, file, shmem, pgfault]`.
    fn record(cgroup_id: u64, memcg_id: u64, figures: [u64; 5]) -> cgroup_record {
        let [usage, anon, file, shmem, pgfault] = figures;
        cgroup_record {
            version: CGROUP_RECORD_VERSION,
            size: size_of::<cgroup_record>() as u32,
            cgroup_id,
            memcg_id,
            level: 2,
            figures: memcg_figures {
                usage,
                anon,
                file,
                shmem,
                pgfault,
            },
            owner: 1000,
            preference: OOM_AVOID,
            name: chars("db.service"),
        }
    }

    #[test]
    fn a_record_with_a_memcg_of_its_own_has_figures() {
        let record = record(7, 7, [10, 20, 30, 40, 50]);
        let record = Record::read(record.as_bytes()).unwrap();
        assert!(!record.inherited());
        assert_eq!(record.level, 2);
        assert_eq!(record.name, b"db.service");
        assert_eq!((record.owner, record.preference), (1000, Class::Avoid));
        assert_eq!(
            record.figures,
            Figures {
                usage: Some(10),
                anon: Some(20),
                file: Some(30),
                shmem: Some(40),
                pgfault: Some(50),
            }
        );
    }

    #[test]
    fn an_inherited_memcg_has_no_figures() {
        let record = Record::from(record(8, 7, [0; 5]));
        assert!(record.inherited());
        assert_eq!(record.memcg_id, Some(7));
        assert_eq!(record.figures, Figures::default());
    }

    #[test]
    fn a_cgroup_without_a_memcg_inherits_none() {
        let record = Record::from(record(8, 0, [0; 5]));
        assert!(!record.inherited());
        assert_eq!(record.memcg_id, None);
        assert_eq!(record.figures, Figures::default());
    }

    #[test]
    fn all_ones_become_none_and_zero_stays() {
        let record = Record::from(record(7, 7, [0, 1, 1, 1, u64::MAX]));
        assert_eq!(record.figures.pgfault, None);
        assert_eq!(record.figures.usage, Some(0));
    }

    #[test]
    fn names_may_be_long_and_need_not_be_utf8() {
        const LONGEST: usize = CGROUP_NAME_SIZE as usize - 1;
        let mut record = record(1, 1, [1; 5]);
        record.name = chars(&"x".repeat(LONGEST));
        assert_eq!(Record::from(record).name.len(), LONGEST);
        record.name[1] = -1;
        assert!(Record::from(record).name.starts_with(b"x\xffx"));
    }

    #[test]
    fn other_sizes_are_refused() {
        let record = record(1, 1, [1; 5]);
        let bytes = record.as_bytes();
        assert!(Record::read(&bytes[..bytes.len() - 1]).is_err());
        assert!(Record::read(&[bytes, &[0; 8]].concat()).is_err());
    }
}
