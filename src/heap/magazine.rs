//! Magazines: one size class's cached block pointers in a heap, and the depot of full ones behind the loaded one
//! (J. Bonwick and J. Adams, "Magazines and Vmem", USENIX 2001).
//!
//! ```text
//! slot   0    ...   -3    -2    -1    bottom  ... 127
//!      |     |     | blk | blk | blk | null   |     |      1 KiB, aligned to 1 KiB
//!                    ^ top: the newest block
//! ```
//! It grows downwards. A class of small blocks uses all slots; one of larger blocks begins lower down, so that no
//! magazine holds more than about [`LOADED_BYTES`]. "Full" is in slot 0 for all, which a fast path sees by the top
//! alone, without knowing the class.
//!
//! Magazine invariant 1: the slot at the bottom is null while the magazine is in use, so a top that has come up to it
//! reads "empty" without a count.
//! Magazine invariant 2: a top that may not be lowered lies in slot 0, so it is a multiple of 1 KiB: "full".
//! A foreign magazine, which no fast path knows, may end sooner.
//! Magazine invariant 3: a head without a magazine points to slot 0 of [`ABSENT`], which is null: empty and full at
//! once, so that both fast paths leave it alone without a test of its own. Nothing is ever written to it.

use crate::geometry::SizeClass;
use crate::region::{MAGAZINE_BYTES, Slot};
use crate::sync::{WatchedPtr, WatchedU32, WatchedU64};
use core::ptr;
use static_assertions::assert_eq_size;

/// Slots of a magazine.
pub(crate) const SLOTS: usize = 128;

/// Most blocks in a magazine: one slot is for the null at the bottom.
const MOST_BLOCKS: usize = SLOTS - 1;

/// Bytes of blocks that a magazine holds, about, if that is fewer than fill its slots.
const LOADED_BYTES: usize = 8 * 1024;

/// An array of cached blocks; how many it holds is known by who holds its top.
#[repr(C, align(1024))]
pub(crate) struct Magazine {
    slots: [Slot; SLOTS],
}

assert_eq_size!(Magazine, [u8; MAGAZINE_BYTES]);

/// What a head without a magazine points into (Magazine invariant 3).
static ABSENT: Magazine = Magazine { slots: [const { Slot::null() }; SLOTS] };

/// The top of a head without a magazine.
pub(crate) const fn absent() -> *mut Slot {
    (&raw const ABSENT.slots[0]).cast_mut()
}

/// Blocks of this class that a magazine holds when it is full.
#[inline]
pub(crate) const fn capacity(class: SizeClass) -> usize {
    let blocks = LOADED_BYTES / class.bytes();
    if blocks < MOST_BLOCKS { blocks } else { MOST_BLOCKS }
}

/// Whether a top belongs to no magazine.
#[inline]
pub(crate) fn is_absent(top: *mut Slot) -> bool {
    ptr::eq(top, absent())
}

/// The top of the magazine that a top, not absent, lies in when it holds no block of this class.
#[inline]
pub(crate) fn bottom(top: *mut Slot, class: SizeClass) -> *mut Slot {
    start(top).wrapping_add(capacity(class))
}

/// The first slot of the magazine that a top, not absent, lies in.
#[inline]
pub(crate) fn start(top: *mut Slot) -> *mut Slot {
    top.map_addr(|address| address & !(MAGAZINE_BYTES - 1))
}

/// Blocks of this class above a top, the one it points to included.
#[inline]
pub(crate) fn count(top: *mut Slot, class: SizeClass) -> usize {
    if is_absent(top) { 0 } else { (bottom(top, class).addr() - top.addr()) / size_of::<Slot>() }
}

/// Makes a magazine, given by any top in it, an empty one of this class; returns its top.
///
/// # Safety
/// * The caller owns the magazine, which holds no block.
pub(crate) unsafe fn empty(top: *mut Slot, class: SizeClass) -> *mut Slot {
    let bottom = bottom(top, class);
    // SAFETY: a slot of the magazine, the caller's own.
    unsafe { (*bottom).set(ptr::null_mut()) };
    bottom
}

/// The cached blocks from a top, not absent, on, in the order in which they would be handed out.
///
/// # Safety
/// * The caller owns the magazine and does not use its top while the slice lives.
pub(crate) unsafe fn blocks<'a>(top: *mut Slot, class: SizeClass) -> &'a [Slot] {
    // SAFETY: so many blocks lie below the bottom (Magazine invariants 1 and 2), the caller's alone.
    unsafe { core::slice::from_raw_parts(top, count(top, class)) }
}

