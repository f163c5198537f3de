//! Simulated machines: with pages of 16 and 64 KiB, and with so little memory that the region is soon used up.
//!
//! Each machine is a child that sees a simulated kernel. A kernel with larger pages refuses a range that does not begin
//! at a page. A region of a few arenas has to serve several threads. Blocks that do not fit come from the backend. Once
//! blocks are freed, by any thread, the whole region serves again. Such a machine also has few heaps and magazines, and
//! the tests run many threads.
//!
//! To see it fail: take pages of 4 KiB for granted; open arenas, heaps or magazines beyond the end of their table; free
//! a block of the backend to a pool; never look at the blocks of parked heaps; lose remote frees when the region is
//! used up.
//!
//! `cargo test --test system machines::`

use std::ptr::{self, NonNull};
use std::sync::{Barrier, Mutex};
use std::thread;

use poolmalloc::{release_unused, stats};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::simulated::{self};
use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::chain::Chain;
use poolmalloc_support::oracle::{CLASSES, assert_nothing_left, block_bytes, consistent_stats, heaps};
use poolmalloc_support::process::{role_before_main, say, succeed};
use poolmalloc_support::{Test, command, matrix, scaled, words};

/// Returns the kind of machine and its number of bytes, from a child's role.
fn machine(role: &str) -> (&str, usize) {
    let (kind, bytes) = role.split_once(' ').expect("two words");
    (kind, bytes.parse().expect("a number of bytes"))
}

/// Constructor that sets the machine up before the first request, which decides about the region.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn set_up() {
        match role_before_main(module_path!()).map(machine) {
            Some(("page", bytes)) => simulated::set_page(bytes),
            Some((_, bytes)) => simulated::set_memory(bytes),
            None => {}
        }
    }
    set_up
};

/// Tests all that depends on where tables, heaps, magazines and arenas begin and end, with pages of `bytes` bytes.
fn work_with_page(bytes: usize) {
    let start = stats().region;
    assert!(start.reserved_bytes > 0, "no region with pages of {bytes} bytes");
    matrix::every_small_size_and_alignment();
    matrix::size_matrix();
    matrix::align_matrix();
    assert_nothing_left(|| {
        in_rounds(16, scaled(20, 4), 2000);
        // More arenas than the first steps open.
        let mut chain = Chain::new(256);
        assert!(!chain.grow(20_000));
        consistent_stats();
        chain.free();
        release_between_blocks();
    });
    let stats = consistent_stats();
    assert!(stats.region.open_bytes > start.open_bytes, "{:?}, then {:?}", start, stats.region);
    assert_eq!(simulated::misplaced(), 0, "calls between pages of {bytes} bytes");
    assert!(simulated::made(None) > 0, "no call of the library was seen");
}

/// Releases memory between live blocks. The live blocks stay as they are.
fn release_between_blocks() {
    const ISLANDS: usize = 40;
    let mut chains = [(); 2].map(|()| Chain::new(256));
    let [kept, dropped] = &mut chains;
    for _ in 0..ISLANDS {
        assert!(!kept.grow(1) && !dropped.grow(499));
    }
    dropped.free();
    let released = simulated::inside(release_unused);
    assert!(released.pool_bytes > 0, "{released}");
    consistent_stats();
    assert!(!dropped.grow(ISLANDS * 499));
    chains.iter_mut().for_each(Chain::free);
}

/// Runs threads at the same time. In each round, each thread allocates blocks of random sizes, and then frees the
/// blocks of the next thread.
fn in_rounds(threads: usize, rounds: usize, blocks: usize) {
    let barrier = Barrier::new(threads);
    let shelves: Vec<Mutex<Vec<usize>>> = (0..threads).map(|_| Mutex::new(Vec::with_capacity(blocks))).collect();
    thread::scope(|scope| {
        let spawn = |index: usize| {
            let (barrier, shelves) = (&barrier, &shelves);
            let work = move || {
                let mut random = SmallRng::seed_from_u64(index as u64);
                for _ in 0..rounds {
                    let made = (0..blocks).map(|_| words::make(words::some_words(&mut random)));
                    let made = made.map(|block| block.as_ptr().expose_provenance());
                    shelves[index].lock().expect("no panic elsewhere").extend(made);
                    barrier.wait();
                    let next = &shelves[(index + 1) % threads];
                    for address in next.lock().expect("no panic elsewhere").drain(..) {
                        words::free(NonNull::new(ptr::with_exposed_provenance_mut(address)).expect("a block"));
                    }
                    barrier.wait();
                }
            };
            spawn_small(scope, work)
        };
        let threads: Vec<_> = (0..threads).map(spawn).collect();
        // The end of the scope would not wait for the last frees of the threads.
        threads.into_iter().for_each(|thread| thread.join().expect("one of the threads"));
    });
}

/// Starts a thread with a small stack, since there are many threads.
fn spawn_small<'scope, R: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> R + Send + 'scope,
) -> thread::ScopedJoinHandle<'scope, R> {
    thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, work).expect("starting a thread")
}

