//! Magazines: one size class's cached block pointers in a heap, and the depot of full ones behind the loaded one
//! (J. Bonwick and J. Adams, "Magazines and Vmem", USENIX 2001).
//!
//! ```text
//! slot   0    ...   -3    -2    -1    bottom  ... 127
//!      |     |     | blk | blk | blk | null   |     |      1 KiB, aligned to 1 KiB
//!                    ^ top: the newest block
//! ```
//! A magazine grows downwards, from the bottom to slot 0. Classes of up to 64 bytes use all 128 slots. The bottom of a
//! class of larger blocks is at a lower slot number, so that no magazine holds more than [`LOADED_BYTES`]. A magazine
//! of any class is full when its top is at slot 0. So a fast path needs only the address of the top to see that, and
//! not the class.
//!
//! Magazine invariant 1: the slot at the bottom is null while the magazine is in use. So a fast path that reads null at
//! the top knows that the magazine is empty, without a count.
//! Magazine invariant 2: a magazine is full exactly when its top is at slot 0, so when its top is a multiple of 1 KiB.
//! A foreign magazine, which no fast path uses, may count as full at a higher slot.
//! Magazine invariant 3: a head without a magazine points to slot 0 of [`ABSENT`], which is null. So the head looks
//! empty and full at once, and both fast paths leave it alone without an extra test. `ABSENT` is never written.

use crate::geometry::SizeClass;
use crate::region::{MAGAZINE_BYTES, Slot};
use crate::sync::{WatchedPtr, WatchedU32, WatchedU64};
use core::ptr;
use static_assertions::const_assert_eq;

/// Number of slots of a magazine.
pub(crate) const SLOTS: usize = 128;

/// Most blocks in a magazine: one slot is for the null at the bottom.
const MOST_BLOCKS: usize = SLOTS - 1;

/// Most bytes of blocks in a magazine. This limits classes over 64 bytes. A magazine of a class of up to 64 bytes runs
/// out of slots before it reaches this limit.
const LOADED_BYTES: usize = 8 * 1024;

/// An array of cached blocks. Their number follows from the top and the class; the magazine itself holds neither.
#[repr(C, align(1024))]
pub(crate) struct Magazine {
    slots: [Slot; SLOTS],
}

const_assert_eq!(size_of::<Magazine>(), MAGAZINE_BYTES);

/// The magazine that a head without a magazine points to (Magazine invariant 3).
static ABSENT: Magazine = Magazine { slots: [const { Slot::null() }; SLOTS] };

/// The top of a head without a magazine.
pub(crate) const fn absent() -> *mut Slot {
    (&raw const ABSENT.slots[0]).cast_mut()
}

/// Number of blocks of this class in a full magazine.
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

/// The bottom of the magazine that `top` lies in: its top when it holds no block of this class. `top` must not be
/// absent.
#[inline]
pub(crate) fn bottom(top: *mut Slot, class: SizeClass) -> *mut Slot {
    start(top).wrapping_add(capacity(class))
}

/// The first slot of the magazine that `top` lies in. `top` must not be absent.
#[inline]
pub(crate) fn start(top: *mut Slot) -> *mut Slot {
    top.map_addr(|address| address & !(MAGAZINE_BYTES - 1))
}

/// Number of blocks in the magazine with this top; 0 if the top is absent.
#[inline]
pub(crate) fn count(top: *mut Slot, class: SizeClass) -> usize {
    if is_absent(top) { 0 } else { (bottom(top, class).addr() - top.addr()) / size_of::<Slot>() }
}

/// Makes an empty magazine of this class out of the one that `top` lies in. Returns its top.
///
/// # Safety
/// * The caller owns the magazine, which holds no block.
pub(crate) unsafe fn empty(top: *mut Slot, class: SizeClass) -> *mut Slot {
    let bottom = bottom(top, class);
    // SAFETY: a slot of the magazine, the caller's own.
    unsafe { (*bottom).set(ptr::null_mut()) };
    bottom
}

/// The cached blocks of the magazine with this top, in the order in which they would be handed out. `top` must not be
/// absent.
///
/// # Safety
/// * The caller owns the magazine and does not use its top while the slice lives.
pub(crate) unsafe fn blocks<'a>(top: *mut Slot, class: SizeClass) -> &'a [Slot] {
    // SAFETY: all slots from the top to the bottom hold blocks (Magazine invariants 1 and 2), and the caller owns them.
    unsafe { core::slice::from_raw_parts(top, count(top, class)) }
}