/// So many blocks from a top on, for whoever looks on.
pub(crate) fn held(top: *mut Slot, count: usize) -> impl Iterator<Item = *mut u8> {
    // SAFETY: slots of a magazine in use, which are atomics and never unmapped.
    (0..count).map(move |number| unsafe { (*top.wrapping_add(number)).get() })
}

/// Whether a top points to this block. Only the owner may call this.
#[inline(always)]
pub(crate) fn is_newest(top: *mut Slot, block: *mut u8) -> bool {
    // Plain, for the sake of the fast path: a compiler compares with plain memory in one instruction.
    // SAFETY: a top always points to a slot of a magazine that lives for ever, and the owner alone writes it.
    let newest = unsafe { top.cast::<*mut u8>().read() };
    ptr::eq(newest, block)
}

/// What the fast paths touch of one class: the top of the loaded magazine and the number of frees.
///
/// Only the owner writes; others read for statistics. Relaxed everywhere: each value stands for itself.
#[repr(C)]
pub(crate) struct Head {
    top: WatchedPtr<Slot>,
    frees: WatchedU64,
}

impl Head {
    pub(crate) const fn new() -> Self {
        Self { top: WatchedPtr::new(absent()), frees: WatchedU64::new(0) }
    }

    /// Takes the newest cached block; null if there is none.
    #[inline(always)]
    pub(crate) fn pop(&self) -> *mut u8 {
        let top = self.top.get();
        // SAFETY: a top always points to a slot of a magazine that lives for ever.
        let block = unsafe { (*top).get() };
        if !block.is_null() {
            // Read once more, so that one instruction reads, adds and writes.
            self.top.set(self.top.get().wrapping_add(1));
        }
        block
    }

    /// Caches a freed block and counts the free. False, and nothing done, if the magazine is full or absent, or if the
    /// block is the newest one in it: a double free.
    #[inline(always)]
    pub(crate) fn push(&self, block: *mut u8) -> bool {
        let top = self.top.get();
        if top.addr() % MAGAZINE_BYTES == 0 || is_newest(top, block) {
            return false;
        }
        // SAFETY: the top is no multiple of 1 KiB, so there is a slot of the magazine below it (Magazine invariant 2).
        unsafe { (*top.wrapping_sub(1)).set(block) };
        // As in `pop`.
        self.top.set(self.top.get().wrapping_sub(1));
        self.count_free();
        true
    }

    /// Counts a free. One writer, so no read-modify-write.
    #[inline(always)]
    pub(crate) fn count_free(&self) {
        self.frees.set(self.frees.get().wrapping_add(1));
    }

    /// Counts frees of blocks that go back all at once.
    pub(crate) fn count_frees(&self, count: u64) {
        self.frees.set(self.frees.get().wrapping_add(count));
    }

    #[inline]
    pub(crate) fn top(&self) -> *mut Slot {
        self.top.get()
    }

    /// Loads another magazine. Only the owner may call this.
    #[inline]
    pub(crate) fn load(&self, top: *mut Slot) {
        self.top.set(top);
    }

    /// Blocks of this heap's own pools that it freed; only grows.
    pub(crate) fn frees(&self) -> u64 {
        self.frees.get()
    }
}

/// Most full magazines that a depot keeps.
pub(crate) const DEPOT_SLOTS: usize = 16;

/// Bytes of blocks that a depot keeps per class, about, if its slots hold so many. More saves little more work, and
/// costs locality: blocks come out in the order of their frees, where a fill would hand them out in the order of their
/// addresses. `docs/performance.md` has the figures.
const DEPOT_BYTES: usize = 64 * 1024;

/// The full magazines of one class, oldest first: a ring.
///
/// Depot invariant 1: every magazine in it is full. Only the owner writes; others read the length.
pub(crate) struct Depot {
    ring: [WatchedPtr<Slot>; DEPOT_SLOTS],
    oldest: WatchedU32,
    length: WatchedU32,
}

impl Depot {
    pub(crate) const fn new() -> Self {
        Self {
            ring: [const { WatchedPtr::null() }; DEPOT_SLOTS],
            oldest: WatchedU32::new(0),
            length: WatchedU32::new(0),
        }
    }

    /// Full magazines that this class may keep.
    pub(crate) fn bound(class: SizeClass) -> usize {
        (DEPOT_BYTES / (capacity(class) * class.bytes())).clamp(1, DEPOT_SLOTS)
    }

    pub(crate) fn length(&self) -> usize {
        self.length.get() as usize
    }

