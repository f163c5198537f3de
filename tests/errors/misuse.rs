//! Each row of docs/guide/misuse.md: what a program must not do, and the result.
//!
//! A child does each deed, with one of three results. It passes, if the deed is right or the library handles it. It
//! ends by SIGABRT with exactly one line on standard error: the line names the error, the address, and the size class
//! if there is one. Or it passes although it should not, as docs/guide/misuse.md says of that row.
//!
//! To see it fail: leave out one of the checks that docs/guide/misuse.md names; panic (which allocates, and may unwind)
//! instead of writing and aborting; write the line in two parts.
//!
//! `cargo test --test errors misuse::`

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::c_void;
use std::hint::black_box;
use std::os::unix::process::ExitStatusExt;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use poolmalloc::{check_heap, stats};

use crate::ALLOC;
use poolmalloc_support::block::{fill, is_filled, layout};
use poolmalloc_support::oracle::mode;
use poolmalloc_support::process::{say, succeed, told};
use poolmalloc_support::{Test, command, not_in_debug, raw_thread};

/// Bytes of the blocks of most deeds. A pool has 85 of them, and 16 bytes are left over.
const SIZE: usize = 48;
/// Bytes of blocks of another class. The deeds let heaps reuse pools for this class that had blocks of [`SIZE`] before.
const OTHER: usize = 64;
/// Number of blocks that fill 235 pools. When they are freed, they push everything freed before through magazine and
/// depot into the pools.
const MANY: usize = 20_000;
/// Number of blocks that fill 48 pools. When all are freed, 2400 of them reach their pools. A heap of less than 64
/// pools does not search for wholly free ones until it needs a pool.
const FEW: usize = 4_000;

