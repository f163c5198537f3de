//! Geometry: block sizes, size classes, pools and arenas, and the one function that computes the block size of a
//! request.

/// Bytes from one size class to the next, and the least alignment of a block. A pointer stored in a block needs this
/// alignment.
pub(crate) const CLASS_STEP: usize = 8;
/// Largest block served from pools, in bytes. Larger requests go to the backend.
pub(crate) const SMALL_MAX: usize = 256;
/// Number of size classes: 8, 16, 24, ... 256 bytes.
pub(crate) const CLASSES: usize = 32;
/// Bytes of a pool: blocks of one size class and nothing else.
pub(crate) const POOL_BYTES: usize = 4096;
/// Bytes of an arena, the unit that a heap owns.
pub(crate) const ARENA_BYTES: usize = 256 * 1024;
/// Pools of an arena: as many as a `u64` has bits, so that one word says which are free.
pub(crate) const POOLS_PER_ARENA: usize = 64;
/// Bytes of the region that one word of a map covers: 64 bits, one for every [`CLASS_STEP`] bytes.
pub(crate) const WORD_BYTES: usize = 512;
/// Words of a map that cover one pool.
pub(crate) const WORDS_PER_POOL: usize = 8;

const _: () = assert!(CLASS_STEP * CLASSES == SMALL_MAX, "the last class serves the largest small block");
const _: () = assert!(POOL_BYTES * POOLS_PER_ARENA == ARENA_BYTES, "an arena is whole pools and nothing else");
const _: () = assert!(WORD_BYTES == 64 * CLASS_STEP, "a word of a map has 64 bits, one for each step");
const _: () = assert!(WORDS_PER_POOL * WORD_BYTES == POOL_BYTES, "no word of a map covers parts of two pools");
// A pool begins at a multiple of the largest block size, and so of each 2^k up to it. So a block whose size is a
// multiple of 2^k is aligned to 2^k.
const _: () = assert!(POOL_BYTES % SMALL_MAX == 0, "a pool is aligned for its largest block");
const _: () = assert!(CLASS_STEP.is_power_of_two(), "the fast path masks with `align - 1 | 7`");

/// Bytes of the block that serves `size` bytes at `align`, a power of two: `size` rounded up to a multiple of `align`
/// and of [`CLASS_STEP`].
///
/// The request is small when the result is at most [`SMALL_MAX`]. A `size` of 0 gives 0, which is the block size of no
/// class. The fast paths leave such a request to the slow paths.
#[inline(always)]
pub(crate) const fn block_bytes(size: usize, align: usize) -> usize {
    // Equal to max(align, 8) - 1, since align is a power of two.
    let mask = align.wrapping_sub(1) | (CLASS_STEP - 1);
    size.wrapping_add(mask) & !mask
}

/// Whether a block begins at this offset of the region, in a pool with blocks of `block_bytes`. False for a pool
/// without a class, whose `block_bytes` is 0.
#[inline]
pub(crate) const fn is_block_at(offset: usize, block_bytes: usize) -> bool {
    let within = (offset % POOL_BYTES) as u32;
    block_bytes != 0 && within % block_bytes as u32 == 0 && within as usize + block_bytes <= POOL_BYTES
}

/// Index of a block size: class 0 has 8-byte blocks, class 31 has 256-byte blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SizeClass(u8);

impl SizeClass {
    /// The class of blocks of `bytes`, a result of [`block_bytes`] that is at most [`SMALL_MAX`]; 0 counts as 8.
    #[inline]
    pub(crate) const fn of_block(bytes: usize) -> Self {
        debug_assert!(bytes <= SMALL_MAX && bytes % CLASS_STEP == 0);
        Self((bytes.saturating_sub(1) / CLASS_STEP) as u8)
    }

    /// The class with this index, below [`CLASSES`].
    #[inline]
    pub(crate) const fn new(index: usize) -> Self {
        debug_assert!(index < CLASSES);
        Self(index as u8)
    }

    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Bytes of a block of this class.
    #[inline]
    pub(crate) const fn bytes(self) -> usize {
        (self.0 as usize + 1) * CLASS_STEP
    }

