//! Blocks of any layout, filled with a pattern that shows to which block a byte belongs and where in the block it is.

use std::alloc::{GlobalAlloc, Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::fmt;
use std::hint::black_box;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// The allocator that the program has installed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Global;

// SAFETY: all four functions pass the request on.
unsafe impl GlobalAlloc for Global {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        unsafe { alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises.
        unsafe { dealloc(start, layout) }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises.
        unsafe { realloc(start, layout, size) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        unsafe { alloc_zeroed(layout) }
    }
}

/// Number of bytes after which the pattern repeats, so that filling and checking are a few calls of `memcpy` and
/// `memcmp`.
const PERIOD: usize = 4096;

/// Two periods of noise: a block's pattern is a window of one period, at an offset that depends on its seed.
static NOISE: [u8; 2 * PERIOD] = noise();

const fn noise() -> [u8; 2 * PERIOD] {
    let mut bytes = [0; 2 * PERIOD];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut i = 0;
    while i < bytes.len() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes[i] = (state >> 56) as u8;
        i += 1;
    }
    bytes
}

fn pattern(seed: usize) -> &'static [u8] {
    let start = seed.wrapping_mul(0x9E37_79B9) % PERIOD;
    &NOISE[start..start + PERIOD]
}

/// Writes the pattern of `seed` over all of `bytes`.
pub fn fill(bytes: &mut [u8], seed: usize) {
    for chunk in bytes.chunks_mut(PERIOD) {
        chunk.copy_from_slice(&pattern(seed)[..chunk.len()]);
    }
}

/// Whether `bytes` hold the pattern of `seed`, from its start.
pub fn is_filled(bytes: &[u8], seed: usize) -> bool {
    bytes.chunks(PERIOD).all(|chunk| *chunk == pattern(seed)[..chunk.len()])
}

/// Shorthand for a layout that is known to be legal.
pub fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a legal layout")
}

/// A block of the allocator `A`, filled with the pattern of its seed. Free it with [`free`](Self::free).
///
/// `A` names an allocator that the whole process shares: each value of `A` allocates from the same memory.
pub struct Block<A> {
    start: NonNull<u8>,
    layout: Layout,
    seed: usize,
    allocator: PhantomData<fn() -> A>,
}

// SAFETY: a block is plain memory, and only its one owner refers to it.
unsafe impl<A> Send for Block<A> {}

// SAFETY: through a shared reference the memory is only read.
unsafe impl<A> Sync for Block<A> {}

impl<A> fmt::Debug for Block<A> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, size, align, seed) = (self.start, self.layout.size(), self.layout.align(), self.seed);
        write!(out, "block at {start:?} of {size} bytes aligned to {align}, seed {seed}")
    }
}

impl<A: GlobalAlloc + Default> Block<A> {
    /// A filled block, or `None` if the allocator returns null.
    pub fn try_new(layout: Layout, seed: usize) -> Option<Self> {
        assert_ne!(layout.size(), 0);
        // SAFETY: the size is not zero.
        let start = black_box(unsafe { A::default().alloc(layout) });
        let mut block = Self { start: NonNull::new(start)?, layout, seed, allocator: PhantomData };
        block.check_alignment();
        fill(block.bytes_mut(), seed);
        Some(block)
    }

    /// A filled block. Fails if the allocator returns null.
    pub fn new(layout: Layout, seed: usize) -> Self {
        Self::try_new(layout, seed).unwrap_or_else(|| panic!("out of memory for {layout:?}"))
    }

    /// A filled block from `alloc_zeroed`. Fails if the allocator returns null, and if the memory is not zero before it
    /// is filled.
    pub fn zeroed(layout: Layout, seed: usize) -> Self {
        assert_ne!(layout.size(), 0);
        // SAFETY: the size is not zero.
        let start = black_box(unsafe { A::default().alloc_zeroed(layout) });
        let start = NonNull::new(start).unwrap_or_else(|| panic!("out of memory for {layout:?}"));
        let mut block = Self { start, layout, seed, allocator: PhantomData };
        block.check_alignment();
        assert!(block.bytes().iter().all(|byte| *byte == 0), "not zeroed: {block:?}");
        fill(block.bytes_mut(), seed);
        block
    }

    /// A block that other code allocated with `layout` and filled with the pattern of `seed`.
    ///
    /// # Safety
    /// * `start` is a live block of the allocator, and no other code goes on using it.
    pub unsafe fn from_raw(start: NonNull<u8>, layout: Layout, seed: usize) -> Self {
        let block = Self { start, layout, seed, allocator: PhantomData };
        block.check_alignment();
        block
    }

    /// Where the block begins, as a number.
    pub fn address(&self) -> usize {
        self.start.addr().get()
    }

    /// Where the block begins.
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The layout of the block: that of its allocation, or of its last `realloc` that succeeded.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The seed of the block's pattern.
    pub fn seed(&self) -> usize {
        self.seed
    }

    /// The block's content.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the block is as long as its layout says, and was written when it was made.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.layout.size()) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes this the one reference.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.layout.size()) }
    }

    fn check_alignment(&self) {
        assert_eq!(self.address() % self.layout.align(), 0, "misaligned: {self:?}");
    }

    /// Fails unless every byte is as it was written.
    pub fn check(&self) {
        assert!(is_filled(self.bytes(), self.seed), "content lost: {self:?}");
    }

    /// Resizes the block by `realloc`, checks the bytes that have to be kept, and fills the block again. Returns
    /// `false` if the allocator returns null. Then the block must be unchanged, which is checked too.
    pub fn try_resize(&mut self, size: usize) -> bool {
        self.check();
        // SAFETY: the block is live with this layout; the callers ask for sizes of 1 byte or more, below `isize::MAX`.
        let start = black_box(unsafe { A::default().realloc(self.start.as_ptr(), self.layout, size) });
        let Some(start) = NonNull::new(start) else {
            self.check();
            return false;
        };
        let kept = self.layout.size().min(size);
        self.start = start;
        self.layout = layout(size, self.layout.align());
        self.check_alignment();
        assert!(is_filled(&self.bytes()[..kept], self.seed), "the first {kept} bytes lost: {self:?}");
        let seed = self.seed;
        fill(self.bytes_mut(), seed);
        true
    }

    /// Resizes the block with [`try_resize`](Self::try_resize). Fails if the allocator returns null.
    pub fn resize(&mut self, size: usize) {
        assert!(self.try_resize(size), "out of memory for {size} bytes: {self:?}");
    }

    /// Checks the content, then frees the block.
    pub fn free(self) {
        self.check();
        // SAFETY: the block is live with this layout, and `self` ends here.
        unsafe { A::default().dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Fails if two of the blocks share a byte.
pub fn assert_disjoint<A: GlobalAlloc + Default>(blocks: &[Block<A>]) {
    let mut spans: Vec<(usize, usize)> = blocks.iter().map(|block| (block.address(), block.layout.size())).collect();
    spans.sort_unstable();
    for pair in spans.windows(2) {
        let [(start, size), (next, _)] = pair else { unreachable!() };
        assert!(start + size <= *next, "the {size} bytes at {start:#x} run into the block at {next:#x}");
    }
}
