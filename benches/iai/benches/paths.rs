//! Instructions of each path through the allocator, called by its `GlobalAlloc` methods. Every row runs for the
//! system's allocator too. The global allocator of this process is the system's, so nothing else enters the pools.
//!
//! Each row runs in a process of its own. Its setup brings the allocator into the starting state of the row, with other
//! threads where the row needs them. Only the benchmark function, on the main thread, is counted. Blocks that are left
//! at the end are not freed: the process ends.
//!
//! # Arithmetic
//! `cost of one operation = (count of the row - harness) / operations`, with the operations of [`poolmalloc_iai`]'s
//! table. The harness is the loop, the call of [`alloc`] or [`dealloc`] and its return. The `nothing` rows run the same
//! body with an allocator that only returns. Rows of slow paths also count requests that take the fast path (hits):
//! only one request in 127 fills, flushes or collects. Such a row has 8 magazines of 127 blocks, so one such step costs
//! `(row - hits) / 8`. (A magazine of 256-byte blocks, in the row `fresh`, holds 32.)

use std::alloc::{GlobalAlloc, Layout, System};
use std::arch::asm;
use std::hint::black_box;
use std::ptr::{self, NonNull};
use std::sync::mpsc;
use std::thread;

use iai_callgrind::{library_benchmark, library_benchmark_group, main};
use poolmalloc::{PoolMalloc, PrivateHeap};
use poolmalloc_iai::*;

static POOLMALLOC: PoolMalloc = PoolMalloc::new();

/// Number of blocks that a wave of [`SWAP`] allocates and then frees: four magazines less eight blocks. The loaded and
/// the previous magazine hold 254, so the depot must give and take.
const WAVE: usize = 500;

/// More 48-byte blocks than a heap caches: two magazines and a depot of 10 hold 1,524. These are 24 magazines.
const MORE_THAN_CACHED: usize = 3_048;

/// Step through the blocks of [`REMOTE_FREE_STRIDE`]. 97 blocks of 48 bytes are more than a pool holds. 97 and 1,016
/// have no common divisor, so each block comes up once.
const STRIDE: usize = 97;

/// An allocator in the starting state of a row, with the arguments of the body.
struct Ready<A: 'static> {
    allocator: &'static A,
    layout: Layout,
    operations: usize,
    /// Blocks that the body frees, or room for those that it allocates.
    blocks: Vec<*mut u8>,
}

/// Allocator that takes its arguments and returns. Its rows show the cost of the harness.
struct Nothing;

static NOTHING: [usize; 32] = [0; 32];

// SAFETY: the contract is broken: all blocks are the same bytes. But the rows only allocate and free, and never touch
// the memory of a block.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let block = (&raw const NOTHING).cast_mut().cast();
        pretend_to_use(block, layout);
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        pretend_to_use(block, layout);
    }
}

/// Makes the compiler keep a call and its arguments. Adds no instruction.
fn pretend_to_use(block: *mut u8, layout: Layout) {
    let (size, align) = (layout.size(), layout.align());
    // SAFETY: an assembler comment. It needs the values in registers and does nothing with them.
    unsafe {
        asm!("/* {} {} {} */", in(reg) block, in(reg) size, in(reg) align, options(nostack, preserves_flags));
    }
}

/// A private heap that only the main thread uses.
struct Own(PrivateHeap);

// SAFETY: a row of private heaps starts no thread.
unsafe impl Sync for Own {}

impl Own {
    fn heap() -> &'static Self {
        Box::leak(Box::new(Self(PrivateHeap::new())))
    }
}

// SAFETY: the heap is never dropped, and it serves a block of the size and alignment of each layout.
unsafe impl GlobalAlloc for Own {
    #[inline(always)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.alloc(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    #[inline(always)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: no row frees null.
        let block = unsafe { NonNull::new_unchecked(block) };
        // SAFETY: the caller's promises.
        unsafe { self.0.dealloc(block, layout) };
    }
}

