//! Blocks pass between threads, and threads come and go: no content is damaged, no block is lost, and memory does not
//! grow.
//!
//! The threads synchronize only by atomics of these tests. So a race detector sees no order that other code makes by
//! chance.
//!
//! To see it fail: do not collect before a fresh pool is taken; do not park a heap, or never take a parked one over;
//! open a new arena although there are free ones; lose the last word of combined frees at thread exit; set the wrong
//! bit of the remote map.
//!
//! `cargo test --test threads traffic::`, and with `--release` for the full counts

use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use std::thread;

use poolmalloc::stats;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{assert_nothing_left, class_of, consistent_stats, heaps, held_arenas, mode};
use poolmalloc_support::ring::Ring;
use poolmalloc_support::{Test, scaled, tests, words};

/// Starts a thread for every index below `count`, and waits until all threads have ended. `body` is `Copy` because an
/// `Arc` would need fences, which race detectors do not understand.
fn on_threads(count: usize, body: impl Fn(usize) + Send + Copy + 'static) {
    let threads: Vec<_> = (0..count).map(|index| thread::spawn(move || body(index))).collect();
    for thread in threads {
        thread.join().expect("a thread of the test");
    }
}

/// A thread leaves 10,000 blocks behind and ends. The main thread and a new thread find the blocks whole and free them.
/// The thread of the next round gets the same memory again.
fn thread_exit_live_blocks() {
    const ROUNDS: usize = 30;
    const BLOCKS: usize = 10_000;
    /// 10,000 blocks of 1 to 256 bytes are 1.3 MB, or 5 arenas. The rest is for magazines and partly used pools.
    const ARENAS_PER_HEAP: u64 = 8;

    assert_nothing_left(|| {
        let before = consistent_stats();
        for round in 0..ROUNDS {
            let mut ours = thread::spawn(move || {
                (0..BLOCKS).map(|i| Block::new(layout(1 + (i * 7 + round) % 256, 1), i)).collect::<Vec<_>>()
            })
            .join()
            .expect("the thread that allocates");
            consistent_stats();
            let theirs = ours.split_off(BLOCKS / 2);
            ours.into_iter().for_each(Block::free);
            thread::spawn(move || theirs.into_iter().for_each(Block::free)).join().expect("the thread that frees");
        }
        let after = consistent_stats();
        // Two threads run at a time, the main thread included. Each heap may keep the memory of one round.
        assert!(heaps(&after) <= heaps(&before) + 1, "{:?}, then {:?}", before.heaps, after.heaps);
        assert_eq!(after.heaps.in_use, before.heaps.in_use);
        let most = ARENAS_PER_HEAP * heaps(&after);
        assert!(after.arenas.open <= before.arenas.open + most, "{:?}, then {:?}", before.arenas, after.arenas);
    });
}

/// 10,000 threads that allocate 1000 bytes each, eight at a time, need the heaps and arenas of eight threads. Every
/// second thread leaves its blocks to the main thread.
fn thread_churn() {
    const THREADS: usize = 10_000;
    const AT_A_TIME: usize = 8;
    const SIZES: [usize; 10] = [8, 24, 40, 56, 72, 100, 120, 140, 200, 240];

    assert_eq!(SIZES.iter().sum::<usize>(), 1000);
    assert_nothing_left(|| {
        let before = consistent_stats();
        for batch in 0..THREADS / AT_A_TIME {
            let threads: [_; AT_A_TIME] = std::array::from_fn(|index| {
                thread::spawn(move || {
                    let blocks = SIZES.map(|size| Block::new(layout(size, 1), batch + index));
                    if index % 2 == 0 {
                        return Some(blocks);
                    }
                    blocks.into_iter().for_each(Block::free);
                    None
                })
            });
            for thread in threads {
                let left = thread.join().expect("a short thread");
                left.into_iter().flatten().for_each(Block::free);
            }
        }
        let after = consistent_stats();
        assert_eq!(after.heaps.in_use, before.heaps.in_use);
        let most = heaps(&before) + AT_A_TIME as u64;
        assert!(heaps(&after) <= most, "{:?}, then {:?}", before.heaps, after.heaps);
        let most = before.arenas.open + 2 * heaps(&after) + quarantine_arenas();
        assert!(after.arenas.open <= most, "{:?}, then {:?}", before.arenas, after.arenas);
    });
}

/// Maximum number of arenas that the freed blocks of the debug mode keep: 8 MiB.
fn quarantine_arenas() -> u64 {
    if mode::is_debug() { 32 } else { 0 }
}

