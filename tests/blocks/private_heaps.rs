//! Private heaps: no other heap gets their blocks. All blocks go back in one step, and the arenas go straight to the
//! shared list. The heap and the process count each block.
//!
//! To see it fail: leave a magazine, the depot, an arena without free pools, or the remote frees out of the bulk
//! release; do not count the blocks that it frees; let a thread's foreign magazine take a private block; do not check
//! whether a fork came in the middle.
//!
//! `cargo test --test blocks private_heaps::`

use std::alloc::{GlobalAlloc, Layout};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::panic::catch_unwind;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{io, mem, thread};

use poolmalloc::{
    ArenaMap, PrivateHeap, PrivateHeapReport, SharedPrivateHeap, arenas, check_heap, heap_map, leaks, release_unused,
    stats,
};
use poolmalloc_oracle::shadow::random_step;
use poolmalloc_oracle::{Counts, Shadow};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::ALLOC;
use poolmalloc_support::block::layout;
use poolmalloc_support::oracle::{CLASSES, consistent_stats, counts_of, held_arenas, live, start_a_thread};
use poolmalloc_support::process::{say, succeed, told};
use poolmalloc_support::{SetAtEnd, Test, command, raw_thread, scaled, tests};

/// The heap of [`One`].
static HEAP: Mutex<Option<PrivateHeap>> = Mutex::new(None);

/// A [`PrivateHeap`] as a `GlobalAlloc`, the trait that the engine of random programs uses.
#[derive(Clone, Copy, Debug, Default)]
struct One;

fn with_heap<R>(body: impl FnOnce(&mut PrivateHeap) -> R) -> R {
    let mut heap = HEAP.lock().unwrap_or_else(PoisonError::into_inner);
    body(heap.get_or_insert_with(|| PrivateHeap::named("one")))
}

fn pointer(block: Option<NonNull<u8>>) -> *mut u8 {
    block.map_or(ptr::null_mut(), NonNull::as_ptr)
}

// SAFETY: the tests give up their blocks before they reset the heap.
unsafe impl GlobalAlloc for One {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        with_heap(|heap| pointer(heap.alloc(layout)))
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        with_heap(|heap| pointer(heap.alloc_zeroed(layout)))
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises.
        with_heap(|heap| unsafe { heap.dealloc(NonNull::new(block).expect("a block"), layout) });
    }

    unsafe fn realloc(&self, block: *mut u8, old: Layout, size: usize) -> *mut u8 {
        let block = NonNull::new(block).expect("a block");
        // SAFETY: the caller's promises.
        with_heap(|heap| pointer(unsafe { heap.realloc(block, old, layout(size, old.align())) }))
    }
}

/// Fails unless the figures in a heap's report add up.
fn assert_report_adds_up(report: &PrivateHeapReport) {
    let mut bytes = 0;
    for class in &report.classes {
        let blocks = class.pools * (4096 / class.block_bytes);
        assert_eq!(class.live_blocks + class.cached_blocks + class.free_blocks, blocks, "{class:?}");
        assert_eq!(class.allocations - class.frees, class.live_blocks, "{class:?}");
        bytes += class.live_blocks * class.block_bytes;
    }
    let small = &report.small;
    assert_eq!(small.live_bytes, bytes);
    let used = small.live_bytes + small.cached_bytes + small.free_bytes + small.rounding_bytes;
    assert_eq!(used + report.unused_pools() * 4096, report.arenas * 256 * 1024, "{report}");
    assert_eq!(report.large.allocations - report.large.frees, report.large.live_blocks);
}

fn counted(report: &PrivateHeapReport) -> Counts {
    counts_of(&report.classes, &report.large)
}

/// The counts after all live blocks have been freed.
fn all_freed(counts: &Counts) -> Counts {
    let mut freed = *counts;
    for class in 0..CLASSES {
        freed.small_frees[class] += mem::take(&mut freed.small_blocks[class]);
    }
    freed.large_frees += mem::take(&mut freed.large_blocks);
    freed.large_bytes = 0;
    freed
}

