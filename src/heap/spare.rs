//! Spare magazines: empty ones that a heap keeps for later.

use super::magazine::start;
use super::state::OwnedHeap;
use super::supply::Supply;
use crate::geometry::SizeClass;
use crate::heap::magazine;
use crate::region::Slot;

/// Number of times that a heap does without a magazine before it asks for one again. Asking takes the lock of the
/// shared pools.
const WAIT_FOR_MAGAZINE: u32 = 63;

impl OwnedHeap<'_> {
    /// The top of an empty magazine. `None` if this heap never has magazines, or if there is no memory for one. After a
    /// lack of memory, the next [`WAIT_FOR_MAGAZINE`] calls return `None` too, unless the heap has a spare magazine by
    /// then.
    pub(super) fn new_magazine(self, supply: &impl Supply, class: SizeClass) -> Option<*mut Slot> {
        if !self.own.has_magazines.get() {
            return None;
        }
        if self.own.spare.get().is_null() {
            if let Some(less) = self.own.wait.get().checked_sub(1) {
                self.own.wait.set(less);
                return None;
            }
            supply.take_magazines(&mut |empty| self.keep_spare(empty));
        }
        let spare = self.own.spare.get();
        if spare.is_null() {
            self.own.wait.set(WAIT_FOR_MAGAZINE);
            return None;
        }
        // SAFETY: a spare magazine is the heap's own, and its slot 0 is the link to the next.
        let next = unsafe { (*spare).get() };
        self.own.spare.set(next.cast());
        // SAFETY: a spare magazine is the heap's own and holds no block.
        Some(unsafe { magazine::empty(spare, class) })
    }

    /// Keeps an empty magazine for later. `top` points to any of its slots.
    pub(super) fn keep_spare(self, top: *mut Slot) {
        let spare = start(top);
        // SAFETY: the magazine is the heap's own and holds no block.
        unsafe { (*spare).set(self.own.spare.get().cast()) };
        self.own.spare.set(spare);
    }
}
