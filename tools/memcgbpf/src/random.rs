// SPDX-License-Identifier: GPL-2.0

//! Random choices that a seed repeats.

use std::time::Duration;

/// A stream of random numbers.
pub struct Random(fastrand::Rng);

impl Random {
    /// The stream that `numbers` name, such as a round and a worker, in the run of a seed.
    pub fn new(seed: u64, numbers: &[u64]) -> Self {
        let start = fastrand::Rng::with_seed(seed);
        Self(numbers.iter().fold(start, |mut random, number| {
            fastrand::Rng::with_seed(random.u64(..) ^ number)
        }))
    }

    pub fn number(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0.usize(..limit)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of the values, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    pub fn duration(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(self.0.u64(from_ms..to_ms))
    }
}

/// A seed for a run that was given none; short, because people copy it.
pub fn seed() -> u64 {
    fastrand::u32(..).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seed_and_numbers_decide_the_stream() {
        let draw = |seed, numbers: &[u64]| {
            let mut random = Random::new(seed, numbers);
            [(); 8].map(|()| random.number())
        };
        assert_eq!(draw(1, &[2, 3]), draw(1, &[2, 3]));
        for (seed, numbers) in [(2, [2, 3]), (1, [3, 3]), (1, [2, 4]), (1, [3, 2])] {
            assert_ne!(draw(1, &[2, 3]), draw(seed, &numbers));
        }
    }

    #[test]
    fn numbers_stay_within_their_limits() {
        let mut random = Random::new(7, &[]);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!([5, 6].contains(&random.pick(&[5, 6])));
            let duration = random.duration(10, 20).as_millis();
            assert!((10..20).contains(&duration));
        }
    }
}