/// `alloc` behind a call, as programs call it: the layout comes in registers, unknown to the compiler.
///
/// # Safety
/// * `layout` has a size above zero.
#[inline(never)]
unsafe fn alloc<A: GlobalAlloc>(allocator: &A, layout: Layout) -> *mut u8 {
    // SAFETY: the caller promises a size above zero.
    unsafe { allocator.alloc(layout) }
}

/// `alloc_zeroed` behind a call.
///
/// # Safety
/// * `layout` has a size above zero.
#[inline(never)]
unsafe fn alloc_zeroed<A: GlobalAlloc>(allocator: &A, layout: Layout) -> *mut u8 {
    // SAFETY: the caller promises a size above zero.
    unsafe { allocator.alloc_zeroed(layout) }
}

/// `dealloc` behind a call.
///
/// # Safety
/// * `block` is live, and came from `allocator` for `layout`.
#[inline(never)]
unsafe fn dealloc<A: GlobalAlloc>(allocator: &A, block: *mut u8, layout: Layout) {
    // SAFETY: the caller promises the same.
    unsafe { allocator.dealloc(block, layout) }
}

/// `realloc` behind a call.
///
/// # Safety
/// * `block` is live, and came from `allocator` for `layout`.
/// * `new_size` is above zero, and at most `isize::MAX` after rounding up to the alignment.
#[inline(never)]
unsafe fn realloc<A: GlobalAlloc>(allocator: &A, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: the caller promises the same.
    unsafe { allocator.realloc(block, layout, new_size) }
}

/// Layout of `size` bytes, at the alignment of a pointer. The compiler does not know the size.
fn layout(size: usize) -> Layout {
    assert!(size > 0);
    black_box(Layout::from_size_align(size, align_of::<*mut u8>()).unwrap())
}

// ---- Bodies: counted ----

/// Allocates into every slot of `ready.blocks`.
fn allocate_all<A: GlobalAlloc>(mut ready: Ready<A>) -> Ready<A> {
    for block in &mut ready.blocks {
        // SAFETY: `layout` makes no layout of size zero.
        *block = unsafe { alloc(ready.allocator, ready.layout) };
    }
    ready
}

/// Frees all of `ready.blocks`, in their order.
fn free_all<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    for &block in &ready.blocks {
        // SAFETY: the setup allocated each block for this layout, and this body frees it once.
        unsafe { dealloc(ready.allocator, block, ready.layout) };
    }
    ready
}

/// Allocates one block and frees it, `ready.operations` times.
fn pairs<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    for _ in 0..ready.operations {
        // SAFETY: `layout` makes no layout of size zero.
        let block = unsafe { alloc(ready.allocator, ready.layout) };
        // SAFETY: allocated by the line above.
        unsafe { dealloc(ready.allocator, block, ready.layout) };
    }
    ready
}

/// Reallocates one block to the size of `other` and back, in `ready.operations` calls altogether.
fn there_and_back<A: GlobalAlloc>((ready, other): (Ready<A>, Layout)) -> (Ready<A>, Layout) {
    let mut block = ready.blocks[0];
    for _ in 0..ready.operations / 2 {
        // SAFETY: `block` has `ready.layout`, from the setup or from the round before.
        block = unsafe { realloc(ready.allocator, block, ready.layout, other.size()) };
        // SAFETY: the line above gave the block this layout.
        block = unsafe { realloc(ready.allocator, block, other, ready.layout.size()) };
    }
    (ready, other)
}

// ---- Setups: not counted ----

impl<A: GlobalAlloc + Sync> Ready<A> {
    /// An allocator that the setup has not used yet.
    fn new(allocator: &'static A, size: usize, row: Row) -> Self {
        Ready { allocator, layout: layout(size), operations: row.operations, blocks: Vec::new() }
    }

    /// Allocates `count` blocks. None of them is null.
    fn allocate(&self, count: usize) -> Vec<*mut u8> {
        let ready = Ready { blocks: vec![ptr::null_mut(); count], ..*self };
        let blocks = allocate_all(ready).blocks;
        assert!(blocks.iter().all(|block| !block.is_null()));
        blocks
    }

    /// Frees `blocks`, in their order.
    fn free(&self, blocks: Vec<*mut u8>) {
        free_all(Ready { blocks, ..*self });
    }