/// Runs random programs, and ends each with a `reset` while some blocks are live. The heap's counts must be the
/// shadow's.
fn random_programs_end_all_at_once() {
    let mut random = SmallRng::seed_from_u64(7);
    with_heap(|_| ());
    let mut before = Counts::default();
    for wave in 0..scaled(40, 4) {
        let mut shadow = Shadow::<One>::new();
        let target = [10, 300, 20_000][wave % 3];
        for _ in 0..scaled(60_000, 4) {
            shadow.take_step(&random_step(&mut random, shadow.length(), target));
        }
        shadow.check();
        consistent_stats();
        let report = with_heap(|heap| heap.stats());
        assert_report_adds_up(&report);
        assert_eq!(counted(&report).since(&before), *shadow.counts(), "wave {wave}");
        let live = *shadow.counts();
        mem::forget(shadow);
        with_heap(PrivateHeap::reset);
        consistent_stats();
        let report = with_heap(|heap| heap.stats());
        assert_report_adds_up(&report);
        assert_eq!(counted(&report).since(&before), all_freed(&live), "wave {wave}");
        assert_eq!((report.arenas, report.pools), (0, 0));
        before = counted(&report);
    }
}

const NODES: usize = scaled(1_000_000, 10);

/// Allocates nodes of two classes, enough to fill arenas to the last pool, and frees every eighth node at once. Then
/// allocates a thousand large blocks.
fn grow(heap: &PrivateHeap) {
    for number in 0..NODES {
        let (size, is_freed) = (24 + number % 2 * 8, number % 8 == 3);
        let block = heap.alloc(layout(size, 8)).expect("memory");
        if is_freed {
            // SAFETY: a block of the heap, with its layout, unused.
            unsafe { heap.dealloc(block, layout(size, 8)) };
        }
    }
    for number in 0..1000 {
        heap.alloc(layout(300 + number, 1 << (number % 12))).expect("memory");
    }
}

/// Dropping a heap gives all arenas back at once, and the next heap uses them.
fn arenas_go_back_at_once() {
    let first = consistent_stats();
    for _ in 0..3 {
        let before = consistent_stats();
        let heap = PrivateHeap::named("nodes");
        grow(&heap);
        let (full, report) = (consistent_stats(), heap.stats());
        assert_report_adds_up(&report);
        assert!(report.arenas as usize >= NODES * 24 / (256 * 1024), "{report}");
        assert_eq!(held_arenas(&full), held_arenas(&before) + report.arenas);
        assert_eq!(report.large.live_blocks, 1000);
        let expected: [u64; 4] = std::array::from_fn(|figure| live(&full)[figure] - live(&before)[figure]);
        let found =
            [report.small.live_blocks, report.small.live_bytes, report.large.live_blocks, report.large.live_bytes];
        assert_eq!(expected, found);
        drop(heap);
        let after = consistent_stats();
        assert_eq!(live(&after), live(&before));
        assert_eq!(held_arenas(&after), held_arenas(&before));
        assert_eq!(after.small.frees - full.small.frees, report.small.live_blocks);
        assert_eq!(after.large.frees - full.large.frees, 1000);
    }
    let last = consistent_stats();
    assert!(last.arenas.open - first.arenas.open <= (NODES * 32 / (250 * 1024)) as u64 + 2, "arenas are not reused");
}

/// A thousand heaps, one after another, need the place and the magazines of one heap.
fn heaps_are_used_again() {
    let use_one = || {
        let heap = PrivateHeap::new();
        (0..2000).for_each(|number| _ = heap.make([number; 4]));
        assert_eq!(heap.stats().small.allocations, 2000, "what an earlier handle did is not counted");
    };
    use_one();
    let before = consistent_stats();
    (0..1000).for_each(|_| use_one());
    let after = consistent_stats();
    assert_eq!((after.region.metadata_bytes, after.arenas), (before.region.metadata_bytes, before.arenas));
    assert_eq!(after.heaps.in_use, 1, "private heaps are no thread's");
}

/// Makes a heap on one thread, uses it on another and drops it on a third. In the end nothing of the heap is live or
/// listed.
fn a_heap_changes_threads() {
    start_a_thread();
    let before = consistent_stats();
    let heap = thread::spawn(|| {
        let heap = PrivateHeap::named("wanders");
        (0..10_000_u64).for_each(|number| _ = heap.make(number));
        heap
    });
    let heap = heap.join().expect("the maker");
    let heap = thread::scope(|scope| {
        scope
            .spawn(move || {
                let values: Vec<&mut u64> = (0..10_000).map(|number| heap.make(number)).collect();
                thread::scope(|scope| {
                    // A thread that does not have the heap may use its values.
                    let look = move || assert!(values.iter().zip(0..).all(|(value, number)| **value == number));
                    scope.spawn(look).join().expect("the one who looks");
                });
                heap
            })
            .join()
            .expect("the user")
    });
    assert_eq!(heap.stats().small.live_blocks, 20_000);
    thread::spawn(move || drop(heap)).join().expect("the last one");
    let after = consistent_stats();
    assert_eq!((live(&after), after.private), (live(&before), before.private));
}

