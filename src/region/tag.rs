//! Tags: all that a free needs to know of a pool, in four bytes of a dense table.
//!
//! ```text
//!   bit 31    bits 10 to 30 (with the feature `profile`, 11 to 30)   bits 0 to 9 (0 to 10)
//!   private   number of the owning heap, plus 1                      offset of the class's head, in bytes
//! ```
//! A *head* is what the front of a heap has for one class: the top of the loaded magazine, and the number of frees. The
//! heads lie one behind the other, and the first serves no class. So only a pool without a class has 0 in the lowest
//! part, and its tag is 0 as a whole.

use crate::geometry::{CLASS_STEP, CLASSES, SizeClass};

/// Bits of a tag below the number of the owning heap. The feature `profile` adds one, for [`SAMPLING`].
const HEAD_BITS: u32 = if cfg!(feature = "profile") { 11 } else { 10 };

/// Bytes from a heap's sampling front to its front; also the bit in which the owners of the two fronts differ. The
/// sampling front takes the place of the front while requests are sampled.
pub(crate) const SAMPLING: usize = 1 << 10;

/// The bit that marks the owner of a private heap, and so the tags of its pools. A free by the global allocator sees by
/// this bit that it must refuse the block.
const PRIVATE: u32 = 1 << 31;

/// Most heaps that a tag can name.
pub(crate) const MOST_HEAPS: usize = (1 << (31 - HEAD_BITS)) - 1;

/// Bytes of a head. The head for a block lies `block bytes * HEAD_BYTES / CLASS_STEP` bytes behind the first head.
pub(crate) const HEAD_BYTES: usize = 16;

const _: () = assert!(HEAD_BYTES * CLASSES < 1 << HEAD_BITS, "the place of the last head fits below the owner");
// With the feature `profile` no tag has the bit `SAMPLING`, because the offsets of heads end below it.
const _: () = assert!(HEAD_BYTES * CLASSES < SAMPLING, "no offset of a head reaches the bit of a sampling front");
const _: () = assert!((MOST_HEAPS << HEAD_BITS) < PRIVATE as usize, "no number of a heap reaches the private bit");
const _: () = assert!(PRIVATE == i32::MIN as u32, "`is_free_or_private` looks at the sign");

/// Size class and owner of a pool.
///
/// Tag invariant 1: only the owner of the pool's arena changes it, and only while the pool holds no live and no waiting
/// block (Region invariant 3).
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag(u32);

/// Kind of a heap: of threads, or of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HeapKind {
    /// It belongs to one thread at a time.
    Threads,
    /// It belongs to a handle of the program: [`private`](crate::private).
    Private,
}

/// The part of a tag that names the heap with this index. As wide as a register, so that the exclusive-or with a tag
/// needs no widening.
pub(crate) const fn owner(index: usize, kind: HeapKind) -> usize {
    let private = match kind {
        HeapKind::Threads => 0,
        HeapKind::Private => PRIVATE as usize,
    };
    (index + 1) << HEAD_BITS | private
}

/// Whether `owner` names the heap with this index, whatever the kind of the heap.
pub(crate) const fn is_owner_of(owner: usize, index: usize) -> bool {
    owner & !(PRIVATE as usize) == (index + 1) << HEAD_BITS
}

impl Tag {
    /// The tag of a pool without a class.
    pub(crate) const FREE: Self = Self(0);

    /// The tag of the pools of a class of the heap with this [`owner`].
    #[inline(always)]
    pub(crate) fn new(owner: usize, class: SizeClass) -> Self {
        Self((owner | ((class.index() + 1) * HEAD_BYTES)) as u32)
    }

    /// The tag with these bits, as they stand in the table.
    #[inline(always)]
    pub(crate) const fn of_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// Whether the pool has no class.
    #[inline(always)]
    pub(crate) fn is_free(self) -> bool {
        self.0 == Self::FREE.0
    }

    /// Whether a private heap owns the pool.
    #[inline(always)]
    pub(crate) fn is_private(self) -> bool {
        self.0 & PRIVATE != 0
    }

    /// Whether frees to this pool must be refused: it has no class, or a private heap owns it. One signed comparison.
    #[inline(always)]
    pub(crate) fn is_free_or_private(self) -> bool {
        self.0 as i32 <= 0
    }

    /// Offset of the class's head from the first head of a front, in bytes, if the heap with this [`owner`] owns the
    /// pool. For the owner of a sampling front the offset is [`SAMPLING`] larger, which leads to the head in the heap's
    /// front.
    #[inline(always)]
    pub(crate) fn head_for(self, owner: usize) -> Option<usize> {
        let head = self.0 as usize ^ owner;
        (head < 1 << HEAD_BITS).then_some(head)
    }

    /// Index of the heap that owns the pool. For [`FREE`](Self::FREE) it is an index that no heap has.
    pub(crate) fn heap(self) -> usize {
        (((self.0 & !PRIVATE) >> HEAD_BITS) as usize).wrapping_sub(1)
    }

    /// Bytes of a block of the pool. 0 if the pool is free.
    #[inline(always)]
    pub(crate) fn block_bytes(self) -> usize {
        (self.0 as usize % (1 << HEAD_BITS)) / (HEAD_BYTES / CLASS_STEP)
    }

    /// Class of the pool, which must have one.
    pub(crate) fn class(self) -> SizeClass {
        SizeClass::of_block(self.block_bytes())
    }

    /// Whether the pool has this class and the heap with this index owns it, whatever the kind of the heap.
    pub(crate) fn is_of(self, index: usize, class: SizeClass) -> bool {
        (self.0 & !PRIVATE) as usize == owner(index, HeapKind::Threads) | ((class.index() + 1) * HEAD_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_it_was_made_of() {
        for kind in [HeapKind::Threads, HeapKind::Private] {
            for index in [0, 1, 77, MOST_HEAPS - 1] {
                for class in SizeClass::all() {
                    let own = owner(index, kind);
                    let tag = Tag::new(own, class);
                    assert_eq!((tag.heap(), tag.class(), tag.block_bytes()), (index, class, class.bytes()));
                    assert_eq!(tag.is_private(), kind == HeapKind::Private);
                    assert_eq!(tag.is_free_or_private(), kind == HeapKind::Private);
                    assert!(!tag.is_free() && tag.is_of(index, class) && is_owner_of(own, index));
                    assert_eq!(tag.head_for(own), Some((class.index() + 1) * HEAD_BYTES));
                    assert_eq!(tag.head_for(owner(index + 1, kind)), None);
                }
            }
        }
        assert!(Tag::FREE.is_free() && Tag::FREE.is_free_or_private() && !Tag::FREE.is_private());
        assert_eq!(Tag::FREE.block_bytes(), 0);
        assert!(Tag::FREE.heap() >= MOST_HEAPS);
    }
}