    /// Gives the body room for `count` blocks to allocate.
    fn with_room(mut self, count: usize) -> Self {
        self.blocks = vec![ptr::null_mut(); count];
        self
    }

    /// Gives the body `blocks` to free.
    fn with_blocks(mut self, blocks: Vec<*mut u8>) -> Self {
        assert_eq!(blocks.len(), self.operations);
        self.blocks = blocks;
        self
    }
}

/// Blocks on their way to another thread.
struct Sent(Vec<*mut u8>);

// SAFETY: only the receiver uses the blocks from here on, and any thread may free a block.
unsafe impl Send for Sent {}

impl Sent {
    fn received(self) -> Vec<*mut u8> {
        self.0
    }
}

/// Gives the thread a heap, and caches a wave of blocks of this size.
fn warm<A: GlobalAlloc + Sync>(allocator: &'static A, size: usize, row: Row) -> Ready<A> {
    let ready = Ready::new(allocator, size, row);
    ready.free(ready.allocate(WAVE));
    ready.with_room(WAVE)
}

/// Allocates one block of `size` bytes. Blocks of `other` bytes are cached too.
fn one_block<A: GlobalAlloc + Sync>(allocator: &'static A, size: usize, other: usize, row: Row) -> (Ready<A>, Layout) {
    warm(allocator, other, row);
    let mut ready = warm(allocator, size, row);
    ready.blocks = ready.allocate(1);
    (ready, layout(other))
}

/// Pools with every other block free, and empty magazines. The setup freed every other block, then allocated all blocks
/// that the heap had cached.
fn pools_in_part_used<A: GlobalAlloc + Sync>(allocator: &'static A, row: Row) -> Ready<A> {
    let ready = Ready::new(allocator, 48, row);
    let (freed, _live) = every_other(ready.allocate(2 * (MORE_THAN_CACHED + 2 * row.operations)));
    ready.free(freed);
    ready.allocate(MORE_THAN_CACHED);
    ready.with_room(row.operations)
}

/// A heap that has served only blocks of 8 bytes: no pool ever held blocks of the size of the row.
fn no_pool_yet<A: GlobalAlloc + Sync>(allocator: &'static A, row: Row) -> Ready<A> {
    warm(allocator, 8, row);
    Ready::new(allocator, 256, row).with_room(row.operations)
}

/// Full magazines and a full depot. The body frees every other block of some pools.
fn full_magazines<A: GlobalAlloc + Sync>(allocator: &'static A, row: Row) -> Ready<A> {
    let ready = Ready::new(allocator, 48, row);
    let (mut freed, _live) = every_other(ready.allocate(2 * (MORE_THAN_CACHED + row.operations)));
    let blocks = freed.split_off(MORE_THAN_CACHED);
    ready.free(freed);
    ready.with_blocks(blocks)
}

/// Full magazines and a full depot. Only the blocks that the body frees are live.
fn full_magazines_whole_pools<A: GlobalAlloc + Sync>(allocator: &'static A, row: Row) -> Ready<A> {
    let ready = Ready::new(allocator, 48, row);
    let mut freed = ready.allocate(MORE_THAN_CACHED + row.operations);
    let blocks = freed.split_off(MORE_THAN_CACHED);
    ready.free(freed);
    ready.with_blocks(blocks)
}

/// Blocks of another thread, in the order in which it got them. That thread lives on, asleep.
fn blocks_of_another_thread<A: GlobalAlloc + Sync>(allocator: &'static A, row: Row) -> Ready<A> {
    let ready = warm(allocator, 48, row);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let blocks = Ready::new(allocator, 48, row).allocate(row.operations);
        sender.send(Sent(blocks)).unwrap();
        loop {
            thread::park();
        }
    });
    ready.with_blocks(receiver.recv().unwrap().received())
}

/// Blocks of another thread, each from another pool than the one before.
fn blocks_of_another_thread_by_stride<A: GlobalAlloc + Sync>(allocator: &'static A, row: Row) -> Ready<A> {
    let mut ready = blocks_of_another_thread(allocator, row);
    ready.blocks = (0..row.operations).map(|step| ready.blocks[step * STRIDE % row.operations]).collect();
    ready
}

