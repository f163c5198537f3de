//! What a program's heap has to look like, kept beside it.

use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

use crate::block::{Block, layout};
use crate::mode;

/// Number of size classes.
pub const CLASSES: usize = 32;

/// Size class that serves `layout` in this process's mode, or `None` where the backend does.
#[must_use]
pub fn class_of(layout: Layout) -> Option<usize> {
    if !mode::has_pools() {
        return None;
    }
    usual_class_of(mode::served(layout))
}

/// As [`class_of`], without a word in the environment.
#[must_use]
pub fn usual_class_of(layout: Layout) -> Option<usize> {
    let mask = layout.align().max(8) - 1;
    let block_bytes = layout.size().checked_add(mask)? & !mask;
    (8..=256).contains(&block_bytes).then(|| block_bytes / 8 - 1)
}

/// Bytes that `layout` counts as, if it is served by the backend.
#[must_use]
pub fn large_bytes(layout: Layout) -> u64 {
    mode::served(layout).size() as u64
}

/// Whether a `realloc` resizes a large block where it is, or at least counts so.
#[must_use]
pub fn is_large_resized(before: Layout, after: Layout) -> bool {
    !mode::is_debug() && class_of(before).is_none() && class_of(after).is_none()
}

/// The size at alignments up to 8 that fills a block of `class`; `None` if no request comes to such a small one.
#[must_use]
pub fn size_of_class(class: usize) -> Option<usize> {
    let around = if mode::is_debug() { mode::DEBUG_BYTES } else { 0 };
    block_bytes(class).checked_sub(around).filter(|size| *size > 0)
}

/// Bytes of a block of `class`.
#[must_use]
pub const fn block_bytes(class: usize) -> usize {
    8 * (class + 1)
}

/// What the statistics have to say. A block that one thread allocates and another frees makes a figure of the second one
/// wrap below zero; sums over all threads are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live blocks of each size class.
    pub small_blocks: [u64; CLASSES],
    /// Frees of each size class, by `realloc` too if it has to change the class.
    pub small_frees: [u64; CLASSES],
    /// Live blocks of the backend.
    pub large_blocks: u64,
    /// Bytes of those blocks, as requested.
    pub large_bytes: u64,
    /// Frees of such blocks, by `realloc` too if it makes a small one of it.
    pub large_frees: u64,
}

impl Counts {
    /// Adds what another thread counted.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::wrapping_add);
    }

    /// What has been counted since `before`.
    #[must_use]
    pub fn since(mut self, before: &Self) -> Self {
        self.combine(before, u64::wrapping_sub);
        self
    }

    fn combine(&mut self, other: &Self, operation: fn(u64, u64) -> u64) {
        let mine = self.small_blocks.iter_mut().chain(&mut self.small_frees);
        let theirs = other.small_blocks.iter().chain(&other.small_frees);
        mine.zip(theirs).for_each(|(mine, theirs)| *mine = operation(*mine, *theirs));
        self.large_blocks = operation(self.large_blocks, other.large_blocks);
        self.large_bytes = operation(self.large_bytes, other.large_bytes);
        self.large_frees = operation(self.large_frees, other.large_frees);
    }

    #[inline]
    fn allocate(&mut self, layout: Layout) {
        let (blocks, bytes) = match class_of(layout) {
            Some(class) => (&mut self.small_blocks[class], 0),
            None => (&mut self.large_blocks, large_bytes(layout)),
        };
        *blocks = blocks.wrapping_add(1);
        self.large_bytes = self.large_bytes.wrapping_add(bytes);
    }

    #[inline]
    fn free(&mut self, layout: Layout) {
        let (blocks, frees, bytes) = match class_of(layout) {
            Some(class) => (&mut self.small_blocks[class], &mut self.small_frees[class], 0),
            None => (&mut self.large_blocks, &mut self.large_frees, large_bytes(layout)),
        };
        *blocks = blocks.wrapping_sub(1);
        *frees += 1;
        self.large_bytes = self.large_bytes.wrapping_sub(bytes);
    }

    #[inline]
    fn resize(&mut self, before: Layout, after: Layout) {
        if is_large_resized(before, after) {
            let bytes = self.large_bytes.wrapping_add(large_bytes(after));
            self.large_bytes = bytes.wrapping_sub(large_bytes(before));
        } else if class_of(before) != class_of(after) || mode::is_debug() {
            // The debug mode moves every block.
            self.free(before);
            self.allocate(after);
        }
    }
}

