// SPDX-License-Identifier: GPL-2.0

//! The log of a policy's decisions, include/oom_log.bpf.h. A policy overwrites the oldest decision
//! with the newest one; a reader counts those that it has missed.

use std::sync::atomic::fence;
use std::sync::atomic::Ordering;

use anyhow::bail;
use anyhow::Context;
use anyhow::Result;
use libbpf_rs::MapCore;
use libbpf_rs::MapFlags;
use libbpf_rs::MapHandle;
use libbpf_rs::MapType;
use memcgbpf::records::oom_decision;
use zerocopy::FromBytes;

use super::policy;
use super::policy::Policy;

const DECISIONS: &str = "decisions";
const NEWS: &str = "news";
/// No policy decides more often than this.
const MAX_NUMBER: u64 = 1 << 48;

/// Slots for records of one size, which a policy fills in turn.
pub trait Slots {
    /// At least 1.
    fn count(&self) -> u64;
    /// Copies a slot, which the policy may write to meanwhile.
    fn read(&self, slot: u64) -> Result<Vec<u8>>;
}

impl Slots for MapHandle {
    fn count(&self) -> u64 {
        self.max_entries().into()
    }

    fn read(&self, slot: u64) -> Result<Vec<u8>> {
        let key = u32::try_from(slot)?.to_ne_bytes();
        self.lookup(&key, MapFlags::ANY)
            .context("cannot read the log")?
            .context("the log is smaller than its map says")
    }
}

/// A step of a reader through the log.
#[derive(Debug, PartialEq)]
pub enum Entry {
    Record {
        number: u64,
        bytes: Vec<u8>,
    },
    /// The policy overwrote this many decisions, from this one on, before they were read.
    Lost {
        first: u64,
        count: u64,
    },
    /// The slot of decision `number` holds the number `found`, which belongs into another one.
    Foreign {
        number: u64,
        found: u64,
    },
}

/// A reader of a log.
pub struct Log<S> {
    slots: S,
    /// The number of the decision to read next.
    next: u64,
}

/// Opens the log of a policy at its first decision.
pub fn open(policy: &Policy) -> Result<Log<MapHandle>> {
    let Some(map) = policy.map(DECISIONS, MapType::Array)? else {
        bail!("it has no array named {DECISIONS:?}, as oom_log.bpf.h defines it");
    };
    check_size(map.value_size())?;
    Ok(Log::new(map))
}

/// The map that becomes readable with each decision, if the policy has it.
pub fn news(policy: &Policy) -> Result<Option<MapHandle>> {
    policy.map(NEWS, MapType::RingBuf)
}

/// Fails for records of another layout, by their size.
fn check_size(size: u32) -> Result<()> {
    let ours = size_of::<oom_decision>();
    if size as usize != ours {
        return Err(policy::another_layout(
            &format!("its map {DECISIONS:?} has records of {size} bytes"),
            &format!("reads {ours}"),
        ));
    }
    Ok(())
}

impl Log<MapHandle> {
    /// The id of the map, which no other map has until the next boot.
    pub fn id(&self) -> Result<u32> {
        let info = self.slots.info().context("cannot ask for the log's id")?;
        Ok(info.info.id)
    }
}

impl<S: Slots> Log<S> {
    pub fn new(slots: S) -> Self {
        Self { slots, next: 1 }
    }

    /// Passes over the decisions up to this number, whether or not they are kept.
    pub fn skip(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }

    /// The next entry; `None` if the policy has not decided since the last one.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            let next = self.next;
            let found = self.number_of(next)?;
            if found == next {
                let bytes = self.slots.read(self.slot_of(next))?;
                if self.number_of(next)? == next {
                    self.next += 1;
                    return Ok(Some(Entry::Record {
                        number: next,
                        bytes,
                    }));
                }
                // It was overwritten while it was read.
                continue;
            }
            let foreign = found != 0 && !self.belongs(found, next);
            // The slot is as the last round left it, or is being written. The number after it tells
            // whether that happens a round later.
            if found < next && !foreign && !self.has_passed(next)? {
                return Ok(None);
            }
            let Some(oldest) = self.oldest()? else {
                return Ok(None);
            };
            // It was written after the first look.
            if oldest == next {
                continue;
            }
            if foreign {
                self.next += 1;
                return Ok(Some(Entry::Foreign {
                    number: next,
                    found,
                }));
            }
            self.next = oldest;
            return Ok(Some(Entry::Lost {
                first: next,
                count: oldest - next,
            }));
        }
    }

    /// The number of decisions that are no longer kept.
    pub fn dropped(&self) -> Result<u64> {
        let mut newest = 0;
        for number in self.numbers() {
            newest = newest.max(number?);
        }
        Ok(newest.saturating_sub(self.slots.count()))
    }

    /// Whether a decision after this one is kept in the slot after its slot.
    fn has_passed(&self, number: u64) -> Result<bool> {
        let after = self.number_of(number + 1)?;
        Ok(after > number && self.belongs(after, number + 1))
    }

    /// The lowest number that is kept, of those still to read.
    fn oldest(&self) -> Result<Option<u64>> {
        let mut oldest = None;
        for number in self.numbers() {
            let number = number?;
            if number >= self.next && oldest.is_none_or(|oldest| number < oldest) {
                oldest = Some(number);
            }
        }
        Ok(oldest)
    }

    /// The numbers in all slots that hold one.
    fn numbers(&self) -> impl Iterator<Item = Result<u64>> + '_ {
        (1..=self.slots.count()).filter_map(|place| match self.number_of(place) {
            Ok(number) => self.belongs(number, place).then_some(Ok(number)),
            Err(error) => Some(Err(error)),
        })
    }

    /// The number in the slot of this decision: another one's, or 0 while the policy writes to it.
    fn number_of(&self, number: u64) -> Result<u64> {
        // Keeps the copies of a slot in their order, and pairs with the barriers of oom_log(). The
        // kernel copies on behalf of this thread, so they are loads of this thread.
        fence(Ordering::SeqCst);
        let bytes = self.slots.read(self.slot_of(number))?;
        fence(Ordering::SeqCst);
        let members = <[u64; 2]>::read_from_prefix(&bytes).map_err(|error| error.to_string());
        match members {
            // Version and size are before it.
            Ok(([_, number], _)) => Ok(number),
            Err(error) => bail!("a record of the log has no number: {error}"),
        }
    }

    fn belongs(&self, number: u64, place: u64) -> bool {
        (1..=MAX_NUMBER).contains(&number) && self.slot_of(number) == self.slot_of(place)
    }

    /// The slot of a decision. They are numbered from 1.
    fn slot_of(&self, number: u64) -> u64 {
        (number - 1) % self.slots.count()
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::oom::decision::tests::record;
    use std::cell::Cell;
    use std::cell::RefCell;
    use zerocopy::IntoBytes;

    pub const SIZE: u64 = 512;

    type Hook = Box<dyn Fn(&Memory, u64)>;

    /// A log in memory, which a test writes to as a policy does.
    pub struct Memory {
        slots: RefCell<Vec<oom_decision>>,
        written: Cell<u64>,
        /// Called before each read, with the number of reads that were made before.
        before_read: Hook,
        reads: Cell<u64>,
    }

    impl Slots for Memory {
        fn count(&self) -> u64 {
            SIZE
        }

        fn read(&self, slot: u64) -> Result<Vec<u8>> {
            let reads = self.reads.replace(self.reads.get() + 1);
            (self.before_read)(self, reads);
            let slots = self.slots.borrow();
            Ok(slots[slot as usize].as_bytes().to_vec())
        }
    }

    impl Memory {
        pub fn new() -> Self {
            Self::with(|_, _| ())
        }

        fn with(before_read: impl Fn(&Self, u64) + 'static) -> Self {
            let mut empty = record();
            empty.as_mut_bytes().fill(0);
            Self {
                slots: RefCell::new(vec![empty; SIZE as usize]),
                written: Cell::new(0),
                before_read: Box::new(before_read),
                reads: Cell::new(0),
            }
        }

        /// Changes the slot of a decision.
        pub fn change(&self, number: u64, change: impl FnOnce(&mut oom_decision)) {
            let slot = (number - 1) % SIZE;
            change(&mut self.slots.borrow_mut()[slot as usize]);
        }

        /// Begins to write the next decision. Its time is 10 times its number.
        pub fn begin(&self) -> u64 {
            let number = self.written.get() + 1;
            self.change(number, |slot| {
                *slot = record();
                slot.number = 0;
                slot.time_ns = 10 * number;
            });
            number
        }

        pub fn end(&self) {
            let number = self.written.get() + 1;
            self.change(number, |slot| slot.number = number);
            self.written.set(number);
        }

        pub fn write(&self, count: u64) {
            for _ in 0..count {
                self.begin();
                self.end();
            }
        }
    }

    impl Log<Memory> {
        pub fn memory(&self) -> &Memory {
            &self.slots
        }
    }

    fn log(written: u64) -> Log<Memory> {
        let memory = Memory::new();
        memory.write(written);
        Log::new(memory)
    }

    /// The number of the next entry, whose record has to be the one with this number.
    fn number(log: &mut Log<Memory>) -> u64 {
        match log.next().unwrap() {
            Some(Entry::Record { number, bytes }) => {
                let record = oom_decision::read_from_bytes(&bytes).unwrap();
                assert_eq!((record.number, record.time_ns), (number, 10 * number));
                number
            }
            other => panic!("{other:?}"),
        }
    }

    fn numbers(log: &mut Log<Memory>, count: u64) -> Vec<u64> {
        (0..count).map(|_| number(log)).collect()
    }

    fn lost_from(first: u64, count: u64) -> Entry {
        Entry::Lost { first, count }
    }

    #[test]
    fn decisions_are_read_in_turn_and_once() {
        let mut log = log(0);
        assert_eq!(log.next().unwrap(), None);
        log.memory().write(3);
        assert_eq!(numbers(&mut log, 3), [1, 2, 3]);
        assert_eq!(log.next().unwrap(), None);
        log.memory().write(1);
        assert_eq!(number(&mut log), 4);
        assert_eq!(log.next().unwrap(), None);
    }

    #[test]
    fn a_reader_takes_nothing_from_another() {
        let memory = Memory::new();
        memory.write(2);
        let mut first = Log::new(memory);
        assert_eq!(numbers(&mut first, 2), [1, 2]);
        let mut second = Log::new(first.slots);
        assert_eq!(numbers(&mut second, 2), [1, 2]);
    }

    #[test]
    fn a_reader_that_keeps_up_loses_nothing_when_slots_are_used_again() {
        let mut log = log(0);
        for round in 0..5 {
            log.memory().write(SIZE - 1);
            let first = round * (SIZE - 1) + 1;
            let expected: Vec<_> = (first..first + SIZE - 1).collect();
            assert_eq!(numbers(&mut log, SIZE - 1), expected);
            assert_eq!(log.next().unwrap(), None);
        }
    }

    #[test]
    fn a_reader_that_skips_does_not_go_back() {
        let mut log = log(4);
        log.skip(2);
        log.skip(1);
        assert_eq!(numbers(&mut log, 2), [3, 4]);
        log.skip(6);
        log.memory().write(4);
        assert_eq!(numbers(&mut log, 2), [7, 8]);
        log.skip(9);
        log.memory().write(SIZE + 3);
        assert_eq!(log.next().unwrap(), Some(lost_from(10, 2)));
    }

    #[test]
    fn a_full_log_has_lost_nothing() {
        let mut full = log(SIZE);
        assert_eq!(numbers(&mut full, 2), [1, 2]);
        assert_eq!(full.dropped().unwrap(), 0);
    }

    #[test]
    fn decisions_that_were_overwritten_before_the_start_are_lost() {
        for lost in [1, 2, 488, SIZE, 3 * SIZE + 7] {
            let mut log = log(SIZE + lost);
            assert_eq!(log.dropped().unwrap(), lost);
            assert_eq!(log.next().unwrap(), Some(lost_from(1, lost)));
            let expected: Vec<_> = (lost + 1..=lost + SIZE).collect();
            assert_eq!(numbers(&mut log, SIZE), expected);
            assert_eq!(log.next().unwrap(), None);
        }
    }

    #[test]
    fn decisions_that_were_overwritten_between_two_reads_are_lost() {
        let mut log = log(10);
        assert_eq!(numbers(&mut log, 2), [1, 2]);
        log.memory().write(SIZE);
        assert_eq!(log.next().unwrap(), Some(lost_from(3, 8)));
        assert_eq!(number(&mut log), 11);
    }

    #[test]
    fn a_decision_that_is_being_written_is_not_there_yet() {
        let mut log = log(3);
        log.memory().begin();
        assert_eq!(numbers(&mut log, 3), [1, 2, 3]);
        assert_eq!(log.next().unwrap(), None);
        log.memory().end();
        assert_eq!(number(&mut log), 4);
    }

    #[test]
    fn a_decision_that_is_being_overwritten_is_lost_and_the_next_one_is_not() {
        let mut log = log(SIZE);
        log.memory().begin();
        assert_eq!(log.next().unwrap(), Some(lost_from(1, 1)));
        assert_eq!(number(&mut log), 2);
        // The slot of the first one was written again, and that of the second one is being written.
        let mut behind = super::tests::log(SIZE + 1);
        behind.memory().begin();
        assert_eq!(behind.next().unwrap(), Some(lost_from(1, 2)));
        assert_eq!(super::tests::number(&mut behind), 3);
        let mut current = super::tests::log(SIZE);
        numbers(&mut current, SIZE);
        current.memory().begin();
        assert_eq!(current.next().unwrap(), None);
    }

    #[test]
    fn a_record_that_changes_while_it_is_read_is_not_returned() {
        // The log is full, and the policy begins with decision SIZE + 1, or writes all of it, after the
        // first look at the slot or after the copy.
        for (at, ends) in [(1, false), (1, true), (2, false), (2, true)] {
            let memory = Memory::with(move |memory, reads| {
                if reads == at {
                    memory.begin();
                    if ends {
                        memory.end();
                    }
                }
            });
            memory.write(SIZE);
            let mut log = Log::new(memory);
            assert_eq!(log.next().unwrap(), Some(lost_from(1, 1)), "{at} {ends}");
            assert_eq!(number(&mut log), 2);
        }
    }

    #[test]
    fn a_decision_that_is_finished_between_two_looks_is_read() {
        // The first look finds nothing. Then the policy finishes two decisions.
        let memory = Memory::with(|memory, reads| {
            if reads == 1 {
                memory.write(2);
            }
        });
        let mut log = Log::new(memory);
        assert_eq!(numbers(&mut log, 2), [1, 2]);
    }

    #[test]
    fn a_foreign_number_is_named_and_skipped() {
        for foreign in [7, u64::MAX, MAX_NUMBER + 3] {
            let mut log = log(5);
            log.memory().change(3, |slot| slot.number = foreign);
            assert_eq!(numbers(&mut log, 2), [1, 2]);
            let found = Entry::Foreign {
                number: 3,
                found: foreign,
            };
            assert_eq!(log.next().unwrap(), Some(found));
            assert_eq!(numbers(&mut log, 2), [4, 5]);
            assert_eq!(log.dropped().unwrap(), 0);
        }
    }

    #[test]
    fn neighbouring_foreign_numbers_are_named_one_by_one() {
        for found in [1, u64::MAX] {
            let mut log = log(4);
            for number in [2, 3] {
                log.memory().change(number, |slot| slot.number = found);
            }
            assert_eq!(number(&mut log), 1);
            for number in [2, 3] {
                assert_eq!(log.next().unwrap(), Some(Entry::Foreign { number, found }));
            }
            assert_eq!(number(&mut log), 4);
        }
    }

    #[test]
    fn a_foreign_number_in_a_slot_that_is_not_used_yet_hides_no_decision() {
        let mut log = log(2);
        log.memory().change(3, |slot| slot.number = 99);
        assert_eq!(numbers(&mut log, 2), [1, 2]);
        assert_eq!(log.next().unwrap(), None);
        log.memory().write(1);
        assert_eq!(number(&mut log), 3);
    }

    #[test]
    fn a_slot_that_was_cleared_counts_as_lost() {
        let mut log = log(3);
        log.memory().change(2, |slot| slot.number = 0);
        assert_eq!(number(&mut log), 1);
        assert_eq!(log.next().unwrap(), Some(lost_from(2, 1)));
        assert_eq!(number(&mut log), 3);
    }

    #[test]
    fn a_look_that_finds_nothing_reads_two_slots() {
        for written in [0, 3, SIZE, SIZE + 3] {
            let mut log = log(0);
            for _ in 0..written {
                log.memory().write(1);
                number(&mut log);
            }
            let before = log.memory().reads.get();
            assert_eq!(log.next().unwrap(), None);
            assert_eq!(log.memory().reads.get(), before + 2);
        }
    }

    #[test]
    fn records_of_another_size_are_refused() {
        let ours = size_of::<oom_decision>() as u32;
        assert!(check_size(ours).is_ok());
        let message = check_size(ours + 8).unwrap_err().to_string();
        assert!(
            message.contains(&format!("records of {} bytes", ours + 8)),
            "{message}"
        );
        assert!(message.ends_with("or update memcgctl"), "{message}");
    }
}