/// The result of a deed.
enum End {
    /// The child goes on as if nothing were wrong.
    Passes,
    /// The child aborts with this line from the library. `{}` stands for the address that the child named.
    Reported(&'static str),
    /// The child aborts with a line from glibc that begins like this. Another C library may end the child without a
    /// line.
    ByLibrary(&'static str),
}

use End::{ByLibrary, Passes, Reported};

const DOUBLE: End = Reported("double free of the block of 48 bytes at {}");
const INTERIOR: End = Reported("free of {}, where no block of 48 bytes begins");
const INTERIOR_NOW: End = Reported("free of {}, where no block of 64 bytes begins");
const FREE_POOL: End = Reported("free of {}, in a pool without blocks: double, or of a wild pointer");

/// Each deed by name, and its result. The names are those of docs/guide/misuse.md.
static ROWS: [(&str, fn(), End); 50] = [
    // Handled.
    ("wrong_size", wrong_size, Passes),
    ("wrong_alignment", wrong_alignment, Passes),
    ("small_as_large", small_as_large, Passes),
    ("large_as_small", large_as_small, Passes),
    ("realloc_wrong_size", realloc_wrong_size, Passes),
    ("realloc_wrong_alignment", realloc_wrong_alignment, Passes),
    ("realloc_small_as_large", realloc_small_as_large, Passes),
    ("realloc_large_as_small", realloc_large_as_small, Passes),
    // Correct deeds, for comparison with the wrong ones below.
    ("once", || among(|block| give(block, SIZE)), Passes),
    ("once_by_another_thread", || among(|block| on_thread(|| give(block, SIZE))), Passes),
    ("once_in_a_child", || in_child(|| among(|block| give(block, SIZE))), Passes),
    ("once_in_a_child_by_another_thread", once_in_a_child_by_another_thread, Passes),
    // Double frees by the owner.
    ("twice_at_once", || twice(take(SIZE)), DOUBLE),
    ("twice", || among(twice_with_another_between), DOUBLE),
    ("twice_after_flush", twice_after_flush, DOUBLE),
    ("twice_pool_given_up_between_flushes", twice_pool_given_up_between_flushes, DOUBLE),
    ("twice_after_class_change", || twice_after_class_change(false), INTERIOR_NOW),
    ("twice_after_arena_given_up", twice_after_arena_given_up, FREE_POOL),
    ("twice_after_arena_moved", twice_after_arena_moved, INTERIOR_NOW),
    // Double frees by others.
    ("twice_by_another_thread", || among(|block| on_thread(|| twice(block))), DOUBLE),
    ("twice_by_another_thread_at_length", || among(|block| on_thread(|| twice_at_length(block))), DOUBLE),
    ("twice_by_another_thread_with_another_between", twice_by_another_thread_with_another_between, DOUBLE),
    ("by_two_other_threads", by_two_other_threads, DOUBLE),
    ("by_owner_then_another_thread", by_owner_then_another_thread, DOUBLE),
    ("by_another_thread_then_owner", by_another_thread_then_owner, DOUBLE),
    ("by_another_thread_then_owner_pool_free", by_another_thread_then_owner_pool_free, DOUBLE),
    ("by_another_thread_late_then_owner_pool_free", by_another_thread_late_then_owner_pool_free, DOUBLE),
    ("twice_by_late_destructor", || among(|block| at_end_of_thread(twice, block)), DOUBLE),
    ("twice_in_a_child", || in_child(|| among(twice)), DOUBLE),
    ("twice_in_a_child_by_another_thread", twice_in_a_child_by_another_thread, DOUBLE),
    // Interior pointers.
    ("interior", || interior(8), INTERIOR),
    ("interior_unaligned", || interior(1), INTERIOR),
    ("interior_behind_last_block", interior_behind_last_block, INTERIOR),
    ("interior_by_another_thread", || interior_by_another_thread(8), INTERIOR),
    ("interior_by_another_thread_unaligned", || interior_by_another_thread(1), INTERIOR),
    ("realloc_interior", || among(|block| resize(accuse(block.wrapping_add(8)), SIZE, OTHER)), INTERIOR),
    // Pointers that were never handed out.
    ("wild_free_pool", || give(accuse(free_pool()), SIZE), FREE_POOL),
    ("wild_never_opened", || give(accuse(never_opened()), SIZE), FREE_POOL),
    ("wild_first_operation", || first_operation(|block| give(block, SIZE)), FREE_POOL),
    ("wild_by_late_destructor", || at_end_of_thread(|block| give(block, SIZE), accuse(never_opened())), FREE_POOL),
    ("realloc_wild", || resize(accuse(never_opened()), SIZE, OTHER), FREE_POOL),
    ("realloc_wild_first_operation", || first_operation(|block| resize(block, SIZE, OTHER)), FREE_POOL),
    ("realloc_twice", realloc_twice, DOUBLE),
    // Pointers that only the backend sees.
    ("stack", stack, ByLibrary("free(): ")),
    ("static", || give(not_from_malloc(), SIZE), ByLibrary("free(): ")),
    ("realloc_static", || resize(not_from_malloc(), SIZE, 4 * SIZE_LARGE), ByLibrary("realloc(): ")),
    ("large_twice", large_twice, ByLibrary("free(): ")),
    // Undetected.
    ("handed_out_again", handed_out_again, Passes),
    ("twice_after_class_change_at_block", || twice_after_class_change(true), Passes),
    ("realloc_interior_in_place", realloc_interior_in_place, Passes),
];

/// Bytes of a block of the backend.
const SIZE_LARGE: usize = 1_000;

fn take(size: usize) -> *mut u8 {
    // SAFETY: no size here is zero.
    let block = black_box(unsafe { ALLOC.alloc(layout(size, 8)) });
    assert!(!block.is_null());
    block
}

fn give(block: *mut u8, size: usize) {
    give_as(block, layout(size, 8));
}

fn give_as(block: *mut u8, layout: Layout) {
    // SAFETY: wrong on purpose: not always a live block of this layout. docs/guide/misuse.md says what the library
    // does.
    unsafe { ALLOC.dealloc(black_box(block), layout) };
}

fn resize(block: *mut u8, size: usize, new_size: usize) {
    let _ = resize_as(block, layout(size, 8), new_size);
}

fn resize_as(block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
    // SAFETY: as for `give_as`; the new size is not zero.
    black_box(unsafe { ALLOC.realloc(black_box(block), layout, new_size) })
}

fn take_many(count: usize, size: usize) -> Vec<usize> {
    (0..count).map(|_| take(size).expose_provenance()).collect()
}

fn give_all(blocks: &[usize], size: usize) {
    blocks.iter().for_each(|&block| give(ptr::with_exposed_provenance_mut(block), size));
}

/// A pointer that may go to another thread.
#[derive(Clone, Copy)]
struct Sent(*mut u8);

// SAFETY: blocks may be freed by any thread.
unsafe impl Send for Sent {}

// SAFETY: as above.
unsafe impl Sync for Sent {}

impl Sent {
    fn block(self) -> *mut u8 {
        self.0
    }
}

/// Prints an address for the parent, at the first call only. The report must name this address.
fn accuse(block: *mut u8) -> *mut u8 {
    static DONE: AtomicUsize = AtomicUsize::new(0);
    if DONE.fetch_add(1, Ordering::Relaxed) == 0 {
        say(&format!("{block:p}"));
    }
    block
}

/// Runs a deed on one block among many. Then frees the others, so that all freed blocks come to their pools. Then
/// allocates new blocks, since an owner collects its remote frees when it needs blocks.
fn among(deed: impl FnOnce(*mut u8)) {
    let mut blocks = take_many(MANY, SIZE);
    deed(ptr::with_exposed_provenance_mut(blocks.swap_remove(MANY / 2)));
    give_all(&blocks, SIZE);
    give_all(&take_many(2 * MANY, SIZE), SIZE);
    check_heap().expect("a heap that nothing wrong was done to");
}

fn on_thread(body: impl FnOnce()) {
    struct Body<F>(F);
    // SAFETY: the thread that made the body waits for the other thread, and any thread may free blocks.
    unsafe impl<F> Send for Body<F> {}
    impl<F: FnOnce()> Body<F> {
        fn run(self) {
            (self.0)();
        }
    }
    let body = Mutex::new(Some(Body(body)));
    raw_thread::run(1, &|_| {
        let body = body.lock().expect("no panic while it was held").take();
        body.expect("one thread").run();
    });
}

/// Runs `body` in the child of a fork. If a signal ends the child, ends this process by the same signal. Fails if the
/// child ends in any other way than with 0.
fn in_child(body: impl FnOnce()) {
    // SAFETY: this process has one thread, so its child may do anything.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        body();
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: the place for the answer is valid.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        // SAFETY: no preconditions.
        unsafe { libc::raise(libc::WTERMSIG(status)) };
    }
    assert_eq!(status, 0, "how the child of the fork ended");
}

/// Runs `deed` in a destructor so late that the thread has given its heap back.
fn at_end_of_thread(deed: fn(*mut u8), block: *mut u8) {
    struct Late {
        rounds: usize,
        key: libc::pthread_key_t,
        deed: fn(*mut u8),
        block: Sent,
    }
    extern "C" fn destroy(late: *mut c_void) {
        // SAFETY: armed below with a `Late` that outlives the thread. Only this thread uses it.
        let late = unsafe { &mut *late.cast::<Late>() };
        late.rounds += 1;
        // The heap is given back in the second round.
        if late.rounds < 4 {
            // SAFETY: the key exists.
            unsafe { libc::pthread_setspecific(late.key, (&raw mut *late).cast()) };
        } else {
            (late.deed)(late.block.block());
            say("done");
        }
    }
    give(take(SIZE), SIZE);
    let mut key = 0;
    // SAFETY: a place for the key, and a function of the right type.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(destroy)) }, 0);
    let mut late = Late { rounds: 0, key, deed, block: Sent(block) };
    let late = (&raw mut late).addr();
    raw_thread::run(1, &|_| {
        give(take(SIZE), SIZE);
        // SAFETY: the key exists.
        unsafe { libc::pthread_setspecific(key, ptr::without_provenance(late)) };
    });
}

// ---- Handled ----

/// Frees blocks of `size` bytes at `align` by layouts that they never had. Fails unless the statistics are as before
/// each time.
fn free_as(size: usize, align: usize, wrong: &[Layout]) {
    for &wrong in wrong {
        let before = stats();
        let neighbors = [take(size), take(size)];
        // SAFETY: the size is not zero.
        let block = black_box(unsafe { ALLOC.alloc(layout(size, align)) });
        give_as(block, wrong);
        neighbors.iter().for_each(|&block| give(block, size));
        let after = stats();
        assert_eq!(after.small.live_blocks, before.small.live_blocks, "{wrong:?}");
        assert_eq!(after.large.allocations - after.large.frees, before.large.allocations - before.large.frees);
    }
    check_heap().expect("a heap as it was");
}

/// Resizes blocks of `size` bytes at `align` as if they had other layouts. Fails unless the first bytes stay: `kept`
/// of them, or fewer if the old or the new size is smaller.
fn resize_by(size: usize, align: usize, wrong: &[Layout], kept: usize) {
    for &wrong in wrong {
        for new_size in [1, SIZE, SIZE + 1, 200, 300, 5_000] {
            // SAFETY: the size is not zero.
            let block = black_box(unsafe { ALLOC.alloc(layout(size, align)) });
            // SAFETY: a fresh block of `size` bytes.
            fill(unsafe { std::slice::from_raw_parts_mut(block, size) }, new_size);
            let block = resize_as(block, wrong, new_size);
            assert_eq!(block.addr() % wrong.align(), 0, "{wrong:?} to {new_size}");
            let kept = kept.min(size).min(new_size);
            // SAFETY: the block has `new_size` bytes now, and the first `kept` of them were written.
            assert!(is_filled(unsafe { std::slice::from_raw_parts(block, kept) }, new_size), "{wrong:?} to {new_size}");
            give_as(block, layout(new_size, wrong.align()));
        }
    }
    check_heap().expect("a heap as it was");
}

fn wrong_size() {
    free_as(SIZE, 8, &[layout(1, 8), layout(47, 8), layout(49, 8), layout(256, 8)]);
    free_as(SIZE_LARGE, 8, &[layout(SIZE_LARGE / 2, 8), layout(10 * SIZE_LARGE, 8)]);
}

fn wrong_alignment() {
    free_as(SIZE, 8, &[layout(SIZE, 1), layout(SIZE, 16), layout(SIZE, 4096)]);
    free_as(SIZE, 16, &[layout(SIZE, 1)]);
    free_as(SIZE_LARGE, 8, &[layout(SIZE_LARGE, 1), layout(SIZE_LARGE, 4096)]);
    free_as(SIZE_LARGE, 512, &[layout(SIZE_LARGE, 1)]);
}

fn small_as_large() {
    free_as(SIZE, 8, &[layout(257, 8), layout(SIZE_LARGE, 8), layout(1 << 30, 8)]);
}

fn large_as_small() {
    free_as(SIZE_LARGE, 8, &[layout(1, 8), layout(256, 8)]);
    free_as(SIZE_LARGE, 512, &[layout(1, 8)]);
}

fn realloc_wrong_size() {
    resize_by(SIZE, 8, &[layout(1, 8), layout(47, 8), layout(49, 8), layout(256, 8)], SIZE);
    // The backend copies at most as many bytes as the wrong layout has.
    resize_by(SIZE_LARGE, 8, &[layout(SIZE_LARGE / 2, 8)], SIZE_LARGE / 2);
}

fn realloc_wrong_alignment() {
    resize_by(SIZE, 8, &[layout(SIZE, 1), layout(SIZE, 64), layout(SIZE, 4096)], SIZE);
    resize_by(SIZE_LARGE, 8, &[layout(SIZE_LARGE, 1), layout(SIZE_LARGE, 4096)], SIZE_LARGE);
}

fn realloc_small_as_large() {
    resize_by(SIZE, 8, &[layout(257, 8), layout(SIZE_LARGE, 8), layout(1 << 30, 8)], SIZE);
}

fn realloc_large_as_small() {
    resize_by(SIZE_LARGE, 8, &[layout(1, 8), layout(256, 8)], 1);
}

// ---- Double frees ----

fn twice(block: *mut u8) {
    give(accuse(block), SIZE);
    give(block, SIZE);
}

fn twice_with_another_between(block: *mut u8) {
    let another = take(SIZE);
    give(accuse(block), SIZE);
    give(another, SIZE);
    give(block, SIZE);
}

fn twice_at_length(block: *mut u8) {
    give(accuse(block), SIZE);
    // The other frees must not make the allocator forget the first free.
    give_all(&take_many(200, SIZE), SIZE);
    give(block, SIZE);
}

fn twice_after_flush() {
    let mut blocks = take_many(MANY, SIZE);
    let block = ptr::with_exposed_provenance_mut(blocks.swap_remove(MANY / 2));
    give(accuse(block), SIZE);
    // Frees the first quarter only: the neighbors of `block` stay live, so its pool stays in use.
    let rest = blocks.split_off(MANY / 4);
    give_all(&blocks, SIZE);
    give(block, SIZE);
    give_all(&rest, SIZE);
}

/// Frees a block twice, so the block has two entries in magazines. A flush takes the first entry, and then the block's
/// pool is given up. Now no map shows that there is a second entry.
fn twice_pool_given_up_between_flushes() {
    let blocks = take_many(FEW, SIZE);
    let later = take_many(FEW, SIZE);
    let block = ptr::with_exposed_provenance_mut(blocks[300]);
    give_all(&blocks, SIZE);
    give(accuse(block), SIZE);
    take_many(2 * FEW, OTHER);
    give_all(&later, SIZE);
}

/// Frees a block again when its pool has blocks of another class. `at_block` says whether one of these begins at the
/// same address.
fn twice_after_class_change(at_block: bool) {
    let blocks = take_many(FEW, SIZE);
    give_all(&blocks, SIZE);
    let others = take_many(2 * FEW, OTHER);
    let found = blocks[300..1000].iter().find(|&&block| {
        let pool = block & !4095;
        (block % OTHER == 0) == at_block && others.iter().any(|other| other & !4095 == pool)
    });
    let block = ptr::with_exposed_provenance_mut(*found.expect("a pool of another class"));
    give(accuse(block), SIZE);
    if at_block {
        // The free counts as a free of the block of the other class.
        assert!(black_box(others).contains(&block.addr()));
    } else {
        give_all(&others, OTHER);
    }
}

/// Returns a block that was freed, and whose arena was given up.
fn block_of_free_arena() -> *mut u8 {
    let blocks = take_many(4 * MANY, SIZE);
    give_all(&blocks, SIZE);
    assert!(stats().arenas.free > 8);
    // An address where no block of the other size begins.
    let found = blocks[MANY..].iter().find(|&&block| block % OTHER != 0);
    ptr::with_exposed_provenance_mut(*found.expect("three of four are so"))
}

fn twice_after_arena_given_up() {
    give(accuse(block_of_free_arena()), SIZE);
}

fn twice_after_arena_moved() {
    let block = Sent(block_of_free_arena());
    on_thread(|| {
        let others = take_many(4 * MANY, OTHER);
        assert!(others.iter().any(|other| other & !4095 == block.block().addr() & !4095));
    });
    give(accuse(block.block()), SIZE);
}

fn twice_by_another_thread_with_another_between() {
    let mut blocks = take_many(MANY, SIZE);
    let mut next = |at| Sent(ptr::with_exposed_provenance_mut(blocks.swap_remove(at)));
    let (block, between) = (next(MANY / 2), next(MANY / 3));
    on_thread(|| {
        give(accuse(block.block()), SIZE);
        give(between.block(), SIZE);
        give(block.block(), SIZE);
    });
}

fn by_two_other_threads() {
    among(|block| {
        on_thread(|| give(accuse(block), SIZE));
        on_thread(|| give(block, SIZE));
    });
}

fn by_owner_then_another_thread() {
    let mut blocks = take_many(FEW, SIZE);
    let block = Sent(ptr::with_exposed_provenance_mut(blocks.swap_remove(100)));
    give(accuse(block.block()), SIZE);
    // Half of the blocks are freed too, so that `block` comes to its pool. The pool stays in use.
    let _rest = blocks.split_off(FEW / 2);
    give_all(&blocks, SIZE);
    on_thread(|| give(block.block(), SIZE));
    take_many(FEW, SIZE);
}

fn by_another_thread_then_owner() {
    among(|block| {
        on_thread(|| give(accuse(block), SIZE));
        give(block, SIZE);
    });
}

/// The owner searches for wholly free pools while the remote free waits.
fn by_another_thread_then_owner_pool_free() {
    let blocks = take_many(MANY, SIZE);
    let block = Sent(ptr::with_exposed_provenance_mut(blocks[100]));
    on_thread(|| give(accuse(block.block()), SIZE));
    give_all(&blocks, SIZE);
}

/// The other thread posts its free only when it ends. The owner has given the pool up by then.
fn by_another_thread_late_then_owner_pool_free() {
    static TURN: AtomicUsize = AtomicUsize::new(0);
    static BLOCK: AtomicUsize = AtomicUsize::new(0);
    let await_turn = |turn| {
        while TURN.load(Ordering::Acquire) != turn {
            std::thread::yield_now();
        }
    };
    raw_thread::run(2, &|index| {
        if index == 0 {
            let blocks = take_many(MANY, SIZE);
            BLOCK.store(blocks[100], Ordering::Relaxed);
            TURN.store(1, Ordering::Release);
            await_turn(2);
            give_all(&blocks, SIZE);
            TURN.store(3, Ordering::Release);
        } else {
            await_turn(1);
            give(accuse(ptr::with_exposed_provenance_mut(BLOCK.load(Ordering::Relaxed))), SIZE);
            TURN.store(2, Ordering::Release);
            await_turn(3);
        }
    });
}

fn once_in_a_child_by_another_thread() {
    with_block_of_thread(|block| in_child(|| give(block, SIZE)));
}

fn twice_in_a_child_by_another_thread() {
    with_block_of_thread(|block| in_child(|| twice(block)));
}

/// Runs `body` with a block of a thread that has ended.
fn with_block_of_thread(body: impl FnOnce(*mut u8)) {
    let block = AtomicUsize::new(0);
    // This thread gets its heap here, so that it does not take over the heap of the ended thread.
    give(take(SIZE), SIZE);
    on_thread(|| block.store(take(SIZE).expose_provenance(), Ordering::Relaxed));
    body(ptr::with_exposed_provenance_mut(block.into_inner()));
}

fn realloc_twice() {
    among(|block| {
        let another = take(SIZE);
        give(accuse(block), SIZE);
        give(another, SIZE);
        resize(block, SIZE, OTHER);
    });
}

// ---- Interior pointers ----

fn interior(by: usize) {
    among(|block| give(accuse(block.wrapping_add(by)), SIZE));
}

fn interior_behind_last_block() {
    among(|block| give(accuse(block.map_addr(|address| (address & !4095) + 4080)), SIZE));
}

fn interior_by_another_thread(by: usize) {
    with_block_of_thread(|block| give(accuse(block.wrapping_add(by)), SIZE));
}

// ---- Pointers that were never handed out ----

/// Returns an address in the last pool of this thread's arena, which the heap has not needed yet.
fn free_pool() -> *mut u8 {
    take(SIZE).map_addr(|address| (address | (256 * 1024 - 1)) - 4095)
}

/// Returns an address in the region, far behind all arenas.
fn never_opened() -> *mut u8 {
    let half = stats().region.reserved_bytes as usize / 2;
    take(SIZE).wrapping_add(half)
}

/// Runs a deed as the first operation of a thread.
fn first_operation(deed: impl FnOnce(*mut u8)) {
    let block = accuse(never_opened());
    on_thread(|| deed(block));
}

// ---- Pointers that only the backend sees ----

/// Returns an address that the C library's malloc never returns: it is not aligned to 16.
fn not_from_malloc() -> *mut u8 {
    #[repr(align(16))]
    struct Zeros([u8; 256]);
    static ZEROS: Zeros = Zeros([0; 256]);
    (&raw const ZEROS.0[72]).cast_mut()
}

fn stack() {
    let mut zeros = black_box([0_u64; 64]);
    let place = (&raw mut zeros[20]).cast::<u8>();
    give(place.map_addr(|address| (address & !15) + 8), SIZE);
}

fn large_twice() {
    let block = take(SIZE_LARGE);
    give(block, SIZE_LARGE);
    give(block, SIZE_LARGE);
}

// ---- Undetected ----

fn handed_out_again() {
    let block = take(SIZE);
    give(block, SIZE);
    let again = take(SIZE);
    assert_eq!(again, block);
    give(block, SIZE);
    // Two owners have the block now.
    assert_eq!(take(SIZE), again);
}

fn realloc_interior_in_place() {
    let place = take(SIZE).wrapping_add(8);
    assert_eq!(resize_as(place, layout(SIZE - 8, 8), SIZE - 7), place);
}

// ---- The parent ----

fn run_child(deed: fn()) {
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is readable.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) };
    deed();
}