/// One step of a program. `pick` chooses among the blocks that are live by then; without one, the step is nothing.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Step {
    /// A block.
    Alloc(#[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::layout))] Layout),
    /// A block of zeros.
    Zeroed(#[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::layout))] Layout),
    /// Another size for a block.
    Realloc {
        /// Which.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::pick))]
        pick: usize,
        /// Its new size.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::size))]
        size: usize,
    },
    /// A block's end.
    Free {
        /// Which.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::pick))]
        pick: usize,
    },
    /// So many blocks of one layout: magazines and pools fill.
    AllocMany {
        /// How many.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::many))]
        count: usize,
        /// Of which layout.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::small_layout))]
        layout: Layout,
    },
    /// The ends of so many blocks.
    FreeMany {
        /// How many.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::many))]
        count: usize,
        /// The first.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::pick))]
        pick: usize,
        /// How far apart: at 0 the newest blocks go, the last one first.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::stride))]
        stride: usize,
    },
}

/// How a fuzzer's bytes become the parts of a step: few bytes each, most of them for small blocks.
#[cfg(feature = "arbitrary")]
mod bytes {
    use super::{Layout, layout as legal_layout};
    use arbitrary::{Result, Unstructured};

    pub(super) fn size(bytes: &mut Unstructured<'_>) -> Result<usize> {
        let (range, place) = (bytes.arbitrary::<u8>()?, usize::from(bytes.arbitrary::<u8>()?));
        Ok(match range {
            0..=223 => 1 + place,
            224..=239 => 248 + place % 16,
            240..=254 => 257 + 16 * place,
            255 => 5000 + 1000 * place,
        })
    }

    pub(super) fn layout(bytes: &mut Unstructured<'_>) -> Result<Layout> {
        let size = size(bytes)?;
        let power = match bytes.arbitrary::<u8>()? {
            power @ 0..=12 => power,
            other => other % 5,
        };
        Ok(legal_layout(size, 1 << power))
    }

    pub(super) fn small_layout(bytes: &mut Unstructured<'_>) -> Result<Layout> {
        let (size, power) = (1 + usize::from(bytes.arbitrary::<u8>()?), bytes.arbitrary::<u8>()? % 9);
        Ok(legal_layout(size, 1 << power))
    }

    pub(super) fn pick(bytes: &mut Unstructured<'_>) -> Result<usize> {
        Ok(usize::from(bytes.arbitrary::<u16>()?))
    }

    /// Up to a pool of the smallest blocks.
    pub(super) fn many(bytes: &mut Unstructured<'_>) -> Result<usize> {
        Ok(2 * usize::from(bytes.arbitrary::<u8>()?))
    }

    pub(super) fn stride(bytes: &mut Unstructured<'_>) -> Result<usize> {
        Ok(usize::from(bytes.arbitrary::<u8>()?))
    }
}

/// The live blocks, in no order, and what the statistics have to say.
pub struct Shadow<A> {
    blocks: Vec<Block<A>>,
    /// Sizes by address, where it is worth the time to look for blocks that share a byte. Without it such a pair is found
    /// as soon as the content of either is checked.
    sizes: Option<BTreeMap<usize, usize>>,
    counts: Counts,
    made: usize,
    operations: u64,
}

impl<A: GlobalAlloc + Default> Shadow<A> {
    /// Nothing live. Fails at the first block that shares a byte with another one.
    #[must_use]
    pub fn new() -> Self {
        Self { sizes: Some(BTreeMap::new()), ..Self::with_room(0) }
    }

    /// Nothing live, and memory for so many blocks: a shadow that does not allocate as long as they suffice. The pattern of
    /// a block is made from the number of blocks that were made before it.
    #[must_use]
    pub fn with_room(blocks: usize) -> Self {
        Self { blocks: Vec::with_capacity(blocks), sizes: None, counts: Counts::default(), made: 0, operations: 0 }
    }

    /// Number of live blocks.
    #[must_use]
    pub fn length(&self) -> usize {
        self.blocks.len()
    }

    /// What the steps taken come to.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Calls of the allocator so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Takes one step; a step that needs a block takes none where there is none.
    pub fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Alloc(layout) => self.alloc(layout),
            Step::Zeroed(layout) => {
                let block = Block::zeroed(layout, self.made);
                self.begin(block);
            }
            Step::Realloc { pick, size } => {
                if let Some(mut block) = self.take(pick) {
                    let before = block.layout();
                    block.resize(size);
                    self.counts.resize(before, block.layout());
                    self.operations += 1;
                    self.put(block);
                }
            }
            Step::Free { pick } => self.free(pick),
            Step::AllocMany { count, layout } => (0..count).for_each(|_| self.alloc(layout)),
            Step::FreeMany { count, pick, stride } => {
                for number in 0..count {
                    let last = self.blocks.len().wrapping_sub(1);
                    self.free(if stride == 0 { last } else { pick.wrapping_add(number * stride) });
                }
            }
        }
    }

    fn alloc(&mut self, layout: Layout) {
        let block = Block::new(layout, self.made);
        self.begin(block);
    }

    fn begin(&mut self, block: Block<A>) {
        self.counts.allocate(block.layout());
        self.made += 1;
        self.operations += 1;
        self.put(block);
    }

    fn free(&mut self, pick: usize) {
        if let Some(block) = self.take(pick) {
            self.counts.free(block.layout());
            self.operations += 1;
            block.free();
        }
    }

    /// Takes a live block over, from whichever shadow; fails if a byte of it belongs to another one.
    pub fn put(&mut self, block: Block<A>) {
        if let Some(sizes) = &mut self.sizes {
            let (start, size) = (block.address(), block.layout().size());
            if let Some((&other, &other_size)) = sizes.range(..start + size).next_back() {
                assert!(other + other_size <= start, "{block:?} overlaps the {other_size} bytes at {other:#x}");
            }
            sizes.insert(start, size);
        }
        self.blocks.push(block);
    }

    /// Gives a block up, live as it is.
    pub fn take(&mut self, pick: usize) -> Option<Block<A>> {
        if self.blocks.is_empty() {
            return None;
        }
        let block = self.blocks.swap_remove(pick % self.blocks.len());
        if let Some(sizes) = &mut self.sizes {
            sizes.remove(&block.address());
        }
        Some(block)
    }

    /// Fails unless each byte is as it was written.
    pub fn check(&self) {
        self.blocks.iter().for_each(Block::check);
    }

    /// Checks and frees everything.
    pub fn finish(&mut self) {
        self.check();
        self.take_step(&Step::FreeMany { count: self.blocks.len(), pick: 0, stride: 0 });
    }
}

