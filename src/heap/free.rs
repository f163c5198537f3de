//! The slow half of a free: the loaded magazine is full or absent, or another heap owns the block.

use super::magazine::{Depot, count, is_absent, is_newest};
use super::misuse::refuse;
use super::state::{OwnedHeap, in_this_order};
use super::supply::Supply;
use crate::geometry::SizeClass;
use crate::region::{PoolId, Slot};

impl OwnedHeap<'_> {
    /// Frees the block at `offset` of the region when the loaded magazine has no room, or when another heap owns the
    /// block.
    ///
    /// `block` is passed although `offset` implies it: the leak finder scans registers, so the address must stay in one
    /// until the block is in a magazine.
    pub(crate) fn free(self, supply: &impl Supply, block: *mut u8, offset: usize) {
        let tag = self.region.tag(PoolId::of_offset(offset));
        if tag.is_free_or_private() {
            // Otherwise the foreign magazine could serve a private heap's block again, even when that heap is gone.
            refuse(block, tag);
        }
        let class = tag.class();
        if tag == self.front.tag(class) {
            self.free_own(supply, class, block);
        } else {
            self.free_remote(supply, class, block, offset);
        }
    }

    /// Frees a block of this private heap. Its handle frees no block of other heaps.
    pub(crate) fn free_private(self, supply: &impl Supply, block: *mut u8, offset: usize) {
        let tag = self.region.tag(PoolId::of_offset(offset));
        if tag.is_free() || tag != self.front.tag(tag.class()) {
            refuse(block, tag);
        }
        self.free_own(supply, tag.class(), block);
    }

    /// Frees a block of this heap: makes room in the loaded magazine, and pushes the block.
    #[inline(never)]
    fn free_own(self, supply: &impl Supply, class: SizeClass, block: *mut u8) {
        let head = self.head(class);
        if head.push(block) {
            return;
        }
        let state = self.class(class);
        let full = head.top();
        if is_newest(full, block) {
            self.wrong_free(class, block.addr() - self.region.base().addr().get());
        }
        let previous = state.previous();
        if is_absent(full) {
            match self.new_magazine(supply, class) {
                Some(empty) => head.load(empty),
                None => return self.free_to_pool(supply, class, block),
            }
        } else if is_absent(previous) {
            match self.new_magazine(supply, class) {
                Some(empty) => {
                    state.set_previous(full);
                    in_this_order();
                    head.load(empty);
                }
                None => {
                    self.begin_move();
                    head.load(self.flush_magazine(class, full));
                    self.end_move();
                    self.search_if_much_was_freed(supply);
                }
            }
        } else if count(previous, class) == 0 {
            // The leak finder may stop this thread anywhere here, and must find the full magazine in some place.
            state.set_previous(full);
            in_this_order();
            head.load(previous);
        } else {
            let empty = self.empty_magazine(supply, class);
            state.set_previous(full);
            head.load(empty);
            self.end_move();
            self.search_if_much_was_freed(supply);
        }
        head.push(block);
    }

    /// Frees a block of this heap to its pool at once: the heap never has magazines, or there is no memory for one.
    fn free_to_pool(self, supply: &impl Supply, class: SizeClass, block: *mut u8) {
        self.head(class).count_free();
        self.begin_move();
        self.flush(class, &[Slot::new(block)]);
        self.end_move();
        self.search_if_much_was_freed(supply);
    }

    /// An empty magazine, for a heap whose loaded and previous magazines are full. The previous one goes to the depot
    /// or is flushed. This function begins a move, which the caller ends when the loaded magazine has become the
    /// previous one.
    fn empty_magazine(self, supply: &impl Supply, class: SizeClass) -> *mut Slot {
        let state = self.class(class);
        let has_room = state.depot.length() < Depot::bound(class);
        let new = if has_room { self.new_magazine(supply, class) } else { None };
        self.begin_move();
        let empty = match new {
            Some(new) => new,
            None => match state.depot.pop_oldest() {
                Some(oldest) => self.flush_magazine(class, oldest),
                None => return self.flush_magazine(class, state.previous()),
            },
        };
        state.depot.push_newest(state.previous());
        empty
    }
}
