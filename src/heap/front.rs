//! The front of a heap: everything that the two fast paths read, and nothing else.

use super::magazine::{Head, is_absent};
use crate::geometry::{CLASS_STEP, CLASSES, POOL_BYTES, SMALL_MAX, SizeClass};
use crate::region::{HEAD_BYTES, HeapKind, Region, SAMPLING, Tag, is_owner_of, owner};
use crate::sync::{AtomicU32, Ordering};
use core::mem::offset_of;
use core::ptr::NonNull;
use static_assertions::assert_eq_size;

assert_eq_size!(Head, [u8; HEAD_BYTES]);
const _: () = assert!(size_of::<Front>() <= SAMPLING, "the two fronts of a heap do not overlap");
// The fields before the heads share one cache line of 64 bytes with the heads of 0 and 8 bytes.
const _: () = assert!(offset_of!(Front, heads) == 32, "the heads begin half a cache line behind the front");

/// The fields that the fast paths read.
///
/// The own front of a thread without a heap is one of two that belong to no heap: `NO_HEAP` or `ENDED`. Their region is
/// empty, so every free takes the slow path. Their heads are absent, so every allocation takes the slow path too. No
/// fast path tests for these fronts.
///
/// With the feature `profile` a heap has a second front, for the times at which its thread's requests are sampled:
///
/// ```text
///   sampling front: base, bytes, tags, owner ^ SAMPLING, absent heads | ... | front: base, bytes, tags, owner, heads
///                                                        └── SAMPLING bytes ───────────────────────────────────┘
/// ```
/// The heads of the sampling front are absent, so every allocation takes the slow path. A free computes the place of
/// the head from the exclusive-or of the tag and the owner. The owners of the two fronts differ in the bit `SAMPLING`,
/// so this place is `SAMPLING` bytes further on: among the heads of the front. So frees take the fast path.
///
/// Front invariant 1: `base`, `bytes`, `tags` and `owner` never change; `bytes` is 0 in a front without a heap.
/// Front invariant 2: a sampling front lies `SAMPLING` bytes before its heap's front, in memory whose provenance is
/// exposed.
#[repr(C, align(128))]
pub(crate) struct Front {
    base: usize,
    bytes: usize,
    tags: Option<NonNull<AtomicU32>>,
    /// As wide as a register, so that the exclusive-or with a tag needs no widening.
    owner: usize,
    /// One head for each block size; the index is the size / 8. The first serves no class and stays absent: a request
    /// of 0 bytes finds it.
    heads: [Head; CLASSES + 1],
}

// SAFETY: the heads are atomics, and the other fields never change (Front invariant 1).
unsafe impl Sync for Front {}

impl Front {
    /// The front of threads without a heap.
    pub(crate) const fn without_heap() -> Self {
        Self { base: 0, bytes: 0, tags: None, owner: 0, heads: [const { Head::new() }; CLASSES + 1] }
    }

    /// The front of a thread whose requests take a detour. It differs from [`without_heap`](Self::without_heap) only in
    /// its owner, by which [`is_detour`](Self::is_detour) knows it.
    pub(crate) const fn detour() -> Self {
        Self { owner: DETOUR, ..Self::without_heap() }
    }

    /// The front of threads that have a heap, in a process whose mode sends every request to the slow paths. It differs
    /// from [`without_heap`](Self::without_heap) only in its owner, by which [`is_bypass`](Self::is_bypass) knows it.
    pub(crate) const fn bypass() -> Self {
        Self { owner: BYPASS, ..Self::without_heap() }
    }

    /// The front of the heap with this index.
    pub(super) fn new(region: &Region, index: usize, kind: HeapKind) -> Self {
        Self {
            base: region.base().addr().get(),
            bytes: region.bytes(),
            tags: Some(region.tags()),
            owner: owner(index, kind),
            heads: [const { Head::new() }; CLASSES + 1],
        }
    }

    /// The sampling front of the heap with this index.
    #[cfg(feature = "profile")]
    pub(super) fn sampling(region: &Region, index: usize, kind: HeapKind) -> Self {
        let front = Self::new(region, index, kind);
        Self { owner: front.owner ^ SAMPLING, ..front }
    }

    /// Whether this is a heap's sampling front.
    #[inline(always)]
    pub(crate) fn is_sampling(&self) -> bool {
        cfg!(feature = "profile") && self.owner & SAMPLING != 0
    }

    /// Whether this is the front of a heap.
    #[inline(always)]
    pub(crate) fn has_heap(&self) -> bool {
        self.bytes != 0
    }

    /// Whether this is the front of a [`Detour`](crate::process::detour::Detour).
    #[inline]
    pub(crate) fn is_detour(&self) -> bool {
        self.owner == DETOUR
    }

    /// Whether this is the front that [`bypass`](Self::bypass) makes.
    #[inline]
    pub(crate) fn is_bypass(&self) -> bool {
        self.owner == BYPASS
    }

    /// Whether this is the front of a private heap.
    #[inline]
    pub(crate) fn is_private(&self) -> bool {
        Tag::of_bits(self.owner as u32).is_private()
    }