/// A block on its way to another thread.
struct Sent(NonNull<u8>);

// SAFETY: plain memory with one owner.
unsafe impl Send for Sent {}

const SIZES: [usize; 4] = [8, 48, 256, 700];

/// Fills a block with the number of its size in [`SIZES`], counted from 1. If another thread has the same block and
/// fills it with another number, [`marked`] fails.
fn mark(block: NonNull<u8>, kind: usize) {
    // SAFETY: a fresh block of that size.
    unsafe { block.write_bytes(kind as u8 + 1, SIZES[kind]) };
}

/// Checks what [`mark`] wrote, and returns the block's layout.
fn marked(block: NonNull<u8>) -> Layout {
    // SAFETY: the caller has a block that was marked.
    let kind = unsafe { block.read() };
    let size = SIZES[usize::from(kind) - 1];
    // SAFETY: as above.
    let bytes = unsafe { std::slice::from_raw_parts(block.as_ptr(), size) };
    assert!(bytes.iter().all(|byte| *byte == kind), "a block of {size} bytes is somebody else's too");
    layout(size, 8)
}

/// Allocates blocks of a shared heap, with blocks of the process's allocator in between. Exchanges blocks with other
/// threads, and frees the blocks that it gets. Some blocks stay live.
fn work_on(heap: &SharedPrivateHeap, seed: usize, exchange: &Mutex<Vec<Sent>>, steps: usize) {
    let mut random = SmallRng::seed_from_u64(seed as u64);
    let mut held: Vec<NonNull<u8>> = Vec::new();
    for _ in 0..steps {
        let kind = random.random_range(0..SIZES.len());
        let block = heap.alloc(layout(SIZES[kind], 8)).expect("memory");
        mark(block, kind);
        held.push(block);
        drop(Box::new([kind; 6]));
        if held.len() >= 300 {
            let mut exchange = exchange.lock().unwrap_or_else(PoisonError::into_inner);
            let sent = exchange.len().min(150);
            let got: Vec<Sent> = exchange.drain(..sent).collect();
            exchange.extend(held.drain(..200).map(Sent));
            drop(exchange);
            for Sent(block) in got {
                // SAFETY: the block came out of the exchange, so only this thread has it.
                unsafe { heap.dealloc(block, marked(block)) };
            }
        }
    }
    held.into_iter().for_each(|block| _ = marked(block));
}

/// Many threads use one heap and free each other's blocks, and the heap gets these blocks back. A `reset` after they
/// have ended takes only blocks of this heap.
fn many_threads_share_a_heap() {
    start_a_thread();
    let before = consistent_stats();
    let mut heap = SharedPrivateHeap::named("shared");
    let (mut posted, mut frees) = (0, 0);
    for round in 0..6 {
        let exchange = Mutex::new(Vec::new());
        raw_thread::run(6, &|seed| work_on(&heap, round * 6 + seed, &exchange, scaled(100_000, 10)));
        let report = heap.stats();
        assert_report_adds_up(&report);
        consistent_stats();
        let counted = stats().private.by_name().iter().find(|named| named.name.as_str() == "shared").copied();
        let figures = counted.expect("the heap is listed").figures;
        assert_eq!((figures.live_blocks, figures.arenas), (report.small.live_blocks, report.arenas));
        exchange.into_inner().expect("no panic").iter().for_each(|sent| _ = marked(sent.0));
        heap.reset();
        let report = heap.stats();
        assert_report_adds_up(&report);
        assert_eq!((report.small.live_blocks, report.large.live_blocks, report.arenas), (0, 0, 0));
        consistent_stats();
        (posted, frees) = (report.small.remote_frees, report.small.frees);
    }
    assert!(frees > 0 && posted < frees, "{posted} of {frees}");
    drop(heap);
    let after = consistent_stats();
    assert_eq!((live(&after), after.private), (live(&before), before.private));
}

