//! Decides which requests of a thread are sampled: each byte has the same chance, whatever came before.
//!
//! The bytes up to the next sample are drawn from an exponential distribution, so that samples are a Poisson process
//! over the bytes asked for, as in tcmalloc (`sampler.h`), jemalloc (`prof_sample_threshold_update`) and Go
//! (`nextSample` in `malloc.go`). The chance that a request of `s` bytes is sampled is `1 - exp(-s / mean)`. So a
//! sampled request stands for `1 / (1 - exp(-s / mean))` requests of its size. Sums of such numbers are right on
//! average, for any sizes.

use core::cell::Cell;

/// Largest mean, in bytes: every number of bytes that is drawn with it fits into an `i64`.
pub(super) const MOST_BYTES: u64 = 1 << 56;

/// The state of a heap's sampling. Only the heap's owner uses it.
pub(super) struct Sampler {
    /// The profiler's turn for which the other fields are set. Odd while requests are sampled.
    pub(super) turn: Cell<u32>,
    /// Mean bytes from sample to sample.
    pub(super) mean: Cell<u64>,
    /// Bytes up to the next sample. Above 0 between requests, except when every request is sampled.
    pub(super) left: Cell<i64>,
    /// State of the random numbers.
    pub(super) random: Cell<u64>,
}

impl Sampler {
    pub(super) const fn new(index: usize) -> Self {
        // The heap's index is the seed: heaps draw different numbers, and a heap draws the same ones in each run of a
        // program.
        Self { turn: Cell::new(0), mean: Cell::new(1), left: Cell::new(0), random: Cell::new(index as u64) }
    }

    /// A random number, at least 0 and below 1 (SplitMix64, Steele, Lea and Flood 2014).
    fn random(&self) -> f64 {
        let state = self.random.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.random.set(state);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws the bytes up to the next sample.
    pub(super) fn draw(&self) {
        let mean = self.mean.get();
        // A mean of 1 samples every request. Otherwise the gap says which byte has the sample: 1 is the next byte that
        // is asked for.
        let gap = if mean == 1 { 0 } else { (-(1.0 - self.random()).ln() * mean as f64).ceil().max(1.0) as i64 };
        self.left.set(gap);
    }

    /// Number of requests that a sampled request of this many bytes stands for.
    pub(super) fn weight(&self, bytes: usize) -> f64 {
        match self.mean.get() {
            1 => 1.0,
            mean => -1.0 / (-(bytes as f64) / mean as f64).exp_m1(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(mean: u64) -> Sampler {
        let sampler = Sampler::new(7);
        sampler.mean.set(mean);
        sampler.draw();
        sampler
    }

    #[test]
    fn gaps_have_the_mean_and_the_spread_of_an_exponential_distribution() {
        for mean in [2_u64, 100, 512 * 1024, MOST_BYTES] {
            let sampler = sampler(mean);
            let gaps: Vec<f64> = (0..100_000)
                .map(|_| {
                    sampler.draw();
                    sampler.left.get() as f64
                })
                .collect();
            let average = gaps.iter().sum::<f64>() / gaps.len() as f64;
            let variance = gaps.iter().map(|gap| (gap - average).powi(2)).sum::<f64>() / gaps.len() as f64;
            // Gaps are rounded up to whole bytes, so they have the geometric distribution with p = 1 - exp(-1 / mean).
            let p = -(-1.0 / mean as f64).exp_m1();
            assert!((average * p - 1.0).abs() < 0.02, "{mean}: {average}");
            assert!((variance.sqrt() * p / (1.0 - p).sqrt() - 1.0).abs() < 0.03, "{mean}: {variance}");
        }
    }

    #[test]
    fn weights_are_the_reciprocals_of_chances() {
        let sampler = sampler(1000);
        assert!((sampler.weight(1) - 1000.5).abs() < 0.001);
        assert!((sampler.weight(1000) - 1.0 / (1.0 - (-1.0_f64).exp())).abs() < 1e-12);
        assert!((sampler.weight(1 << 30) - 1.0).abs() < 1e-12);
        sampler.mean.set(1);
        assert_eq!((sampler.weight(1), sampler.weight(1000)), (1.0, 1.0));
    }
}