/// A phase: its name, and a function from the number of a block to its words.
type Phase = (&'static str, fn(usize) -> usize);

/// The blocks that pass between threads: of one class, or of each of the 32.
const PHASES: [Phase; 2] =
    [("48 bytes", |_| 6), ("8 to 256 bytes", |number| 1 + number.wrapping_mul(0x9E37_79B9) % 32)];

/// Number of blocks that pools serve, among the first `blocks` blocks of a phase. Without the debug mode it is all of
/// them.
fn small_blocks(blocks: usize, words_of: impl Fn(usize) -> usize) -> u64 {
    (0..blocks).filter(|number| class_of(layout(8 * words_of(*number), 8)).is_some()).count() as u64
}

/// One thread allocates 10^7 blocks and another frees them. At most a thousand blocks are on the way at a time, and
/// memory does not grow beyond that.
fn producer_consumer() {
    const BLOCKS: usize = scaled(10_000_000, 10);
    /// The queue holds 48 KB or 132 KB of blocks. The thread's magazines and depots hold at most 40 KiB a class, or 1.3
    /// MB. All blocks together are 480 MB in the first phase and 1.3 GB in the second, and a tenth of that in a debug
    /// build.
    const ARENAS: u64 = 12;
    static QUEUE: Ring = Ring::empty();
    static PEAK: AtomicU64 = AtomicU64::new(0);

    for (phase, words_of) in PHASES {
        assert_nothing_left(|| {
            let before = consistent_stats();
            PEAK.store(0, Ordering::Relaxed);
            on_threads(2, move |index| {
                for number in 0..BLOCKS {
                    if index == 0 {
                        let block = words::make(words_of(number));
                        while !QUEUE.try_send(number, block) {
                            thread::yield_now();
                        }
                    } else {
                        let block = loop {
                            match QUEUE.try_take(number) {
                                Some(block) => break block,
                                None => thread::yield_now(),
                            }
                        };
                        words::free(block);
                    }
                    if number % (BLOCKS / 100) == 0 {
                        PEAK.fetch_max(held_arenas(&stats()), Ordering::Relaxed);
                    }
                }
            });
            let (peak, held) = (PEAK.load(Ordering::Relaxed), held_arenas(&before));
            assert!(peak <= held + ARENAS + quarantine_arenas(), "{phase}: {peak} arenas held, {held} before");
            let after = consistent_stats();
            assert!(after.small.remote_frees - before.small.remote_frees >= small_blocks(BLOCKS, words_of), "{phase}");
        });
    }
}

/// Each of four threads frees the blocks that the one before it allocates.
fn ring_of_frees() {
    const THREADS: usize = 4;
    const BLOCKS_EACH: usize = scaled(2_500_000, 10);
    /// The bound of [`producer_consumer`] for each thread, since each is a producer.
    const ARENAS: u64 = 12 * THREADS as u64;
    static QUEUES: [Ring; THREADS] = [const { Ring::empty() }; THREADS];
    static PEAK: AtomicU64 = AtomicU64::new(0);

    for (phase, words_of) in PHASES {
        assert_nothing_left(|| {
            let before = consistent_stats();
            PEAK.store(0, Ordering::Relaxed);
            on_threads(THREADS, move |index| {
                let (to, from) = (&QUEUES[index], &QUEUES[(index + THREADS - 1) % THREADS]);
                let mut taken = 0;
                // Frees one block of the neighbor's, if there is one. Both waits below do this again and again, so the
                // threads cannot all wait for each other.
                let mut take_one = || match from.try_take(taken) {
                    Some(block) => {
                        words::free(block);
                        taken += 1;
                        taken
                    }
                    None => {
                        thread::yield_now();
                        taken
                    }
                };
                for number in 0..BLOCKS_EACH {
                    let block = words::make(words_of(number + index));
                    while !to.try_send(number, block) {
                        take_one();
                    }
                    if number % (BLOCKS_EACH / 100) == 0 {
                        PEAK.fetch_max(held_arenas(&stats()), Ordering::Relaxed);
                    }
                }
                while take_one() < BLOCKS_EACH {}
            });
            let (peak, held) = (PEAK.load(Ordering::Relaxed), held_arenas(&before));
            assert!(peak <= held + ARENAS + quarantine_arenas(), "{phase}: {peak} arenas held, {held} before");
            let after = consistent_stats();
            let remote_frees = after.small.remote_frees - before.small.remote_frees;
            // A thread also allocates blocks of other heaps that it has freed before. So a few blocks go round to their
            // owner, and its frees of them are not remote.
            let small: u64 =
                (0..THREADS).map(|index| small_blocks(BLOCKS_EACH, |number| words_of(number + index))).sum();
            assert!(remote_frees * 2 >= small, "{phase}: {remote_frees}");
            assert!(after.small.frees - before.small.frees >= small, "{phase}");
        });
    }
}

/// Eight threads allocate, free, and in one step of four exchange a block through shared slots. They end and are
/// replaced in every round. The main thread frees the blocks of half of the slots after each round; the others stay for
/// later rounds.
fn stress_transfer() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 20;
    const STEPS: usize = scaled(40_000, 20);
    const SLOTS: usize = 1000;
    static SLOT: [AtomicPtr<u64>; SLOTS] = [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS];

    fn free_some(blocks: &mut Vec<NonNull<u64>>, random: &mut SmallRng) {
        if !blocks.is_empty() {
            words::free(blocks.swap_remove(random.random_range(0..blocks.len())));
        }
    }

    /// Swaps one of our blocks for the content of a slot: a block of any thread, or nothing.
    fn exchange_some(blocks: &mut Vec<NonNull<u64>>, random: &mut SmallRng) {
        if !blocks.is_empty() {
            let ours = blocks.swap_remove(random.random_range(0..blocks.len()));
            let slot = &SLOT[random.random_range(0..SLOTS)];
            blocks.extend(NonNull::new(slot.swap(ours.as_ptr(), Ordering::AcqRel)));
        }
    }

    assert_nothing_left(|| {
        let before = consistent_stats();
        for round in 0..ROUNDS {
            on_threads(THREADS, move |index| {
                let mut random = SmallRng::seed_from_u64((round * THREADS + index) as u64);
                let (mut kept, mut blocks) = (Vec::new(), Vec::new());
                for _ in 0..STEPS {
                    let block = words::make(words::some_words(&mut random));
                    if random.random() { &mut kept } else { &mut blocks }.push(block);
                    if random.random_ratio(2, 3) {
                        free_some(&mut blocks, &mut random);
                    }
                    if random.random_ratio(1, 4) {
                        exchange_some(&mut blocks, &mut random);
                    }
                }
                kept.into_iter().chain(blocks).for_each(words::free);
            });
            for slot in SLOT.iter().skip(round % 2).step_by(2) {
                NonNull::new(slot.swap(ptr::null_mut(), Ordering::AcqRel)).into_iter().for_each(words::free);
            }
            consistent_stats();
        }
        for slot in &SLOT {
            NonNull::new(slot.swap(ptr::null_mut(), Ordering::AcqRel)).into_iter().for_each(words::free);
        }
        let after = consistent_stats();
        assert_eq!(after.heaps.in_use, before.heaps.in_use);
        assert!(heaps(&after) <= heaps(&before) + THREADS as u64, "{:?}, then {:?}", before.heaps, after.heaps);
    });
}