    /// Blocks in a pool of this class.
    #[inline]
    pub(crate) const fn blocks_per_pool(self) -> usize {
        POOL_BYTES / self.bytes()
    }

    /// The words of the free map of a wholly free pool: one bit where each block begins.
    #[inline]
    pub(crate) fn block_mask(self) -> &'static [u64; WORDS_PER_POOL] {
        &BLOCK_MASKS[self.index()]
    }

    /// Largest number of blocks that can begin in the 512 bytes of one word of a map.
    #[inline]
    pub(crate) fn most_blocks_of_word(self) -> usize {
        usize::from(MOST_OF_WORD[self.index()])
    }

    /// The bits where blocks begin in word `index` of a map. The pool of that word has this class.
    #[inline]
    pub(crate) fn blocks_of_word(self, index: u32) -> u64 {
        self.block_mask()[index as usize % WORDS_PER_POOL]
    }

    /// All classes, smallest blocks first.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES).map(Self::new)
    }
}

/// [`SizeClass::most_blocks_of_word`] of each class. A table, because otherwise a fill would have to divide.
static MOST_OF_WORD: [u8; CLASSES] = {
    let mut most = [0; CLASSES];
    let mut index = 0;
    while index < CLASSES {
        most[index] = WORD_BYTES.div_ceil(SizeClass::new(index).bytes()) as u8;
        index += 1;
    }
    most
};

/// [`SizeClass::block_mask`] of each class.
static BLOCK_MASKS: [[u64; WORDS_PER_POOL]; CLASSES] = {
    let mut masks = [[0; WORDS_PER_POOL]; CLASSES];
    let mut index = 0;
    while index < CLASSES {
        let class = SizeClass::new(index);
        let mut block = 0;
        while block < class.blocks_per_pool() {
            let bit = block * class.bytes() / CLASS_STEP;
            masks[index][bit / 64] |= 1 << (bit % 64);
            block += 1;
        }
        index += 1;
    }
    masks
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_is_the_smallest_multiple_of_eight_and_of_the_alignment() {
        for size in 1..=520 {
            for align in (0..=12).map(|k| 1usize << k) {
                let step = align.max(CLASS_STEP);
                let expected = (1..).map(|n| n * step).find(|&b| b >= size).unwrap();
                assert_eq!(block_bytes(size, align), expected, "{size} at {align}");
            }
        }
    }

    #[test]
    fn classes_partition_the_small_sizes() {
        for size in 1..=SMALL_MAX {
            let class = SizeClass::of_block(block_bytes(size, 1));
            assert!(class.bytes() >= size && class.bytes() < size + CLASS_STEP);
        }
        assert_eq!(SizeClass::of_block(0).bytes(), 8);
    }

    #[test]
    fn masks_have_a_bit_for_each_block() {
        for class in SizeClass::all() {
            let bits: u32 = class.block_mask().iter().map(|word| word.count_ones()).sum();
            assert_eq!(bits as usize, class.blocks_per_pool());
            assert_eq!(class.block_mask()[0] & 1, 1);
            let last = (class.blocks_per_pool() - 1) * class.bytes() / CLASS_STEP;
            assert_eq!(class.block_mask()[last / 64] >> (last % 64), 1);
        }
    }

    #[test]
    fn blocks_begin_at_multiples_of_their_size_as_far_as_the_pool_goes() {
        for class in SizeClass::all() {
            for offset in 0..2 * POOL_BYTES {
                let word = class.blocks_of_word((offset / WORD_BYTES) as u32);
                let expected = offset % CLASS_STEP == 0 && word >> (offset / CLASS_STEP % 64) & 1 != 0;
                assert_eq!(is_block_at(offset, class.bytes()), expected, "{class:?} at {offset}");
            }
        }
    }

    #[test]
    fn no_request_near_the_limit_looks_small() {
        for align in (0..=62).map(|k| 1usize << k) {
            let size = isize::MAX as usize - (align - 1);
            assert!(block_bytes(size, align) > SMALL_MAX);
        }
    }
}
