//! Records: the metadata of pools and of arenas. They lie in tables beside the arenas.

use super::list::ListLinks;
use crate::geometry::{CLASSES, SizeClass};
use crate::sync::{WatchedU8, WatchedU32, WatchedU64};

/// State of a pool. `Free` is zero, so a record in fresh memory says that its pool is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum PoolState {
    Free = 0,
    Taken,
    Listed,
}

/// Metadata of a pool. Region invariant 2 names its owner.
///
/// Pool invariant 1: a bit of the pool's words in the free map is set only where a block of its class begins.
/// Pool invariant 2: the state is `Listed` exactly if at least one of those bits is set. The pool is then on the list
/// of its class.
pub(crate) struct PoolRecord {
    /// Place on the list of its class.
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

    /// The class. `None` if the byte in the record is not the index of a class.
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

    /// Marks the pool as free: it has no class any more. None of its blocks may be in the free map.
    pub(crate) fn give_up(&self) {
        self.set_state(PoolState::Free);
    }

    /// Gives a free pool this class. None of its blocks is in the free map.
    pub(crate) fn take(&self, class: SizeClass) {
        debug_assert_eq!(self.state(), PoolState::Free);
        self.class.set(class.index() as u8);
        self.set_state(PoolState::Taken);
    }
}

/// Metadata of an arena. Region invariant 2 names its owner.
///
/// Arena invariant 1: bit `n` of `free_pools` is set exactly if pool `n` of the arena has no class.
/// Arena invariant 2: an arena owned by a heap is on that heap's list for the number of its free pools; a shared one is
/// wholly free and on the shared list.
pub(crate) struct ArenaRecord {
    pub(super) free_pools: WatchedU64,
    /// Place on its heap's list. The shared list is a stack and uses `next` alone.
    pub(super) links: ListLinks,
}

impl ArenaRecord {
    /// Marks all pools as free: the arena is new, comes from the shared list, or was just emptied.
    pub(crate) fn set_wholly_free(&self) {
        self.free_pools.set(u64::MAX);
    }

    /// Number of the next arena on its list, else [`NONE`](super::list::NONE). For an arena on the shared list, only
    /// the holder of the shared lock may use it.
    pub(crate) fn next(&self) -> &WatchedU32 {
        &self.links.next
    }

    /// One bit for each pool, set if the pool has no class.
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
