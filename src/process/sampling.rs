//! Whether requests are sampled for a profile, and how many bytes lie between samples.

use crate::large::LARGE;
use crate::traces::TRACES;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Whether samples are taken, and the mean of the bytes between two of them.
pub(crate) struct SamplingState {
    /// Counts starts and stops: odd while samples are taken. `Release` and `Acquire`: a thread that sees a turn sees
    /// its mean.
    turn: AtomicU32,
    /// Relaxed: a thread may see the mean of the next turn before it sees that turn. It reads the mean again as soon as
    /// it sees the turn.
    mean: AtomicU64,
}

/// Whether samples are taken in a turn of the profiler.
pub(crate) fn is_sampling(turn: u32) -> bool {
    turn % 2 == 1
}

impl SamplingState {
    const fn new() -> Self {
        Self { turn: AtomicU32::new(0), mean: AtomicU64::new(1) }
    }

    #[inline]
    pub(crate) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Acquire)
    }

    pub(crate) fn mean_bytes(&self) -> u64 {
        self.mean.load(Ordering::Relaxed)
    }

    /// Begins a new turn. Nothing allocates here.
    pub(crate) fn start(&self, mean_bytes: u64) {
        LARGE.use_it();
        // A sample whose backtrace finds no room gets the empty backtrace. If there is no memory even for that one,
        // such samples are lost.
        TRACES.insert(&[]);
        // The upper bound is more than any process allocates.
        self.mean.store(mean_bytes.clamp(1, 1 << 56), Ordering::Relaxed);
        self.turn_to(|turn| if is_sampling(turn) { turn.wrapping_add(2) } else { turn.wrapping_add(1) });
    }

    /// Ends the turn, if samples are taken.
    pub(crate) fn stop(&self) {
        self.turn_to(|turn| if is_sampling(turn) { turn.wrapping_add(1) } else { turn });
    }

    fn turn_to(&self, next: impl Fn(u32) -> u32) {
        // This never fails, since the closure always returns a turn.
        let _ = self.turn.fetch_update(Ordering::Release, Ordering::Relaxed, |turn| Some(next(turn)));
    }
}

/// Whether requests are sampled.
pub(crate) static SAMPLING: SamplingState = SamplingState::new();