/// Frees blocks while other threads hold the heap's lock most of the time. Such frees do not wait: they post the
/// blocks, and the heap collects them. The test goes on until 300 frees were posted.
fn frees_beside_the_lock() {
    const WANTED: u64 = 300;
    let mut heap = SharedPrivateHeap::new();
    let (is_over, of_16) = (AtomicBool::new(false), layout(16, 8));
    let freed = AtomicUsize::new(0);
    let take = |heap: &SharedPrivateHeap| heap.alloc(of_16).expect("memory");
    let kept: Vec<Sent> = (0..5000).map(|_| Sent(take(&heap))).collect();
    raw_thread::run(3, &|index| {
        if index > 0 {
            while !is_over.load(Ordering::Relaxed) {
                heap.release_unused();
            }
            return;
        }
        let _end = SetAtEnd(&is_over);
        while heap.stats().small.remote_frees < WANTED {
            let blocks: Vec<NonNull<u8>> = (0..2000).map(|_| take(&heap)).collect();
            freed.fetch_add(blocks.len(), Ordering::Relaxed);
            // SAFETY: this thread's own blocks, each freed once.
            blocks.into_iter().for_each(|block| unsafe { heap.dealloc(block, of_16) });
        }
    });
    consistent_stats();
    let (report, freed) = (heap.stats(), freed.into_inner() as u64);
    assert_eq!((report.small.frees, report.small.live_blocks), (freed, kept.len() as u64));
    heap.reset();
    consistent_stats();
    let served: Vec<NonNull<u8>> = (0..20_000).map(|_| take(&heap)).collect();
    let mut addresses: Vec<usize> = served.iter().map(|block| block.addr().get()).collect();
    addresses.sort_unstable();
    assert!(addresses.windows(2).all(|pair| pair[0] < pair[1]), "a block is served twice");
}

/// Keeps collections in a heap of one thread and in a shared one: grows them, shrinks them, and drops or forgets them.
#[cfg(feature = "allocator-api2")]
fn collections_live_in_a_heap() {
    use allocator_api2::alloc::Allocator;
    use allocator_api2::boxed::Box as BoxIn;
    use allocator_api2::vec::Vec as VecIn;

    fn fill<A: Allocator + Copy>(allocator: A) -> usize {
        let mut map = hashbrown::HashMap::with_hasher_in(hashbrown::DefaultHashBuilder::default(), allocator);
        for number in 0..2000_u64 {
            let mut list = VecIn::new_in(allocator);
            list.extend(0..number % 100);
            list.shrink_to_fit();
            map.insert(number, BoxIn::new_in(list, allocator));
        }
        for number in (0..2000).step_by(3) {
            map.remove(&number);
        }
        // Values that take no memory.
        drop(BoxIn::new_in((), allocator));
        drop(VecIn::<[u64; 0], _>::with_capacity_in(5, allocator));
        let sum: u64 = map.values().flat_map(|list| list.iter()).sum();
        let expected: u64 = (0..2000_u64).filter(|number| number % 3 != 0).flat_map(|number| 0..number % 100).sum();
        assert_eq!(sum, expected);
        let length = map.len();
        if length % 2 == 0 {
            drop(map)
        } else {
            mem::forget(map)
        }
        length
    }

    let (heap, shared) = (PrivateHeap::named("collections"), SharedPrivateHeap::new());
    let length = fill(&heap);
    thread::scope(|scope| {
        let threads: [_; 3] = std::array::from_fn(|_| scope.spawn(|| fill(&shared)));
        threads.into_iter().for_each(|thread| assert_eq!(thread.join().expect("no panic"), length));
    });
    for report in [heap.stats(), shared.stats()] {
        assert_report_adds_up(&report);
        assert!(report.small.allocations > 1000 && report.large.allocations > 10, "{report}");
        let live = report.small.live_blocks + report.large.live_blocks;
        assert_eq!(live > 0, length % 2 == 1, "{report}");
    }
    consistent_stats();
    drop((heap, shared));
    consistent_stats();
}

/// Runs `child` in a forked process, and fails unless it returns there within twenty seconds and leaves a valid heap.
fn in_child(child: impl FnOnce() + std::panic::UnwindSafe) {
    // SAFETY: the child calls only the allocator, which promises to work there, and `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            // SAFETY: no preconditions. No handler is installed: the signal ends the process.
            unsafe { libc::alarm(20) };
            let is_well = catch_unwind(|| {
                child();
                check_heap().expect("a valid heap");
            });
            // SAFETY: no preconditions.
            unsafe { libc::_exit(i32::from(is_well.is_err())) }
        }
        child => {
            let mut status = 0;
            // SAFETY: `status` is a valid place for the answer.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child of the fork");
        }
    }
}

