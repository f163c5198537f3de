//! A walk over all pools, heaps and tables of the allocator. It checks each invariant.
//!
//! ```text
//!   shared        the counts, the shared list of arenas, the lists of parked heaps
//!   arenas        each pool's record, tag and words of the maps; which pools are free
//!   heaps         front, magazines, partly used pools, arenas, pending list, spare magazines
//!   sums          blocks found in pools against the counts of the heaps
//! ```
//! Other threads may change the data during the walk. So the walk reads such data only through atomics, checks each
//! index and pointer before it follows it, and follows each list only as far as the list can be long. While other
//! threads run, its result may be wrong, but it does no harm.

use super::sums::HeapSums;
use super::violation::{Violation, ViolationPlace, demand};
use crate::debug;
use crate::geometry::{POOLS_PER_ARENA, SizeClass};
use crate::heap::OwnedHeap;
use crate::process::{SHARED, SharedState, View, tls};
use crate::region::{ArenaId, NONE};

/// Checks the whole heap: walks the region, arenas, pools, their records, the magazines and all lists, and checks every
/// invariant and every count of the allocator.
///
/// One of its checks is the identity of CPython's `sys._debugmallocstats()`. For each class, three parts fill its
/// pools: the blocks found free in pools, the blocks found in magazines or waiting as remote frees, and the live blocks
/// that [`stats()`](crate::stats()) counts. Three parts fill the open arenas: pools with a class, pools without one,
/// and the ends lost to rounding.
///
/// The check is exact while all other threads are quiet: they neither allocate nor free, and none starts or ends. While
/// other threads run, it may report a violation where there is none, but it does no harm. In the child of a `fork` it
/// looks only at the calling thread's heap and at heaps made since the fork: other heaps may have been in the middle of
/// a change.
///
/// It never allocates. It reads the records of all open arenas and of all heaps, under the lock that guards new ones.
/// So it is meant for tests, for a quiet moment of a server, and for a program whose memory may be damaged. It needs 40
/// KiB of stack, or 80 KiB in an unoptimized build.
///
/// # Errors
/// The first [`Violation`] found. Its text says what is wrong and where.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// let held = vec![String::from("pooled")];
/// poolmalloc::check_heap()?;
/// # drop(held);
/// # Ok::<(), poolmalloc::Violation>(())
/// ```
pub fn check_heap() -> Result<(), Violation> {
    debug::drain();
    check_of(&SHARED, tls::heap_if_any())
}

/// Checks these pools; `own` is the calling thread's heap.
pub(crate) fn check_of(shared: &SharedState, own: Option<OwnedHeap<'_>>) -> Result<(), Violation> {
    shared.with_view(own, View::check).unwrap_or(Ok(()))
}

impl View<'_> {
    /// Makes the whole walk.
    pub(crate) fn check(&self) -> Result<(), Violation> {
        self.check_counts()?;
        let mut sums = HeapSums::default();
        for arena in 0..self.carved {
            self.check_arena(ArenaId(arena as u32), &mut sums)?;
        }
        for index in 0..self.heaps {
            if let Some(heap) = self.heap(index) {
                self.check_one_heap(index, heap, &mut sums)?;
            }
        }
        SizeClass::all().try_for_each(|class| self.check_between_heaps(class))?;
        let shared_arenas = self.check_shared_arenas()?;
        if self.heaps_before_fork == 0 {
            self.check_sums(&sums, shared_arenas)?;
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), Violation> {
        self.parked_lists.map_err(|what| Violation::new(what, ViolationPlace::Process))?;
        let process = |holds, what| demand(holds, what, ViolationPlace::Process);
        process(self.carved <= self.open, "more arenas are in use than are open")?;
        process(self.open <= self.region.max_arenas(), "more arenas are open than the region has")?;
        process(self.heaps <= self.region.max_heaps(), "there are more heaps than places for them")?;
        process(self.magazines <= self.region.max_magazines(), "there are more magazines than places for them")
    }

    /// Checks the shared list of arenas. Returns the number of arenas on it.
    fn check_shared_arenas(&self) -> Result<usize, Violation> {
        let mut next = self.free_arenas;
        for found in 0..=self.free_arena_count {
            if next == NONE {
                demand(
                    found == self.free_arena_count,
                    "the shared list of arenas is shorter than its count",
                    ViolationPlace::Process,
                )?;
                return Ok(found);
            }
            demand(
                (next as usize) < self.carved,
                "the shared list of arenas names one not in use",
                ViolationPlace::Process,
            )?;
            let (arena, place) = (ArenaId(next), self.arena_place(ArenaId(next)));
            let record = self.region.arena_record(arena);
            demand(record.free_count() == POOLS_PER_ARENA, "an arena on the shared list is not wholly free", place)?;
            next = record.next().get();
        }
        Err(Violation::new("the shared list of arenas is longer than its count", ViolationPlace::Process))
    }

    /// Compares the sums of the walk with the counts of the heaps.
    fn check_sums(&self, sums: &HeapSums, shared_arenas: usize) -> Result<(), Violation> {
        let process = |holds, what| demand(holds, what, ViolationPlace::Process);
        let [listed, on_lists] = sums.listed_pools;
        process(listed == on_lists, "some pool with free blocks is on no list, or some is on two")?;
        let [waiting, queued] = sums.waiting_words;
        process(waiting == queued, "some word with remote frees is on no pending list, or some is on two")?;
        let arenas = sums.listed_arenas + shared_arenas + self.chunk_arenas;
        process(arenas == self.carved, "some arena is lost, or has two owners")?;
        process(sums.magazines == self.magazines, "some magazine is lost, or has two owners")?;
        for class in SizeClass::all() {
            let (sums, place) = (&sums.classes[class.index()], ViolationPlace::Classes { block_bytes: class.bytes() });
            demand(sums.pools[0] == sums.pools[1], "the count of pools is not that of the pools there are", place)?;
            let [taken, counted] = sums.taken;
            demand(taken == counted, "live, cached and free blocks do not fill the pools", place)?;
            let [waiting, counted] = sums.waiting;
            demand(waiting == counted, "the count of remote frees is not that of the blocks that wait", place)?;
            // A block that is out of its pool, in no magazine and not waiting is live.
            demand(sums.cached + waiting <= taken, "more blocks are cached than are out of their pools", place)?;
        }
        Ok(())
    }
}