/// Works in a region that is used up again and again.
fn work_in_region(bytes: usize) {
    assert_eq!(stats().region.reserved_bytes, bytes as u64);
    assert_nothing_left(|| {
        for size in [64, 256] {
            use_up(bytes, size);
        }
        last_pools(bytes);
        in_rounds(8, scaled(40, 4), bytes / 128 / 8);
        // The threads have ended. Their parked heaps own arenas of the region.
        use_up(bytes, 64);
        frees_by_others(bytes);
        more_threads_than_heaps();
        use_up(bytes, 64);
    });
    assert_eq!(consistent_stats().region.open_bytes, bytes as u64);
}

/// Requests twice as many blocks of one size as the region has room for. Pools must serve at least three quarters of
/// one region, and the backend the rest. Some pools are not free: magazines still hold their blocks of other sizes.
fn use_up(bytes: usize, size: usize) {
    let before = stats();
    let most = bytes / size;
    let mut chain = Chain::new(size);
    assert!(!chain.grow(2 * most), "null though the backend has memory");
    let during = consistent_stats();
    let from_pools = during.small.live_blocks - before.small.live_blocks;
    let from_backend = during.large.live_blocks - before.large.live_blocks;
    assert!(from_pools as usize * 4 > most * 3, "{from_pools} of {most} blocks of {size} bytes: {during}");
    assert_eq!(from_pools + from_backend, 2 * most as u64);
    chain.free();
    let after = consistent_stats();
    assert_eq!(after.small.live_blocks, before.small.live_blocks);
    assert_eq!(after.large.live_blocks, before.large.live_blocks);
}

/// A few freed pools serve another size when nothing else is left. The heap searches for them: the first time because
/// it has grown since its last search, later as a last resort.
fn last_pools(bytes: usize) {
    const BLOCKS: usize = 50;
    let mut chain = Chain::new(256);
    let mut others = [72, 80, 96].map(Chain::new);
    for other in &mut others {
        let before = stats().small.live_blocks;
        assert!(!chain.grow(bytes / 128));
        let from_pools = stats().small.live_blocks - before;
        // Frees the blocks of the backend, and seven blocks for every four pools. These are too few for a search before
        // the heap asks for more memory.
        chain.free_to(chain.count() - bytes / 128 + from_pools as usize - bytes / 4096 * 7 / 4);
        let before = consistent_stats();
        assert!(!other.grow(BLOCKS));
        let served = consistent_stats().small.allocations - before.small.allocations;
        assert_eq!(served, BLOCKS as u64, "{before}");
    }
    chain.free();
    others.iter_mut().for_each(Chain::free);
}

/// One thread uses the region up. Blocks that another thread frees serve the first one again.
fn frees_by_others(bytes: usize) {
    const SIZE: usize = 256;
    let new = |seed| Block::new(layout(SIZE, 8), seed);
    let mut blocks: Vec<Block> = (0..bytes / SIZE * 2).map(new).collect();
    // The backend's blocks came last, so these are blocks of pools.
    let freed: Vec<Block> = blocks.drain(..bytes / SIZE / 2).collect();
    let count = freed.len();
    thread::spawn(move || freed.into_iter().for_each(Block::free)).join().expect("a thread that frees");
    let before = consistent_stats();
    blocks.extend((0..count).map(new));
    let again = consistent_stats().small.allocations - before.small.allocations;
    assert!(again as usize * 10 > count * 9, "{again} of {count} blocks that another thread had freed");
    blocks.into_iter().for_each(Block::free);
}

/// Runs more threads than there are heaps in the smallest regions. There is room for 64 heaps and for few magazines.
/// The other threads share a heap, and some heaps do without magazines.
fn more_threads_than_heaps() {
    const THREADS: usize = 100;
    let barrier = Barrier::new(THREADS);
    let most = thread::scope(|scope| {
        let work = || {
            let blocks: [Block; CLASSES] =
                std::array::from_fn(|class| Block::new(layout(block_bytes(class), 8), class));
            barrier.wait();
            let most = heaps(&stats());
            barrier.wait();
            blocks.into_iter().for_each(Block::free);
            most
        };
        let threads: Vec<_> = (0..THREADS).map(|_| spawn_small(scope, work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("one of many threads")).max()
    });
    assert!(most < Some(THREADS as u64), "{most:?} heaps: there was room for all, and this tests nothing");
    in_rounds(THREADS, scaled(10, 4), 200);
}

pub(crate) fn child(role: &str) {
    match machine(role) {
        ("page", bytes) => work_with_page(bytes),
        (_, bytes) => work_in_region(bytes),
    }
    say("done\n");
}

fn assert_works(role: &str) {
    assert_eq!(succeed(&mut command!(role)), "done\n");
}

pub(crate) fn tests() -> Vec<Test> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return vec![];
    }
    let kept = "a region as small as what the quarantine keeps of it";
    vec![
        Test::new("pages_of_16_kib", || assert_works("page 16384")),
        Test::new("pages_of_64_kib", || assert_works("page 65536")),
        Test::new("region_of_1_mib", || assert_works("memory 1048576")).not_in_debug(kept),
        Test::new("region_of_8_mib", || assert_works("memory 8388608")).not_in_debug(kept),
    ]
}
