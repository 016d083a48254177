// SPDX-License-Identifier: GPL-2.0

//! Random numbers that a seed decides: a stream for each worker.

use std::fs::File;
use std::io;
use std::io::Read;
use std::time::Duration;

/// SplitMix64: small, and good enough to choose by.
pub struct Random(u64);

impl Random {
    /// The stream of one worker in one round.
    pub fn new(seed: u64, round: u64, worker: u64) -> Self {
        let mut random = Self(seed);
        random.0 = random.next() ^ round;
        random.0 = random.next() ^ worker;
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit)) as u32
    }

    pub fn index(&mut self, len: usize) -> usize {
        (self.next() % len as u64) as usize
    }

    pub fn chance(&mut self, one_in: u32) -> bool {
        self.below(one_in) == 0
    }

    pub fn duration(&mut self, from_ms: u32, to_ms: u32) -> Duration {
        Duration::from_millis(u64::from(from_ms + self.below(to_ms - from_ms)))
    }
}

/// A seed that nobody has chosen; short, because people copy it.
pub fn seed() -> io::Result<u64> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_decided_by_the_seed_and_differ() {
        let numbers = |seed, round, worker| {
            let mut random = Random::new(seed, round, worker);
            [(); 8].map(|()| random.next())
        };
        assert_eq!(numbers(1, 2, 3), numbers(1, 2, 3));
        for (seed, round, worker) in [(2, 2, 3), (1, 3, 3), (1, 2, 4)] {
            assert_ne!(numbers(1, 2, 3), numbers(seed, round, worker));
        }
    }

    #[test]
    fn numbers_keep_their_limits() {
        let mut random = Random::new(7, 0, 0);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            let duration = random.duration(10, 20).as_millis();
            assert!((10..20).contains(&duration));
        }
    }
}