impl<A: GlobalAlloc + Default> Default for Shadow<A> {
    fn default() -> Self {
        Self::new()
    }
}

/// A size: small, 85 times in a hundred.
fn random_size(random: &mut SmallRng) -> usize {
    match random.random_range(0..100_u32) {
        0..85 => random.random_range(1..=256),
        85..99 => random.random_range(1..=1024),
        _ => random.random_range(1..=20_000),
    }
}

/// Any number.
pub(crate) fn random_pick(random: &mut SmallRng) -> usize {
    random.next_u64() as usize
}

/// A block to be: of up to 256 bytes, most times, with an alignment of up to 64.
pub fn random_layout(random: &mut SmallRng) -> Layout {
    layout(random_size(random), 1 << random.random_range(0..7_u32))
}

/// A step of a program with `live` blocks that tends to keep about `target`.
pub fn random_step(random: &mut SmallRng, live: usize, target: usize) -> Step {
    let pick = random_pick(random);
    let is_growing = random.random_range(0..2 * target) >= live;
    match random.random_range(0..10_u32) {
        0..6 if is_growing => {
            let layout = random_layout(random);
            if random.random_ratio(1, 4) { Step::Zeroed(layout) } else { Step::Alloc(layout) }
        }
        6..8 => Step::Realloc { pick, size: random_size(random) },
        _ => Step::Free { pick },
    }
}