    /// Offset of an address in the region, if it lies there and this front has a heap.
    #[inline(always)]
    pub(crate) fn offset_of(&self, address: usize) -> Option<usize> {
        let offset = address.wrapping_sub(self.base);
        (offset < self.bytes).then_some(offset)
    }

    /// The tag of the pool at an offset that [`offset_of`](Self::offset_of) gave.
    #[inline(always)]
    pub(crate) fn tag_at(&self, offset: usize) -> Tag {
        debug_assert!(offset < self.bytes);
        // SAFETY: `offset` is below `bytes`, so `bytes` is not 0 and the front is that of a heap, which has tags (Front
        // invariant 1).
        let tags = unsafe { self.tags.unwrap_unchecked() };
        // SAFETY: there are as many tags as the region has pools.
        let tag = unsafe { tags.add(offset / POOL_BYTES) };
        // SAFETY: the pointer points into the table, which lives for ever.
        let tag = unsafe { tag.as_ref() };
        // Relaxed: the pool of a live block has had its tag since before the block was handed out.
        Tag::of_bits(tag.load(Ordering::Relaxed))
    }

    /// The head of the class that a tag names, if this heap owns the pool.
    #[inline(always)]
    pub(crate) fn own_head(&self, tag: Tag) -> Option<&Head> {
        let head = tag.head_for(self.owner)?;
        #[cfg(feature = "profile")]
        {
            // If this is a sampling front, the head lies beyond it. So the pointer is made from an address, with
            // exposed provenance.
            let from = core::ptr::with_exposed_provenance::<Head>((&raw const *self).addr() + head);
            // SAFETY: the tag names this heap, so `head` is the distance from this front's heads to a head of the
            // heap's front (Front invariant 2).
            let head = unsafe { in_register(from).byte_add(offset_of!(Self, heads)) };
            // SAFETY: it points to that head.
            Some(unsafe { &*head })
        }
        // SAFETY: the tag names this heap, so `head` is the offset of a head.
        #[cfg(not(feature = "profile"))]
        Some(unsafe { self.head_at(head) })
    }

    /// The head for blocks of `bytes`, a multiple of 8 up to 256, or 0.
    #[inline(always)]
    pub(crate) fn head_of_block(&self, bytes: usize) -> &Head {
        debug_assert!(bytes <= SMALL_MAX && bytes % CLASS_STEP == 0);
        // SAFETY: there is a head for every multiple of 8 from 0 to 256.
        unsafe { self.head_at(bytes * (HEAD_BYTES / CLASS_STEP)) }
    }

    #[inline]
    pub(crate) fn head_of_class(&self, class: SizeClass) -> &Head {
        &self.heads[class.index() + 1]
    }

    /// The head at an offset.
    ///
    /// # Safety
    /// * `offset` is that of a head, in bytes from the first head.
    #[inline(always)]
    unsafe fn head_at(&self, offset: usize) -> &Head {
        debug_assert!(offset % HEAD_BYTES == 0 && offset < size_of_val(&self.heads));
        // SAFETY: the caller promises that the offset is inside the array, so it is inside the front, which is larger.
        let from = unsafe { (&raw const *self).cast::<Head>().byte_add(offset) };
        // SAFETY: the heads begin this far behind the front, and the offset is that of a head.
        let head = unsafe { in_register(from).byte_add(offset_of!(Self, heads)) };
        // SAFETY: it points to an element of the array.
        unsafe { &*head }
    }

    /// The tag of this heap's pools of a class.
    pub(crate) fn tag(&self, class: SizeClass) -> Tag {
        Tag::new(self.owner, class)
    }

    /// Whether this is still the front that [`new`](Self::new) made for the heap with this index.
    pub(crate) fn is_of(&self, region: &Region, index: usize) -> bool {
        self.base == region.base().addr().get()
            && self.bytes == region.bytes()
            && self.tags == Some(region.tags())
            && is_owner_of(self.owner, index)
            && is_absent(self.heads[0].top())
    }
}

/// The same pointer, in a register of its own: the compiler cannot see how it was computed. So accesses through it have
/// an address of one register and a constant, without an index.
///
/// An allocation and the free after it change the same top. Some processors pass a value on from a store to the next
/// load at once, but only if neither address has an index. With an index they take some cycles more, and each
/// allocation and free waits for the one before. `docs/internals/notebook.md` has the figures.
#[inline(always)]
fn in_register(head: *const Head) -> *const Head {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let same: *const Head;
        #[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written there")]
        // SAFETY: an assembler comment; the value stays as it is.
        unsafe {
            core::arch::asm!("/* {} */", inout(reg) head => same, options(pure, nomem, nostack, preserves_flags));
        }
        same
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    head
}

/// The owner in the front of a detour. No heap has it: the lowest bits of a heap's owner are 0.
const DETOUR: usize = 1;

/// The owner in the front that [`Front::bypass`] makes. No heap has it.
const BYPASS: usize = 2;