/// Another thread freed all blocks of this thread, and has ended. This thread has no cached blocks: its allocations
/// emptied a whole number of magazines.
fn freed_by_another_thread<A: GlobalAlloc + Sync>(allocator: &'static A, row: Row) -> Ready<A> {
    let ready = Ready::new(allocator, 48, row);
    let blocks = Sent(ready.allocate(row.operations));
    let freeing = thread::spawn(move || Ready::new(allocator, 48, row).free(blocks.received()));
    freeing.join().unwrap();
    ready.with_room(row.operations)
}

/// Splits the blocks into those with an even index and those with an odd index.
fn every_other(blocks: Vec<*mut u8>) -> (Vec<*mut u8>, Vec<*mut u8>) {
    let even = blocks.iter().copied().step_by(2).collect();
    let odd = blocks.into_iter().skip(1).step_by(2).collect();
    (even, odd)
}

// ---- Rows ----

// The fast path: one block goes back and forth between the magazine and the program.
#[library_benchmark]
#[bench::nothing_48(args = (&Nothing, 48, HIT_48), setup = warm)]
#[bench::poolmalloc_8(args = (&POOLMALLOC, 8, HIT_8), setup = warm, config = HIT_8.limited())]
#[bench::poolmalloc_48(args = (&POOLMALLOC, 48, HIT_48), setup = warm, config = HIT_48.limited())]
#[bench::poolmalloc_256(args = (&POOLMALLOC, 256, HIT_256), setup = warm, config = HIT_256.limited())]
#[bench::private_48(args = (Own::heap(), 48, PRIVATE_HIT_48), setup = warm, config = PRIVATE_HIT_48.limited())]
#[bench::system_8(args = (&System, 8, HIT_8), setup = warm)]
#[bench::system_48(args = (&System, 48, HIT_48), setup = warm)]
#[bench::system_256(args = (&System, 256, HIT_256), setup = warm)]
fn hit<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    pairs(ready)
}

// The same with memory that must be zero.
#[library_benchmark(setup = warm)]
#[bench::poolmalloc(args = (&POOLMALLOC, 48, ZEROED_48), config = ZEROED_48.limited())]
#[bench::system(&System, 48, ZEROED_48)]
fn zeroed<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    for _ in 0..ready.operations {
        // SAFETY: `layout` makes no layout of size zero.
        let block = unsafe { alloc_zeroed(ready.allocator, ready.layout) };
        // SAFETY: allocated by the line above.
        unsafe { dealloc(ready.allocator, block, ready.layout) };
    }
    ready
}

// Four waves; each empties the magazines, takes full ones from the depot, and gives them back.
#[library_benchmark(setup = warm)]
#[bench::nothing(&Nothing, 48, SWAP)]
#[bench::poolmalloc(args = (&POOLMALLOC, 48, SWAP), config = SWAP.limited())]
#[bench::system(&System, 48, SWAP)]
fn swap<A: GlobalAlloc>(mut ready: Ready<A>) -> Ready<A> {
    for _ in 0..ready.operations / WAVE {
        ready = free_all(allocate_all(ready));
    }
    ready
}

// Every 127th allocation fills a magazine from partly used pools.
#[library_benchmark(setup = pools_in_part_used)]
#[bench::poolmalloc(args = (&POOLMALLOC, FILL), config = FILL.limited())]
#[bench::system(&System, FILL)]
fn fill<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    allocate_all(ready)
}

// Every 32nd allocation fills a magazine from pools never used. That takes 254 KiB of blocks, so an arena comes into
// use too.
#[library_benchmark(setup = no_pool_yet)]
#[bench::poolmalloc(args = (&POOLMALLOC, FRESH), config = FRESH.limited())]
#[bench::system(&System, FRESH)]
fn fresh<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    allocate_all(ready)
}

// Every 127th free flushes a magazine to the pools. Every other block of these pools stays live.
#[library_benchmark(setup = full_magazines)]
#[bench::poolmalloc(args = (&POOLMALLOC, FLUSH), config = FLUSH.limited())]
#[bench::system(&System, FLUSH)]
fn flush<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    free_all(ready)
}