    /// The top of the magazine at a position, the oldest first.
    pub(crate) fn top(&self, position: usize) -> *mut Slot {
        self.slot(position).get()
    }

    fn slot(&self, position: usize) -> &WatchedPtr<Slot> {
        &self.ring[(self.oldest.get() as usize + position) % DEPOT_SLOTS]
    }

    /// Keeps a full magazine, given by its top. The depot must have room.
    pub(crate) fn push_newest(&self, top: *mut Slot) {
        debug_assert!(top.addr() % MAGAZINE_BYTES == 0, "Depot invariant 1");
        self.slot(self.length()).set(top);
        self.length.set(self.length() as u32 + 1);
    }

    /// The top of the magazine that came last.
    pub(crate) fn newest(&self) -> Option<*mut Slot> {
        Some(self.slot(self.length().checked_sub(1)?).get())
    }

    /// Takes the magazine that came last.
    pub(crate) fn pop_newest(&self) -> Option<*mut Slot> {
        let last = self.length().checked_sub(1)?;
        self.length.set(last as u32);
        Some(self.slot(last).get())
    }

    /// Takes the magazine that came first.
    pub(crate) fn pop_oldest(&self) -> Option<*mut Slot> {
        let last = self.length().checked_sub(1)?;
        let top = self.slot(0).get();
        self.oldest.set((self.oldest.get() + 1) % DEPOT_SLOTS as u32);
        self.length.set(last as u32);
        Some(top)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaked() -> *mut Slot {
        let magazine = Box::leak(Box::new(Magazine { slots: [const { Slot::null() }; SLOTS] }));
        (&raw const magazine.slots[0]).cast_mut()
    }

    fn block(n: usize) -> *mut u8 {
        ptr::without_provenance_mut(n * 8)
    }

    #[test]
    fn an_absent_magazine_is_empty_and_full() {
        let head = Head::new();
        assert!(head.pop().is_null());
        assert!(!head.push(block(1)));
        assert_eq!((count(head.top(), SizeClass::new(0)), head.frees()), (0, 0));
        assert!(is_absent(head.top()));
    }

    #[test]
    fn a_magazine_is_a_bounded_stack() {
        // One for all, as magazines pass from class to class: where one class has its bottom, another had a block.
        let magazine = leaked();
        for class in SizeClass::all() {
            let head = Head::new();
            // SAFETY: this test owns the magazine.
            head.load(unsafe { empty(magazine, class) });
            assert!(head.pop().is_null());
            let full = capacity(class);
            for n in 1..=full {
                assert!(head.push(block(n)));
                assert_eq!(count(head.top(), class), n);
            }
            assert!(!head.push(block(SLOTS)));
            assert_eq!(head.frees(), full as u64);
            // SAFETY: this test owns the magazine.
            assert_eq!(unsafe { blocks(head.top(), class) }[full - 1].get(), block(1));
            for n in (1..=full).rev() {
                assert_eq!(head.pop(), block(n));
            }
            assert!(head.pop().is_null());
            assert_eq!(head.top(), bottom(head.top(), class));
        }
    }

    #[test]
    fn magazines_hold_at_most_127_blocks_and_8_kib() {
        for class in SizeClass::all() {
            let blocks = capacity(class);
            assert!(blocks <= 127 && blocks * class.bytes() <= 8192);
            assert!(blocks == 127 || (blocks + 1) * class.bytes() > 8192);
        }
    }

    #[test]
    fn a_depot_gives_the_newest_or_the_oldest() {
        let depot = Depot::new();
        let full: Vec<_> = (0..DEPOT_SLOTS).map(|_| leaked()).collect();
        for round in 0..3 {
            assert_eq!(depot.pop_newest(), None);
            assert_eq!(depot.pop_oldest(), None);
            full.iter().for_each(|&top| depot.push_newest(top));
            assert_eq!(depot.length(), DEPOT_SLOTS);
            assert_eq!(depot.pop_oldest(), Some(full[0]), "round {round}");
            assert_eq!(depot.pop_newest(), Some(full[DEPOT_SLOTS - 1]));
            depot.push_newest(full[0]);
            for &top in full[1..DEPOT_SLOTS - 1].iter().chain([&full[0]]) {
                assert_eq!(depot.pop_oldest(), Some(top));
            }
        }
    }

    #[test]
    fn depots_keep_about_64_kib() {
        for class in SizeClass::all() {
            let bytes = Depot::bound(class) * capacity(class) * class.bytes();
            assert!(bytes <= 64 * 1024 && (bytes > 56 * 1024 || Depot::bound(class) == DEPOT_SLOTS));
        }
    }
}