/// The blocks in `count` slots from `top` on. Any thread may call this, to check the heap or to search for leaks.
pub(crate) fn held(top: *mut Slot, count: usize) -> impl Iterator<Item = *mut u8> {
    // SAFETY: slots of a magazine, which are atomics and never unmapped.
    (0..count).map(move |number| unsafe { (*top.wrapping_add(number)).get() })
}

/// Whether a top points to this block. Only the owner may call this.
#[inline(always)]
pub(crate) fn is_newest(top: *mut Slot, block: *mut u8) -> bool {
    // A plain read, because the compiler can compare with plain memory in one instruction on the fast path.
    // SAFETY: a top always points to a slot of a magazine that lives for ever, and the owner alone writes it.
    let newest = unsafe { top.cast::<*mut u8>().read() };
    ptr::eq(newest, block)
}

/// The part of a class that the fast paths touch: the top of the loaded magazine and the number of frees.
///
/// Only the owner writes it; other threads read it for statistics and checks. Relaxed everywhere: each value stands for
/// itself.
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
            // Not one instruction that reads, adds and writes: the next request would wait longer for its result.
            // docs/internals/notebook.md has the figures.
            self.top.set(top.wrapping_add(1));
        }
        block
    }

    /// Caches a freed block and counts the free. Returns false and does nothing if the magazine is full or absent, or
    /// if the block is already the newest one in it, which is a double free.
    #[inline(always)]
    pub(crate) fn push(&self, block: *mut u8) -> bool {
        let top = self.top.get();
        if top.addr() % MAGAZINE_BYTES == 0 || is_newest(top, block) {
            return false;
        }
        let new_top = top.wrapping_sub(1);
        // SAFETY: the top is no multiple of 1 KiB, so there is a slot of the magazine below it (Magazine invariant 2).
        unsafe { (*new_top).set(block) };
        self.top.set(new_top);
        self.count_free();
        true
    }

    /// Counts a free. One writer, so no read-modify-write.
    #[inline(always)]
    pub(crate) fn count_free(&self) {
        self.frees.set(self.frees.get().wrapping_add(1));
    }

    /// Counts the frees of many blocks at once.
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

    /// Number of blocks of its own pools that this heap has freed. Only grows.
    pub(crate) fn frees(&self) -> u64 {
        self.frees.get()
    }
}

/// Most full magazines that a depot keeps.
pub(crate) const DEPOT_SLOTS: usize = 16;

/// Most bytes of blocks in the depot of a class. The depot of a class of small blocks holds less, because it has only
/// [`DEPOT_SLOTS`] slots. A larger depot saves little more work, and costs locality: its blocks come out in the order
/// of their frees, while a fill hands blocks out in the order of their addresses. `docs/internals/notebook.md`
/// has the figures.
const DEPOT_BYTES: usize = 64 * 1024;

/// The full magazines of one class: a ring, oldest first.
///
/// Depot invariant 1: every magazine in the depot is full. Only the owner writes the depot; other threads read it for
/// statistics and checks.
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

    /// Number of full magazines that the depot of this class may keep.
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
        // One magazine serves all classes in turn, as in a heap: a slot that held a block of one class is the bottom of
        // another.
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

    /// Each class has its depot, and a loaded, a previous and a foreign magazine.
    #[test]
    fn a_heap_has_at_most_391_kib_of_magazines_for_2_5_mib_of_blocks() {
        let magazines = |class| Depot::bound(class) + 3;
        assert_eq!(SizeClass::all().map(magazines).sum::<usize>() * size_of::<Magazine>(), 391 * 1024);
        let bytes = SizeClass::all().map(|class| magazines(class) * capacity(class) * class.bytes()).sum::<usize>();
        assert_eq!(bytes * 10 / (1024 * 1024), 25);
    }

    #[test]
    fn depots_keep_about_64_kib() {
        for class in SizeClass::all() {
            let bytes = Depot::bound(class) * capacity(class) * class.bytes();
            assert!(bytes <= 64 * 1024 && (bytes > 56 * 1024 || Depot::bound(class) == DEPOT_SLOTS));
        }
    }
}