// Every 127th free flushes a magazine to the pools, which become empty.
#[library_benchmark(setup = full_magazines_whole_pools)]
#[bench::poolmalloc(args = (&POOLMALLOC, FLUSH_WHOLE), config = FLUSH_WHOLE.limited())]
#[bench::system(&System, FLUSH_WHOLE)]
fn flush_whole<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    free_all(ready)
}

// Frees blocks of a living thread, in the order in which it got them: neighbors are remote frees of the same word.
#[library_benchmark(setup = blocks_of_another_thread)]
#[bench::poolmalloc(args = (&POOLMALLOC, REMOTE_FREE), config = REMOTE_FREE.limited())]
#[bench::system(&System, REMOTE_FREE)]
fn remote_free<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    free_all(ready)
}

// Frees blocks of a living thread, each in another pool than the one before: no two frees can be combined.
#[library_benchmark(setup = blocks_of_another_thread_by_stride)]
#[bench::poolmalloc(args = (&POOLMALLOC, REMOTE_FREE_STRIDE), config = REMOTE_FREE_STRIDE.limited())]
#[bench::system(&System, REMOTE_FREE_STRIDE)]
fn remote_free_stride<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    free_all(ready)
}

// The owner allocates as many blocks as another thread freed for it.
#[library_benchmark(setup = freed_by_another_thread)]
#[bench::poolmalloc(args = (&POOLMALLOC, COLLECT), config = COLLECT.limited())]
#[bench::system(&System, COLLECT)]
fn collect<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    allocate_all(ready)
}

// 41 and 48 bytes are one size class: the block stays where it is.
#[library_benchmark(setup = one_block)]
#[bench::poolmalloc(args = (&POOLMALLOC, 41, 48, REALLOC_IN_PLACE), config = REALLOC_IN_PLACE.limited())]
#[bench::system(&System, 41, 48, REALLOC_IN_PLACE)]
fn realloc_in_place<A: GlobalAlloc>(ready: (Ready<A>, Layout)) -> (Ready<A>, Layout) {
    there_and_back(ready)
}

// From size class to size class: allocate, copy 48 bytes, free.
#[library_benchmark(setup = one_block)]
#[bench::poolmalloc(args = (&POOLMALLOC, 48, 64, REALLOC_MOVE), config = REALLOC_MOVE.limited())]
#[bench::system(&System, 48, 64, REALLOC_MOVE)]
fn realloc_move<A: GlobalAlloc>(ready: (Ready<A>, Layout)) -> (Ready<A>, Layout) {
    there_and_back(ready)
}

// From a pool to the backend and back: allocate, copy 256 bytes, free.
#[library_benchmark(setup = one_block)]
#[bench::poolmalloc(args = (&POOLMALLOC, 256, 512, REALLOC_LARGE), config = REALLOC_LARGE.limited())]
#[bench::system(&System, 256, 512, REALLOC_LARGE)]
fn realloc_large<A: GlobalAlloc>(ready: (Ready<A>, Layout)) -> (Ready<A>, Layout) {
    there_and_back(ready)
}

// The difference to the system's row is the cost of passing a request on to the backend.
#[library_benchmark(setup = warm)]
#[bench::poolmalloc(args = (&POOLMALLOC, 1024, LARGE), config = LARGE.limited())]
#[bench::system(&System, 1024, LARGE)]
fn large<A: GlobalAlloc>(ready: Ready<A>) -> Ready<A> {
    pairs(ready)
}

library_benchmark_group!(name = magazine; benchmarks = hit, zeroed, swap);
library_benchmark_group!(name = pools; benchmarks = fill, fresh, flush, flush_whole);
library_benchmark_group!(name = remote; benchmarks = remote_free, remote_free_stride, collect);
library_benchmark_group!(name = resize; benchmarks = realloc_in_place, realloc_move, realloc_large);
library_benchmark_group!(name = backend; benchmarks = large);

main!(
    config = instructions_only();
    library_benchmark_groups = magazine, pools, remote, resize, backend
);