/// The owner ends while another thread frees its blocks, and a new thread takes its heap over: at this moment a free
/// could be lost.
fn owner_exits_while_others_free() {
    const ROUNDS: usize = scaled(4000, 10);
    const BLOCKS: usize = 600;
    static QUEUE: Ring = Ring::empty();
    static IS_LAST: AtomicBool = AtomicBool::new(false);

    assert_nothing_left(|| {
        let before = consistent_stats();
        let consumer = thread::spawn(|| {
            let mut taken = 0;
            loop {
                // The flag is read before the queue. If the queue is empty after the last block was sent, all blocks
                // were taken.
                let is_last = IS_LAST.load(Ordering::Acquire);
                match QUEUE.try_take(taken) {
                    Some(block) => {
                        words::free(block);
                        taken += 1;
                    }
                    None if is_last => break,
                    None => thread::yield_now(),
                }
            }
            assert_eq!(taken, ROUNDS * BLOCKS);
        });
        for round in 0..ROUNDS {
            let owner = thread::spawn(move || {
                for number in round * BLOCKS..(round + 1) * BLOCKS {
                    let block = words::make(1 + number % 32);
                    while !QUEUE.try_send(number, block) {
                        thread::yield_now();
                    }
                }
            });
            owner.join().expect("an owner");
        }
        IS_LAST.store(true, Ordering::Release);
        consumer.join().expect("the consumer");
        let after = consistent_stats();
        assert!(heaps(&after) <= heaps(&before) + 2, "{:?}, then {:?}", before.heaps, after.heaps);
        let most = held_arenas(&before) + 24;
        assert!(held_arenas(&after) <= most, "{:?}, then {:?}", before.arenas, after.arenas);
    });
}

pub(crate) fn tests() -> Vec<Test> {
    tests![
        thread_exit_live_blocks,
        thread_churn,
        producer_consumer,
        ring_of_frees,
        owner_exits_while_others_free,
        stress_transfer,
    ]
}
