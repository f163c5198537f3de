//! Which requests of a thread are sampled: each byte with the same chance, whatever came before.
//!
//! The bytes up to the next sample are drawn from an exponential distribution, so that samples are a Poisson process
//! over the bytes asked for, as in tcmalloc (`sampler.h`), jemalloc (`prof_sample_threshold_update`) and Go
//! (`nextSample` in `malloc.go`). A request of `s` bytes has a sample in it with the chance `1 - exp(-s / mean)`, so
//! each that has stands for the reciprocal of that many requests of its size: then sums are right on average, for any
//! sizes.

use core::cell::Cell;

/// Largest mean: what is drawn fits into a count of bytes.
pub(super) const MOST_BYTES: u64 = 1 << 56;

/// What a heap keeps for it; its owner's alone.
pub(super) struct Sampler {
    /// The profiler's turn that the rest is for; odd while requests are sampled.
    pub(super) turn: Cell<u32>,
    /// Mean bytes from sample to sample.
    pub(super) mean: Cell<u64>,
    /// Bytes up to the next sample. Above 0 between requests, but if all are sampled.
    pub(super) left: Cell<i64>,
    /// State of the random numbers.
    pub(super) random: Cell<u64>,
}

impl Sampler {
    pub(super) const fn new(index: usize) -> Self {
        // Each heap has other numbers, and each run of a program the same.
        Self { turn: Cell::new(0), mean: Cell::new(1), left: Cell::new(0), random: Cell::new(index as u64) }
    }

    /// A number from 0 up to, but not, 1 (SplitMix64, Steele, Lea and Flood 2014).
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
        // Every request is sampled if each byte is to be. Else the number of the byte with the sample in it, the next
        // being 1.
        let gap = if mean == 1 { 0 } else { (-(1.0 - self.random()).ln() * mean as f64).ceil().max(1.0) as i64 };
        self.left.set(gap);
    }

    /// Requests that a sampled one of so many bytes stands for.
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
            // Rounded up to whole bytes it is the geometric distribution with p = 1 - exp(-1 / mean).
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
