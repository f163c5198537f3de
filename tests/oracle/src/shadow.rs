//! The blocks that a program's heap must hold, kept apart from that heap.

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

/// Size class that serves `layout` in a process without the variable `POOLMALLOC`, or `None` where the backend does.
#[must_use]
pub fn usual_class_of(layout: Layout) -> Option<usize> {
    let mask = layout.align().max(8) - 1;
    let block_bytes = layout.size().checked_add(mask)? & !mask;
    (8..=256).contains(&block_bytes).then(|| block_bytes / 8 - 1)
}

/// Bytes that the statistics count for a block of the backend that serves `layout`.
#[must_use]
pub fn large_bytes(layout: Layout) -> u64 {
    mode::served(layout).size() as u64
}

/// Whether a `realloc` counts as the resizing of a large block. The backend may move the block all the same.
#[must_use]
pub fn is_large_resized(before: Layout, after: Layout) -> bool {
    !mode::is_debug() && class_of(before).is_none() && class_of(after).is_none()
}

/// The size, at alignments up to 8, that fills a block of `class`; `None` if the class is so small that no request gets
/// a block of it.
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

/// Figures that the statistics must show. If one thread allocates a block and another one frees it, a figure of the
/// second thread wraps below zero. Sums over all threads are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live blocks of each size class.
    pub small_blocks: [u64; CLASSES],
    /// Frees of each size class. A `realloc` that changes the class is one of them.
    pub small_frees: [u64; CLASSES],
    /// Live blocks of the backend.
    pub large_blocks: u64,
    /// Bytes of those blocks, as requested.
    pub large_bytes: u64,
    /// Frees of such blocks. A `realloc` that makes a small block of a large one is one of them.
    pub large_frees: u64,
}

impl Counts {
    /// Adds the counts of another thread.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::wrapping_add);
    }

    /// The counts less those of `before`.
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

/// One step of a program. `pick` selects one of the blocks that are live at that moment. If none is live, the step does
/// nothing.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Step {
    /// Allocates a block.
    Alloc(#[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::layout))] Layout),
    /// Allocates a block of zeros.
    Zeroed(#[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::layout))] Layout),
    /// Resizes a block.
    Realloc {
        /// The block.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::pick))]
        pick: usize,
        /// The new size.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::size))]
        size: usize,
    },
    /// Frees a block.
    Free {
        /// The block.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::pick))]
        pick: usize,
    },
    /// Allocates blocks of one layout, so that magazines and pools fill.
    AllocMany {
        /// Number of blocks.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::many))]
        count: usize,
        /// The layout of each.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::small_layout))]
        layout: Layout,
    },
    /// Frees several blocks.
    FreeMany {
        /// Number of blocks.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::many))]
        count: usize,
        /// The first block.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::pick))]
        pick: usize,
        /// Distance from one block to the next. With 0 the newest blocks are freed, the last one first.
        #[cfg_attr(feature = "arbitrary", arbitrary(with = bytes::stride))]
        stride: usize,
    },
}

/// Makes the parts of a step from a fuzzer's bytes. Each part takes few bytes, and most values make small blocks.
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

    /// A number of blocks: up to 510, nearly a pool of the smallest blocks.
    pub(super) fn many(bytes: &mut Unstructured<'_>) -> Result<usize> {
        Ok(2 * usize::from(bytes.arbitrary::<u8>()?))
    }

    pub(super) fn stride(bytes: &mut Unstructured<'_>) -> Result<usize> {
        Ok(usize::from(bytes.arbitrary::<u8>()?))
    }
}

/// The live blocks, in no order, and the figures that the statistics must show.
pub struct Shadow<A> {
    blocks: Vec<Block<A>>,
    /// Sizes by address, to find blocks that share a byte. A shadow has the map only if this search is worth its time.
    /// Without the map such a pair is found when the content of one of the two is checked.
    sizes: Option<BTreeMap<usize, usize>>,
    counts: Counts,
    made: usize,
    operations: u64,
}

impl<A: GlobalAlloc + Default> Shadow<A> {
    /// A shadow without blocks. It fails at the first block that shares a byte with another one.
    #[must_use]
    pub fn new() -> Self {
        Self { sizes: Some(BTreeMap::new()), ..Self::with_room(0) }
    }

    /// A shadow without blocks that has room for this many. It allocates nothing while the room suffices. The pattern
    /// of a block is made from the number of blocks that were made before it.
    #[must_use]
    pub fn with_room(blocks: usize) -> Self {
        Self { blocks: Vec::with_capacity(blocks), sizes: None, counts: Counts::default(), made: 0, operations: 0 }
    }

    /// Number of live blocks.
    #[must_use]
    pub fn length(&self) -> usize {
        self.blocks.len()
    }

    /// The figures that the statistics must show after the steps so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Number of calls of the allocator so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.operations
    }

    /// Takes one step. A step that needs a live block does nothing if there is none.
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

    /// Adds a live block, which may come from another shadow. A shadow that [`new`](Self::new) made fails if the block
    /// shares a byte with another one.
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

    /// Removes a block, which stays live, and returns it; `None` if there is no block.
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

    /// Fails unless each byte of each block is unchanged.
    pub fn check(&self) {
        self.blocks.iter().for_each(Block::check);
    }

    /// Checks and frees all blocks.
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

/// A random size: up to 256 bytes in 85 of 100 cases, up to 1024 in 14, and up to 20,000 in one.
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

/// A random layout: mostly of up to 256 bytes, with an alignment of at most 64.
pub fn random_layout(random: &mut SmallRng) -> Layout {
    layout(random_size(random), 1 << random.random_range(0..7_u32))
}

/// A random step for a program with `live` blocks, which tends to keep about `target` blocks.
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
