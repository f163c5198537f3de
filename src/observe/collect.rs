//! The figures of heaps, added up.

use crate::figures::Stats;
use crate::geometry::SizeClass;
use crate::heap::{Counts, Heap, LargeCounters};

impl Stats {
    /// Adds the figures of one heap. The parts of a class add up only when all heaps have been added: until then
    /// `live_blocks` and `waiting_blocks` may be below zero, and wrap.
    pub(crate) fn add_heap(&mut self, heap: &Heap) {
        for class in SizeClass::all() {
            let (head, state, sum) = (heap.head(class), heap.class(class), &mut self.classes[class.index()]);
            let in_magazines = heap.cached_blocks(class) as u64;
            let (filled, flushed, collected) = (state.filled.value(), state.flushed.value(), state.collected.value());
            let (remote_frees, adopted) = (state.remote_frees.value(), state.adopted.value());
            let pools = state.pools.value();
            // Blocks in the quarantine: the program has freed them.
            let [kept, kept_remote] = heap.kept(class);
            sum.pools += pools;
            add(&mut sum.frees, (head.frees() + remote_frees).wrapping_add(kept), 0);
            add(&mut sum.remote_frees, remote_frees.wrapping_add(kept_remote), 0);
            add(&mut sum.cached_blocks, in_magazines.wrapping_add(kept), 0);
            add(&mut sum.waiting_blocks, remote_frees, collected.wrapping_add(adopted));
            let gone = (flushed + in_magazines + remote_frees).wrapping_add(kept);
            add(&mut sum.live_blocks, filled.wrapping_add(adopted), gone);
            add(&mut sum.free_blocks, pools * class.blocks_per_pool() as u64 + flushed + collected, filled);
        }
        self.add_large(&heap.large);
    }

    /// Adds counts of the backend.
    pub(crate) fn add_large(&mut self, large: &LargeCounters) {
        self.large.allocations += large.allocations.value();
        let [kept, kept_bytes] = large.kept.value();
        add(&mut self.large.frees, large.frees.value().wrapping_add(kept), 0);
        self.large.reallocations += large.reallocations.value();
        self.moved += large.moved.value();
        add(&mut self.large.live_bytes, large.bytes_in.value(), large.bytes_out.value().wrapping_add(kept_bytes));
    }

    /// Subtracts the counts that a private heap already had when its present handle took it.
    pub(super) fn subtract_earlier(&mut self, earlier: &Counts) {
        for (class, [_, frees, remote_frees]) in self.classes.iter_mut().zip(earlier.classes()) {
            class.frees -= frees;
            class.remote_frees -= remote_frees;
        }
        let [allocations, frees, reallocations, _, _, moved] = earlier.large();
        self.large.allocations -= allocations;
        self.large.frees -= frees;
        self.large.reallocations -= reallocations;
        self.moved -= moved;
    }
}

/// Adds a difference that may be negative.
fn add(sum: &mut u64, plus: u64, minus: u64) {
    *sum = sum.wrapping_add(plus).wrapping_sub(minus);
}
