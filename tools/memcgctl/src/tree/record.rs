// SPDX-License-Identifier: GPL-2.0

//! The records that `src/bpf/tree.bpf.c` writes.

use serde::Serialize;

const NUMBERS: usize = 8;
const NAME_SIZE: usize = 256;

/// The size of one record, `sizeof(struct record)`.
pub const SIZE: usize = NUMBERS * 8 + NAME_SIZE;

/// What the kernel counts for a memcg; `None` for what it does not count.
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

/// A cgroup as the walk saw it.
#[derive(Debug, PartialEq)]
pub struct Record {
    pub id: u64,
    /// The id of the cgroup that the memcg belongs to.
    pub memcg_id: Option<u64>,
    /// Of the cgroup's own memcg; empty when the memcg is another cgroup's.
    pub figures: Figures,
    pub level: u64,
    pub name: String,
}

impl Record {
    /// Whether the tasks of this cgroup are charged to an ancestor's memcg.
    pub fn inherited(&self) -> bool {
        self.memcg_id.is_some_and(|memcg_id| memcg_id != self.id)
    }

    /// Reads one record; `None` when the bytes are not one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().ok()?;
        let (numbers, name) = bytes.split_at(NUMBERS * 8);
        let mut numbers = numbers
            .chunks_exact(8)
            .filter_map(|number| Some(u64::from_ne_bytes(number.try_into().ok()?)));
        let mut number = || numbers.next();

        let id = number()?;
        let memcg_id = Some(number()?).filter(|&memcg_id| memcg_id != 0);
        let mut figure = || {
            let figure = number()?;
            // The kfuncs answer with all ones for what the kernel does not count.
            Some(Some(figure).filter(|&figure| memcg_id == Some(id) && figure != u64::MAX))
        };
        Some(Self {
            id,
            memcg_id,
            figures: Figures {
                usage: figure()?,
                anon: figure()?,
                file: figure()?,
                shmem: figure()?,
                pgfault: figure()?,
            },
            level: number()?,
            name: String::from_utf8_lossy(name.split(|&byte| byte == 0).next()?).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(numbers: [u64; NUMBERS], name: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_ne_bytes()).collect();
        bytes.extend(name);
        bytes.resize(SIZE, 0);
        bytes
    }

    #[test]
    fn a_record_with_a_memcg_of_its_own() {
        let record = Record::parse(&bytes([7, 7, 10, 20, 30, 40, 50, 2], b"db.service")).unwrap();
        assert!(!record.inherited());
        assert_eq!(record.level, 2);
        assert_eq!(record.name, "db.service");
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
        let record = Record::parse(&bytes([8, 7, 0, 0, 0, 0, 0, 3], b"session")).unwrap();
        assert!(record.inherited());
        assert_eq!(record.memcg_id, Some(7));
        assert_eq!(record.figures, Figures::default());
    }

    #[test]
    fn no_memcg_is_not_an_inherited_one() {
        let record = Record::parse(&bytes([8, 0, 0, 0, 0, 0, 0, 3], b"")).unwrap();
        assert!(!record.inherited());
        assert_eq!(record.memcg_id, None);
        assert_eq!(record.figures, Figures::default());
    }

    #[test]
    fn what_the_kernel_does_not_count_is_none_and_zero_is_zero() {
        let record = Record::parse(&bytes([7, 7, 0, 1, 1, 1, u64::MAX, 0], b"")).unwrap();
        assert_eq!(record.figures.pgfault, None);
        assert_eq!(record.figures.usage, Some(0));
    }

    #[test]
    fn names_need_be_neither_short_nor_utf8() {
        let name = vec![b'x'; NAME_SIZE - 1];
        let record = Record::parse(&bytes([1; NUMBERS], &name)).unwrap();
        assert_eq!(record.name.len(), NAME_SIZE - 1);
        let record = Record::parse(&bytes([1; NUMBERS], b"a\xffb")).unwrap();
        assert_eq!(record.name, "a\u{fffd}b");
    }

    #[test]
    fn other_sizes_are_refused() {
        assert_eq!(Record::parse(&[0; SIZE - 1]), None);
        assert_eq!(Record::parse(&[0; SIZE + 8]), None);
    }
}
