//! Other machines: with pages of 16 and 64 KiB, and with so little memory that the region is soon used up.
//!
//! Each machine is a child that sees another kernel than there is. Larger pages refuse what does not begin at one. A
//! region of a few arenas has to serve several threads: what does not fit goes to the backend, and once blocks are freed,
//! by whichever thread, the whole region serves again. Heaps and magazines are few as well then, and threads many.
//!
//! To see it fail: take pages of 4 KiB for granted; open arenas, heaps or magazines beyond the end of their table; free a
//! backend's block to a pool; never look at what parked heaps hold; lose what other threads free when the region is used up.
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

/// The kind of machine and its figure, from a child's role.
fn machine(role: &str) -> (&str, usize) {
    let (kind, bytes) = role.split_once(' ').expect("two words");
    (kind, bytes.parse().expect("a number of bytes"))
}

/// Before the first request, which decides what the region is like.
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

/// Everything that depends on where tables, heaps, magazines and arenas begin and end.
fn work_with_page(bytes: usize) {
    let start = stats().region;
    assert!(start.reserved_bytes > 0, "no region with pages of {bytes} bytes");
    matrix::every_small_size_and_alignment();
    matrix::size_matrix();
    matrix::align_matrix();
    assert_nothing_left(|| {
        in_rounds(16, scaled(20, 4), 2000);
        // More arenas than are opened at first.
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

/// Gives memory back while blocks live here and there between it: they stay as they are.
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

/// So many threads at a time make blocks of random sizes and free those of the next one, while all go on.
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
        // The end of the scope would not wait for their last frees.
        threads.into_iter().for_each(|thread| thread.join().expect("one of the threads"));
    });
}

/// A thread with a small stack, for there are many.
fn spawn_small<'scope, R: Send + 'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    work: impl FnOnce() -> R + Send + 'scope,
) -> thread::ScopedJoinHandle<'scope, R> {
    thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, work).expect("starting a thread")
}

/// A region that is used up again and again.
fn work_in_region(bytes: usize) {
    assert_eq!(stats().region.reserved_bytes, bytes as u64);
    assert_nothing_left(|| {
        for size in [64, 256] {
            use_up(bytes, size);
        }
        last_pools(bytes);
        in_rounds(8, scaled(40, 4), bytes / 128 / 8);
        // Their heaps have ended with the region in their hands.
        use_up(bytes, 64);
        frees_by_others(bytes);
        more_threads_than_heaps();
        use_up(bytes, 64);
    });
    assert_eq!(consistent_stats().region.open_bytes, bytes as u64);
}

/// Fills the region with blocks of one size, and goes on: most of it must serve, and the backend the rest.
/// What magazines of other sizes still hold keeps some pools.
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

/// When nothing else is left, a few freed pools are worth a search for another size's sake: the first time because the
/// heap has grown since the last search, later as the last resort.
fn last_pools(bytes: usize) {
    const BLOCKS: usize = 50;
    let mut chain = Chain::new(256);
    let mut others = [72, 80, 96].map(Chain::new);
    for other in &mut others {
        let before = stats().small.live_blocks;
        assert!(!chain.grow(bytes / 128));
        let from_pools = stats().small.live_blocks - before;
        // Seven blocks for four pools: too few to look for free pools before more memory is asked for.
        chain.free_to(chain.count() - bytes / 128 + from_pools as usize - bytes / 4096 * 7 / 4);
        let before = consistent_stats();
        assert!(!other.grow(BLOCKS));
        let served = consistent_stats().small.allocations - before.small.allocations;
        assert_eq!(served, BLOCKS as u64, "{before}");
    }
    chain.free();
    others.iter_mut().for_each(Chain::free);
}

/// One thread has used the region up; what another frees serves it again.
fn frees_by_others(bytes: usize) {
    const SIZE: usize = 256;
    let new = |seed| Block::new(layout(SIZE, 8), seed);
    let mut blocks: Vec<Block> = (0..bytes / SIZE * 2).map(new).collect();
    // The backend's blocks came last.
    let freed: Vec<Block> = blocks.drain(..bytes / SIZE / 2).collect();
    let count = freed.len();
    thread::spawn(move || freed.into_iter().for_each(Block::free)).join().expect("a thread that frees");
    let before = consistent_stats();
    blocks.extend((0..count).map(new));
    let again = consistent_stats().small.allocations - before.small.allocations;
    assert!(again as usize * 10 > count * 9, "{again} of {count} blocks that another thread had freed");
    blocks.into_iter().for_each(Block::free);
}

/// There is room for 64 heaps in the smallest regions, and for few magazines: other threads share a heap, and heaps
/// do without magazines.
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