/// A child of `fork` allocates from a heap of its parent and drops the heap. The drop frees the child's blocks and the
/// child's copies of the parent's blocks. The parent's heap does not change.
fn a_child_has_its_parents_heap() {
    let heap = PrivateHeap::named("parent's");
    let values: Vec<&mut usize> = (0..10_000).map(|number| heap.make(number)).collect();
    let report = heap.stats();
    let copy = std::panic::AssertUnwindSafe(&heap);
    in_child(move || {
        let copy = copy;
        assert_eq!(copy.stats(), report);
        (0..10_000_usize).for_each(|number| _ = copy.make([number; 3]));
        let held = held_arenas(&stats());
        // SAFETY: the child does not use the handle again, and it ends without destructors.
        drop(unsafe { ptr::read(copy.0) });
        assert!(held_arenas(&stats()) < held);
    });
    assert_eq!(heap.stats(), report);
    assert!(values.iter().enumerate().all(|(number, value)| **value == number));
}

/// Forks while other threads allocate from a shared heap and free to it. At that moment a thread may hold the heap's
/// lock, or may have set the bit of a remote free without having queued its word. The child uses the heap and drops it.
fn forks_in_the_middle() {
    static BUSY: AtomicUsize = AtomicUsize::new(0);
    start_a_thread();
    for _ in 0..scaled(40, 4) {
        let heap = SharedPrivateHeap::named("busy");
        let (is_over, exchange) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        BUSY.store(0, Ordering::Relaxed);
        thread::scope(|scope| {
            let _end = SetAtEnd(&is_over);
            let busy: [_; 3] = std::array::from_fn(|seed| {
                let (heap, is_over, exchange) = (&heap, &is_over, &exchange);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        work_on(heap, seed, exchange, 2000);
                        BUSY.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            while BUSY.load(Ordering::Relaxed) < 3 {
                thread::yield_now();
            }
            let first = heap.alloc(layout(48, 8)).expect("memory");
            mark(first, 1);
            for _ in 0..5 {
                let copy = std::panic::AssertUnwindSafe(&heap);
                in_child(move || {
                    let copy = copy;
                    let made: Vec<NonNull<u8>> = (0..4000)
                        .map(|number| {
                            let block = copy.alloc(layout(SIZES[number % 4], 8)).expect("memory");
                            mark(block, number % 4);
                            block
                        })
                        .collect();
                    for block in made.into_iter().chain([first]) {
                        // SAFETY: blocks that the child made, and one that its parent made before the fork.
                        unsafe { copy.dealloc(block, marked(block)) };
                    }
                    // SAFETY: the child does not use the handle again, and it ends without destructors.
                    drop(unsafe { ptr::read(copy.0) });
                    // The memory that went back to the shared list serves a new heap, and holds no state of the old
                    // one.
                    let again = SharedPrivateHeap::new();
                    let exchange = Mutex::new(Vec::new());
                    work_on(&again, 9, &exchange, 4000);
                });
            }
            is_over.store(true, Ordering::Relaxed);
            // After a join the thread-locals of the thread are gone too.
            busy.into_iter().for_each(|thread| thread.join().expect("a busy thread"));
        });
    }
}

/// The statistics list heaps by name, under the sum. The report, the JSON text and the metrics do the same.
fn heaps_are_listed_by_name() {
    let (one, other, nameless) = (PrivateHeap::named("ast \"1\""), PrivateHeap::named("ast \"1\""), PrivateHeap::new());
    one.make([1_u64; 4]);
    other.make([1_u64; 4]);
    nameless.alloc(layout(1000, 8)).expect("memory");
    let stats = consistent_stats();
    let named = |name: &str| {
        let found = stats.private.by_name().iter().find(|named| named.name.as_str() == name);
        found.expect("listed").figures
    };
    let figures = named("ast _1_");
    let found = [figures.heaps, figures.arenas, figures.pools, figures.live_blocks, figures.live_bytes];
    assert_eq!(found, [2, 2, 2, 2, 64]);
    assert_eq!((named("").large_blocks, named("").large_bytes), (1, 1000));
    assert!(stats.private.all.heaps >= 3 && stats.private.all.live_blocks >= 2);
    let (mut json, report) = (String::new(), stats.to_string());
    stats.write_json(&mut json).expect("room");
    assert!(report.lines().any(|line| line.starts_with("ast _1_ ") && line.contains(" 2 ")), "{report}");
    assert!(report.contains("\n(unnamed) "), "{report}");
    assert!(json.contains(r#"{"name":"ast _1_","figures":{"heaps":2,"arenas":2,"pools":2,"live_blocks":2,"#), "{json}");
    let mut metrics = String::new();
    stats.write_prometheus(&mut metrics).expect("room");
    assert!(metrics.contains("poolmalloc_private_live_bytes{name=\"ast _1_\"} 64\n"), "{metrics}");
    drop((one, other));
    let left = consistent_stats();
    assert!(left.private.by_name().iter().all(|named| named.name.as_str() != "ast _1_"));
}

/// The map of the heap shows a private heap's arenas, and `PrivateHeap::release_unused` gives back the arenas that it
/// does not need.
fn a_heap_is_in_the_map_and_can_be_released() {
    let heap = PrivateHeap::new();
    let of_256 = layout(256, 8);
    let blocks: Vec<NonNull<u8>> = (0..20_000).map(|_| heap.alloc(of_256).expect("memory")).collect();
    // SAFETY: a block of the heap.
    blocks.iter().for_each(|block| unsafe { block.write_bytes(1, 256) });
    let is_in = |arena: &ArenaMap| blocks[0].addr().get().wrapping_sub(arena.address) < 256 * 1024;
    let owner = arenas().find(is_in).expect("the arena of a block").heap;
    let held: usize = arenas().filter(|arena| arena.heap == owner).map(|arena| arena.held_bytes()).sum();
    assert!(held >= 20_000 * 256, "{held}");
    let mut map = String::new();
    heap_map(&mut map).expect("room");
    assert!(map.contains(" heap "), "{map}");
    for block in blocks.into_iter().skip(1) {
        // SAFETY: a block of the heap, unused.
        unsafe { heap.dealloc(block, of_256) };
    }
    let released = heap.release_unused();
    assert_eq!(heap.stats().arenas, 1, "{released}");
    consistent_stats();
    drop(heap);
    release_unused();
    consistent_stats();
}

// The functions that run in children.

/// Makes a hundred blocks in a heap, and forgets the heap. Returns the address of the first block, with all bits
/// inverted.
#[inline(never)]
fn plant() -> usize {
    let heap = PrivateHeap::new();
    let first: *mut [u64; 9] = heap.make([0; 9]);
    (0..99).for_each(|_| _ = heap.make([0_u64; 9]));
    mem::forget(heap);
    !first.addr()
}

fn leak_child() {
    let held = PrivateHeap::new();
    let values: Vec<&mut [u64; 11]> = (0..50).map(|_| held.make([0; 11])).collect();
    let hidden = std::hint::black_box(plant());
    let report = match leaks::find() {
        Ok(report) => report,
        Err(leaks::LeakError::Unsupported) => return say("unsupported"),
        Err(error) => panic!("{error}"),
    };
    let leaked = |bytes| report.blocks.iter().filter(|block| block.bytes == bytes).count();
    // A dead frame of the stack may still hold a pointer to each of the last few blocks.
    assert!((90..=100).contains(&leaked(72)), "{report:#}");
    assert_eq!(leaked(88), 0, "{report:#}");
    assert!(report.live.blocks >= 150, "{report:#}");
    drop(values);
    let _ = hidden;
    say("found");
}

/// Blocks of a forgotten heap are leaks. Blocks of a live heap to which pointers lead are none.
fn a_forgotten_heap_is_a_leak() {
    let told = succeed(&mut command!("leak"));
    assert!(["found", "unsupported"].contains(&told.as_str()), "{told}");
}

/// Runs without a region, or with a small one that is used up. The backend then serves the heap. All blocks go back
/// when the heap is dropped.
fn limited_child() {
    let heap = PrivateHeap::named("limited");
    let mut blocks = 0_u64;
    while blocks < 400_000 {
        let Some(block) = heap.alloc(layout(200, 8)) else { break };
        // SAFETY: a fresh block of 200 bytes.
        unsafe { block.write_bytes(7, 200) };
        blocks += 1;
    }
    let report = heap.stats();
    assert_report_adds_up(&report);
    assert_eq!(report.small.live_blocks + report.large.live_blocks, blocks);
    assert!(report.large.live_blocks > 0, "the region was not used up by {blocks} blocks");
    let of_heap = report.large.live_bytes;
    let before = stats().large.live_bytes;
    drop(heap);
    let after = stats();
    assert_eq!(after.large.live_bytes, before - of_heap);
    assert_eq!(after.private.all.heaps, 0);
    // Large blocks are freed with their heap: all of these together would exceed the limit.
    for _ in 0..100 {
        let heap = PrivateHeap::new();
        (0..50).for_each(|_| _ = heap.alloc(layout(100_000, 64)).expect("memory"));
    }
    if let Err(violation) = check_heap() {
        panic!("{violation}");
    }
}

/// Runs in one of the modes of `POOLMALLOC`: the heap works as usual, without pools.
fn mode_child() {
    assert!(PrivateHeap::try_new("none").is_none());
    let heap = SharedPrivateHeap::named("mode");
    let before = stats().large;
    for (kind, size) in SIZES.into_iter().enumerate() {
        let block = heap.alloc(layout(size, 8)).expect("memory");
        mark(block, kind);
        // SAFETY: a block of the heap.
        let larger = unsafe { heap.realloc(block, marked(block), layout(2000, 8)) }.expect("memory");
        if kind % 2 == 0 {
            // SAFETY: a block of the heap, with that layout.
            unsafe { heap.dealloc(larger, layout(2000, 8)) };
        }
    }
    assert_eq!((heap.stats().large.live_blocks, heap.stats().small.allocations), (2, 0));
    assert_eq!(stats().large.live_blocks, before.live_blocks + 2);
    if let Err(error) = leaks::find() {
        assert_eq!(error, leaks::LeakError::Unsupported);
    }
    drop(heap);
    let after = stats().large;
    assert_eq!((after.live_blocks, after.live_bytes), (before.live_blocks, before.live_bytes));
    check_heap().expect("a valid heap");
}

fn the_modes_serve_heaps_too() {
    for mode in ["malloc", "debug", "debug,malloc", "malloc,leaks", "leaks,debug"] {
        succeed(command!("mode").env("POOLMALLOC", mode));
    }
}

/// Runs a child with an address space of `megabytes` MiB.
fn succeed_within(role: &str, megabytes: u64) {
    let limit = move || {
        let limit = libc::rlimit { rlim_cur: megabytes << 20, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: `limit` is readable.
        let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let mut limited = command!(role);
    // SAFETY: `setrlimit` is all that the child calls before the program starts.
    unsafe { limited.pre_exec(limit) };
    succeed(&mut limited);
}

fn without_pools_the_backend_serves() {
    [40, 200].into_iter().for_each(|megabytes| succeed_within("limited", megabytes));
}

/// Makes private heaps until there is no room for more. A new thread still gets a heap of its own.
fn crowded_child() {
    let heaps: Vec<_> = std::iter::from_fn(|| PrivateHeap::try_new("crowd")).take(100_000).collect();
    assert!((100..100_000).contains(&heaps.len()), "{} heaps", heaps.len());
    let frees = thread::spawn(|| {
        let boxes: Vec<_> = (0..1000_u64).map(|number| Box::new([number; 4])).collect();
        drop(std::hint::black_box(boxes));
        poolmalloc::thread_stats().small.frees
    });
    let frees = frees.join().expect("a thread");
    assert!(frees >= 1000, "{frees} frees: the thread has no heap");
    drop(heaps);
    check_heap().expect("a valid heap");
}

fn private_heaps_leave_places_to_threads() {
    succeed_within("crowded", 3000);
}

/// Errors of a program: a name, the function that a child runs to make the error, and the line that the child ends
/// with.
static DEEDS: [(&str, fn(), &str); 8] = [
    ("by_the_process", by_the_process, "free of the block of 48 bytes at {} through a heap that it is not of"),
    ("by_another_thread", by_another_thread, "free of the block of 48 bytes at {} through a heap that it is not of"),
    ("by_another_heap", by_another_heap, "free of the block of 48 bytes at {} through a heap that it is not of"),
    ("of_the_process", of_the_process, "free of the block of 48 bytes at {} through a heap that it is not of"),
    (
        "large_by_another_heap",
        large_by_another_heap,
        "free of the block of 700 bytes at {} through a heap that it is not of",
    ),
    ("twice", twice, "double free of the block of 48 bytes at {}"),
    ("after_reset", after_reset, "free of {}, in a pool without blocks: double, or of a wild pointer"),
    ("interior", interior, "free of {}, where no block of 48 bytes begins"),
];

/// Prints the address that the library's report must name.
fn accuse(block: NonNull<u8>) -> NonNull<u8> {
    say(&format!("{:#x}", block.addr()));
    block
}

fn take(heap: &PrivateHeap) -> NonNull<u8> {
    heap.alloc(layout(48, 8)).expect("memory")
}

fn by_the_process() {
    let heap = PrivateHeap::new();
    // SAFETY: none: this free is wrong on purpose, and the library promises how it ends. The same is true of each deed
    // below.
    unsafe { ALLOC.dealloc(accuse(take(&heap)).as_ptr(), layout(48, 8)) };
}

fn by_another_thread() {
    let heap = PrivateHeap::new();
    let block = Sent(accuse(take(&heap)));
    let free = move || {
        let block = block;
        // SAFETY: see `by_the_process`.
        unsafe { ALLOC.dealloc(block.0.as_ptr(), layout(48, 8)) };
    };
    let _ = thread::spawn(free).join();
}

fn by_another_heap() {
    let (heap, other) = (PrivateHeap::new(), PrivateHeap::new());
    take(&other);
    // SAFETY: see `by_the_process`.
    unsafe { other.dealloc(accuse(take(&heap)), layout(48, 8)) };
}

fn of_the_process() {
    let heap = PrivateHeap::new();
    let block = NonNull::from(Box::leak(Box::new([0_u64; 6])));
    // SAFETY: see `by_the_process`.
    unsafe { heap.dealloc(accuse(block.cast()), layout(48, 8)) };
}

fn large_by_another_heap() {
    let (heap, other) = (PrivateHeap::new(), PrivateHeap::new());
    let block = heap.alloc(layout(700, 8)).expect("memory");
    // SAFETY: see `by_the_process`.
    unsafe { other.dealloc(accuse(block), layout(700, 8)) };
}

fn twice() {
    let heap = PrivateHeap::new();
    let block = accuse(take(&heap));
    for _ in 0..2 {
        // SAFETY: see `by_the_process`.
        unsafe { heap.dealloc(block, layout(48, 8)) };
    }
}

fn after_reset() {
    let mut heap = PrivateHeap::new();
    let block = accuse(take(&heap));
    heap.reset();
    // SAFETY: see `by_the_process`.
    unsafe { heap.dealloc(block, layout(48, 8)) };
}

fn interior() {
    let heap = PrivateHeap::new();
    // SAFETY: within the block.
    let block = accuse(unsafe { take(&heap).add(8) });
    for number in 0..2000 {
        let freed = if number == 0 { block } else { take(&heap) };
        // SAFETY: see `by_the_process`.
        unsafe { heap.dealloc(freed, layout(48, 8)) };
    }
    let many: Vec<NonNull<u8>> = (0..5000).map(|_| take(&heap)).collect();
    // SAFETY: see `by_the_process`.
    many.into_iter().for_each(|block| unsafe { heap.dealloc(block, layout(48, 8)) });
}

fn misuse_is_told() {
    for (name, _, line) in &DEEDS {
        let output = command!(name).output().expect("starting the child");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{name}: {}", told(&output));
        let address = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = format!("poolmalloc: {}; aborting\n", line.replace("{}", &address));
        assert_eq!(String::from_utf8_lossy(&output.stderr), line, "{name}");
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = tests![
        random_programs_end_all_at_once,
        arenas_go_back_at_once,
        heaps_are_used_again,
        a_heap_changes_threads,
        many_threads_share_a_heap,
        frees_beside_the_lock,
    ];
    #[cfg(feature = "allocator-api2")]
    tests.extend(tests![collections_live_in_a_heap]);
    tests.extend(tests![
        a_child_has_its_parents_heap,
        forks_in_the_middle,
        heaps_are_listed_by_name,
        a_heap_is_in_the_map_and_can_be_released,
        a_forgotten_heap_is_a_leak,
        without_pools_the_backend_serves,
        private_heaps_leave_places_to_threads,
        misuse_is_told,
    ]);
    tests = tests.into_iter().map(|test| test.not_in_debug("a private heap has no pools then")).collect();
    tests.extend(tests![the_modes_serve_heaps_too]);
    tests
}

pub(crate) fn child(role: &str) {
    match role {
        "leak" => leak_child(),
        "limited" => limited_child(),
        "crowded" => crowded_child(),
        "mode" => mode_child(),
        name => DEEDS.iter().find(|deed| deed.0 == name).expect("a deed").1(),
    }
}