fn check_row(name: &str, end: &End) {
    let mut child = command!(name);
    if matches!(end, Passes) && (!mode::is_debug() || name.starts_with("once")) {
        succeed(&mut child);
        return;
    }
    let output = child.output().expect("starting the child");
    let said = String::from_utf8_lossy(&output.stderr);
    if mode::is_debug() {
        // tests/errors/debug.rs tests which line it is.
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", told(&output));
        assert!(said.starts_with("poolmalloc: ") && said.contains("; aborting\n"), "{}", told(&output));
        return;
    }
    let lines: Vec<&str> = said.lines().collect();
    match end {
        ByLibrary(start) if cfg!(target_env = "gnu") => {
            assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", told(&output));
            assert!(matches!(lines[..], [line] if line.starts_with(start)), "{}", told(&output));
        }
        ByLibrary(_) => assert!(!output.status.success(), "{}", told(&output)),
        Reported(pattern) => {
            assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{}", told(&output));
            let address = String::from_utf8_lossy(&output.stdout);
            let expected = format!("poolmalloc: {}; aborting\n", pattern.replace("{}", address.trim_end()));
            assert_eq!(said, expected);
        }
        Passes => unreachable!("returned above"),
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let test_of = |(name, _, end): &'static (&'static str, fn(), End)| Test::new(*name, move || check_row(name, end));
    let need_reuse = ["twice_after_class_change", "twice_after_class_change_at_block", "handed_out_again"];
    not_in_debug(ROWS.iter().map(test_of).collect(), &need_reuse, "no block is used again so soon")
}

pub(crate) fn child(role: &str) {
    let (_, deed, _) = ROWS.iter().find(|(name, ..)| *name == role).expect("a known deed");
    run_child(*deed);
}
