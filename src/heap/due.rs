//! Which requests of a heap's thread are due to be sampled.

use super::sampler::MOST_BYTES;
use super::state::OwnedHeap;

impl OwnedHeap<'_> {
    /// The turn of sampling that this heap has noticed last.
    #[inline]
    pub(crate) fn turn(self) -> u32 {
        self.own.sampler.turn.get()
    }

    /// Begins a turn of sampling, with this mean.
    pub(crate) fn begin_turn(self, turn: u32, mean: u64) {
        let sampler = &self.own.sampler;
        sampler.turn.set(turn);
        sampler.mean.set(mean.clamp(1, MOST_BYTES));
        sampler.draw();
    }

    /// Whether a request of this many bytes is due to be a sample. If so, the caller must [`weigh`](Self::weigh) it.
    #[inline]
    pub(crate) fn is_due(self, bytes: usize) -> bool {
        let left = self.own.sampler.left.get() - bytes as i64;
        self.own.sampler.left.set(left);
        left <= 0
    }

    /// The number of requests that a sampled one of this many bytes stands for. Draws the place of the next sample.
    pub(crate) fn weigh(self, bytes: usize) -> f64 {
        let weight = self.own.sampler.weight(bytes);
        self.own.sampler.draw();
        weight
    }
}
