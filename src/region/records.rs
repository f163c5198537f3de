//! Records: what is known of each pool and each arena. They lie in tables beside the arenas.

use super::list::ListLinks;
use crate::geometry::{CLASSES, SizeClass};
use crate::sync::{WatchedU8, WatchedU32, WatchedU64};

/// Where a pool stands; all zero means free, as fresh memory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum PoolState {
    Free = 0,
    Taken,
    Listed,
}

/// What is known of a pool; Region invariant 2 says whose it is.
///
/// Pool invariant 1: a bit of the pool's words in the free map is set only where a block of its class begins.
/// Pool invariant 2: the state is `Listed` exactly if one of those bits is set, and then the pool is on its class's
/// list.
pub(crate) struct PoolRecord {
    /// Its place on its class's list.
    pub(super) links: ListLinks,
    class: WatchedU8,
    state: WatchedU8,
}

impl PoolRecord {
    pub(crate) fn class(&self) -> SizeClass {
        SizeClass::new(self.class.get() as usize)
    }

    pub(crate) fn state(&self) -> PoolState {
        match self.state.get() {
            0 => PoolState::Free,
            1 => PoolState::Taken,
            _ => PoolState::Listed,
        }
    }

    /// The class, if what is written there is one.
    pub(crate) fn known_class(&self) -> Option<SizeClass> {
        let index = self.class.get() as usize;
        (index < CLASSES).then(|| SizeClass::new(index))
    }

    /// The pool before this one on its class's list, else [`NONE`](super::list::NONE).
    pub(crate) fn previous(&self) -> u32 {
        self.links.previous.get()
    }

    pub(super) fn set_state(&self, state: PoolState) {
        self.state.set(state as u8);
    }

    /// The pool, with no block in the free map, loses its class.
    pub(crate) fn give_up(&self) {
        self.set_state(PoolState::Free);
    }

    /// The pool becomes one of this class, with no block in the free map.
    pub(crate) fn take(&self, class: SizeClass) {
        debug_assert_eq!(self.state(), PoolState::Free);
        self.class.set(class.index() as u8);
        self.set_state(PoolState::Taken);
    }
}

/// What is known of an arena; Region invariant 2 says whose it is.
///
/// Arena invariant 1: a bit of `free_pools` is set exactly for the pools that have no class.
/// Arena invariant 2: an arena owned by a heap is on that heap's list for the number of its free pools; a shared one is
/// wholly free and on the shared list.
pub(crate) struct ArenaRecord {
    pub(super) free_pools: WatchedU64,
    /// Its place on its heap's list, or on the shared one.
    pub(super) links: ListLinks,
}

impl ArenaRecord {
    /// The arena is new, or comes from the shared list: all its pools are free.
    pub(crate) fn set_wholly_free(&self) {
        self.free_pools.set(u64::MAX);
    }

    /// The arena behind this one on its list. That of the shared list is for the holder of the shared lock.
    pub(crate) fn next(&self) -> &WatchedU32 {
        &self.links.next
    }

    /// A bit for each pool without a class.
    pub(crate) fn free_pools(&self) -> u64 {
        self.free_pools.get()
    }

    /// The arena before this one on a heap's list, else [`NONE`](super::list::NONE).
    pub(crate) fn previous(&self) -> u32 {
        self.links.previous.get()
    }

    pub(crate) fn free_count(&self) -> usize {
        self.free_pools.get().count_ones() as usize
    }
}
