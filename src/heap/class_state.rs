//! One size class of a heap, without the loaded magazine: the other magazines, partly used pools, and counts.

use super::magazine::{Depot, absent, bottom, capacity, is_absent};
use crate::geometry::SizeClass;
use crate::region::{PoolList, Slot};
use crate::sync::{Counter, WatchedPtr, WatchedU32};
use core::cell::Cell;

/// Number of blocks that the first fill of a class takes. Each later fill takes twice as many, up to a whole magazine.
/// So a thread with a hundred allocations takes only a few blocks more than it uses.
pub(super) const FIRST_FILL: u32 = 4;

/// Most blocks in the foreign magazine of a class while blocks are not handed round. The number is small, because the
/// blocks stay there while the thread is idle, and each one keeps a pool of another heap in use.
pub(super) const FOREIGN_BLOCKS: usize = 32;

/// The part of a size class that the slow paths use.
///
/// `cached` is the number of blocks in the loaded magazine, the previous one and the depot. `frees` is the count of the
/// head. The quarantine of the debug mode is left out: its blocks are live for the heap.
///
/// ```text
/// 1  allocations = filled + adopted + frees - flushed - cached    blocks served to this heap's threads, never below 0
/// 2  pools * blocks of a pool = filled - flushed - collected + free    free: bits of the free map in this heap's pools
/// 3  waiting = remote_frees - adopted - collected    over all heaps: in remote maps and in foreign magazines
/// ```
/// Class equations 1 and 2 hold whenever no blocks of the heap are under way. Debug builds check them before each
/// search for wholly free pools, and `check_heap` checks the sums of 2 and of 3 over all heaps.
pub(crate) struct ClassState {
    /// Top of the previous magazine: full, empty, or absent.
    pub(super) previous: WatchedPtr<Slot>,
    pub(crate) depot: Depot,
    /// Top of the foreign magazine, with blocks of other heaps that this heap's thread freed; absent at first.
    pub(crate) foreign: WatchedPtr<Slot>,
    /// The top at which the foreign magazine counts as full. If blocks are handed round, it is full with as many blocks
    /// as any magazine of the class; else with no more than [`FOREIGN_BLOCKS`].
    pub(super) foreign_full: Cell<*mut Slot>,
    /// Number of blocks that the next fill asks for.
    pub(super) next_fill: Cell<u32>,
    /// Number of chances to adopt the foreign magazine so far, taken or not. Wraps.
    pub(super) chances: Cell<u32>,
    /// Upper bound for the number of blocks of other heaps in the loaded magazine, the previous one and the depot.
    pub(crate) cached_foreign: WatchedU32,
    /// Whether threads hand blocks of this class round. Then the foreign magazine is used up to its capacity.
    pub(super) goes_round: Cell<bool>,
    /// The class's pools with blocks in the free map.
    pub(super) partial: PoolList,
    /// Pools of this class that the heap has now.
    pub(crate) pools: Counter,
    /// Blocks moved out of pools, in all.
    pub(crate) filled: Counter,
    /// Blocks of this heap moved back to pools by its own thread, in all.
    pub(crate) flushed: Counter,
    /// Blocks of this heap that other threads freed and the heap has collected, in all.
    pub(crate) collected: Counter,
    /// Blocks of other heaps that this heap's thread freed, in all. For a private heap: blocks of this heap that
    /// threads freed without its lock.
    pub(crate) remote_frees: Counter,
    /// Blocks of other heaps that came into the magazines by adoption, in all, minus those that were posted from there.
    pub(crate) adopted: Counter,
}

impl ClassState {
    pub(super) const fn new() -> Self {
        Self {
            previous: WatchedPtr::new(absent()),
            depot: Depot::new(),
            foreign: WatchedPtr::new(absent()),
            foreign_full: Cell::new(absent()),
            next_fill: Cell::new(FIRST_FILL),
            chances: Cell::new(0),
            cached_foreign: WatchedU32::new(0),
            goes_round: Cell::new(false),
            partial: PoolList::new(),
            pools: Counter::new(),
            filled: Counter::new(),
            flushed: Counter::new(),
            collected: Counter::new(),
            remote_frees: Counter::new(),
            adopted: Counter::new(),
        }
    }

    /// Top of the previous magazine.
    pub(crate) fn previous(&self) -> *mut Slot {
        self.previous.get()
    }

    pub(super) fn set_previous(&self, top: *mut Slot) {
        self.previous.set(top);
    }

    /// Top of the foreign magazine.
    pub(crate) fn foreign(&self) -> *mut Slot {
        self.foreign.get()
    }

    /// Makes another magazine of this class the foreign one.
    pub(super) fn set_foreign(&self, top: *mut Slot, class: SizeClass) {
        self.foreign.set(top);
        self.foreign_full.set(if is_absent(top) {
            top
        } else {
            let most = if self.goes_round.get() { capacity(class) } else { capacity(class).min(FOREIGN_BLOCKS) };
            bottom(top, class).wrapping_sub(most)
        });
    }

    /// Whether there is no foreign magazine, or it has no room for one more block.
    pub(super) fn is_foreign_full(&self) -> bool {
        core::ptr::eq(self.foreign(), self.foreign_full.get())
    }

    /// Marks the blocks of the class as handed round. The next foreign magazine is then used up to its capacity.
    #[cfg(test)]
    pub(crate) fn let_go_round(&self) {
        self.goes_round.set(true);
    }

    /// Upper bound for the number of blocks of other heaps in the loaded magazine, the previous one and the depot.
    pub(crate) fn cached_foreign(&self) -> usize {
        self.cached_foreign.get() as usize
    }
}
