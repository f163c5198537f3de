//! A thread's own figures count exactly the requests of that thread, whatever other threads do at the same time.
//!
//! This file uses the usual harness, whose threads allocate while tests run. A figure that other threads disturb would
//! fail here. The oracle counts each request by the documented rules before the request is made.
//!
//! To see it fail: count frees by others (take `flushed` and `collected` together); forget the requests of a heap's
//! earlier thread; let a watch leave out the bytes by which a `realloc` in place changes a block.
//!
//! `cargo test --test side_by_side measure::`

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use poolmalloc::{Delta, Stats, ThreadStats, measure, measure_peak, stats, thread_stats};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::ALLOC;
use poolmalloc_support::block::layout;
use poolmalloc_support::oracle::{CLASSES, block_bytes, class_of, is_large_resized, large_bytes, mode, usual_class_of};
use poolmalloc_support::{SetAtEnd, scaled};

/// The oracle: counts the requests of a test by the documented rules.
struct Oracle {
    allocations: [u64; CLASSES + 1],
    frees: [u64; CLASSES + 1],
    resized: u64,
    moved: u64,
    requested: u64,
    largest: usize,
    live: i64,
    /// Live bytes in the way a watch counts them.
    watched: i64,
    blocks: i64,
    peak: i64,
    peak_blocks: i64,
}

fn place(layout: Layout) -> usize {
    class_of(layout).unwrap_or(CLASSES)
}

/// Bytes that a watch counts for a block: the same as without the debug mode.
fn watched(layout: Layout) -> i64 {
    usual_class_of(layout).map_or(layout.size(), block_bytes) as i64
}

/// Bytes that a difference ([`Delta`]) counts for a block.
fn counted(layout: Layout) -> i64 {
    class_of(layout).map_or(large_bytes(layout) as i64, |class| block_bytes(class) as i64)
}

impl Oracle {
    fn new() -> Self {
        Self {
            allocations: [0; CLASSES + 1],
            frees: [0; CLASSES + 1],
            resized: 0,
            moved: 0,
            requested: 0,
            largest: 0,
            live: 0,
            watched: 0,
            blocks: 0,
            peak: 0,
            peak_blocks: 0,
        }
    }

    fn change(&mut self, blocks: i64, bytes: i64) {
        self.blocks += blocks;
        self.watched += bytes;
        self.peak = self.peak.max(self.watched);
        self.peak_blocks = self.peak_blocks.max(self.blocks);
    }

    fn request(&mut self, size: usize) {
        self.requested += size as u64;
        self.largest = self.largest.max(size);
    }

    fn alloc(&mut self, layout: Layout) -> *mut u8 {
        self.request(layout.size());
        self.allocations[place(layout)] += 1;
        self.live += counted(layout);
        self.change(1, watched(layout));
        // SAFETY: the size is not zero.
        black_box(unsafe { ALLOC.alloc(layout) })
    }

    fn free(&mut self, block: *mut u8, layout: Layout) {
        self.frees[place(layout)] += 1;
        self.live -= counted(layout);
        self.change(-1, -watched(layout));
        // SAFETY: the callers free what they allocated with this layout.
        unsafe { ALLOC.dealloc(block, layout) };
    }

    fn resize(&mut self, block: *mut u8, from: Layout, size: usize) -> *mut u8 {
        let to = layout(size, from.align());
        self.request(size);
        if is_large_resized(from, to) {
            self.resized += 1;
        } else if place(from) != place(to) || mode::is_debug() {
            self.moved += 1;
            self.allocations[place(to)] += 1;
            self.frees[place(from)] += 1;
        }
        self.live += counted(to) - counted(from);
        if usual_class_of(from) == usual_class_of(to) {
            self.change(0, watched(to) - watched(from));
        } else {
            self.change(1, watched(to));
            self.change(-1, -watched(from));
        }
        // SAFETY: the callers resize what they allocated with this layout.
        black_box(unsafe { ALLOC.realloc(block, from, size) })
    }

    #[track_caller]
    fn assert_is(&self, delta: &Delta) {
        for (class, figures) in delta.classes.iter().enumerate() {
            let expected = (self.allocations[class] as i64, self.frees[class] as i64);
            assert_eq!((figures.allocations, figures.frees), expected, "class {class}: {figures:?}");
            assert_eq!(figures.live_blocks, expected.0 - expected.1);
        }
        let large = (delta.large.allocations, delta.large.frees, delta.large.reallocations);
        let expected = (self.allocations[CLASSES] as i64, self.frees[CLASSES] as i64, self.resized as i64);
        assert_eq!(large, expected, "{delta:?}");
        assert_eq!(delta.moved, self.moved as i64, "{delta:?}");
        assert_eq!((delta.live_blocks(), delta.live_bytes()), (self.blocks, self.live), "{delta:?}");
        assert_eq!(delta.allocations() - delta.frees(), self.blocks);
    }
}

fn random_layout(random: &mut SmallRng) -> Layout {
    let size = if random.random_ratio(1, 8) { random.random_range(1..2000) } else { random.random_range(1..=256) };
    layout(size, 1 << random.random_range(0..=5))
}

/// Runs a random program of `steps` steps. The oracle counts each step, and then `after_step` is called. At the end
/// nothing is live.
fn run_program(random: &mut SmallRng, oracle: &mut Oracle, steps: usize, mut after_step: impl FnMut(&Oracle)) {
    // The program's own list is an array, since it must not allocate.
    let mut live: [(*mut u8, Layout); 256] = [(std::ptr::null_mut(), layout(1, 1)); 256];
    for _ in 0..steps {
        let slot = &mut live[random.random_range(0..256)];
        if slot.0.is_null() {
            slot.1 = random_layout(random);
            slot.0 = oracle.alloc(slot.1);
        } else if random.random_ratio(1, 3) {
            let size = random_layout(random).size();
            slot.0 = oracle.resize(slot.0, slot.1, size);
            slot.1 = layout(size, slot.1.align());
        } else {
            oracle.free(slot.0, slot.1);
            slot.0 = std::ptr::null_mut();
        }
        after_step(oracle);
    }
    for (block, layout) in live.into_iter().filter(|(block, _)| !block.is_null()) {
        oracle.free(block, layout);
        after_step(oracle);
    }
}

#[test]
fn every_step_of_a_program_is_counted() {
    let mut oracle = Oracle::new();
    let before = thread_stats();
    run_program(&mut SmallRng::seed_from_u64(1), &mut oracle, scaled(50_000, 10), |oracle| {
        oracle.assert_is(&(thread_stats() - before));
    });
    let now = thread_stats();
    assert_eq!(now.small.allocations - before.small.allocations, oracle.allocations[..CLASSES].iter().sum::<u64>());
    assert_eq!(
        now.small.allocated_bytes - before.small.allocated_bytes,
        now.small.freed_bytes - before.small.freed_bytes
    );
}

#[test]
fn measurements_nest() {
    let mut random = SmallRng::seed_from_u64(2);
    let mut outer = Oracle::new();
    let ((), outside) = measure(|| {
        for size in [8, 300] {
            let second = outer.alloc(layout(size, 8));
            let mut inner = Oracle::new();
            let ((), inside) = measure(|| run_program(&mut random, &mut inner, 1000, |_| ()));
            inner.assert_is(&inside);
            outer.free(second, layout(size, 8));
            // The outer measurement counts the requests of the inner one too.
            for class in 0..=CLASSES {
                outer.allocations[class] += inner.allocations[class];
                outer.frees[class] += inner.frees[class];
            }
            outer.resized += inner.resized;
            outer.moved += inner.moved;
        }
    });
    outer.assert_is(&outside);
}

#[test]
fn a_watch_sees_peaks_and_bytes_as_requested() {
    let mut random = SmallRng::seed_from_u64(3);
    for round in 0..20 {
        let mut oracle = Oracle::new();
        let ((), peak) = measure_peak(|| run_program(&mut random, &mut oracle, 100 * round, |_| ()));
        oracle.assert_is(&peak.delta);
        let seen = (peak.peak_bytes, peak.peak_blocks, peak.requested_bytes, peak.largest_bytes);
        let expected = (oracle.peak as u64, oracle.peak_blocks as u64, oracle.requested, oracle.largest as u64);
        assert_eq!(seen, expected, "round {round}");
    }
}

#[test]
fn an_inner_watch_counts_for_the_outer_one() {
    let block = |bytes: usize| black_box(vec![0u8; bytes]);
    let ((), outer) = measure_peak(|| {
        let held = block(1000);
        let ((), inner) = measure_peak(|| drop(block(5000)));
        assert_eq!((inner.peak_bytes, inner.requested_bytes, inner.largest_bytes), (5000, 5000, 5000));
        drop(held);
        let (kept, inner) = measure_peak(|| block(2000));
        assert_eq!((inner.peak_bytes, inner.delta.live_bytes()), (2000, counted(layout(2000, 1))));
        drop(block(3500));
        drop(kept);
    });
    assert_eq!((outer.peak_bytes, outer.peak_blocks), (6000, 2));
    assert_eq!((outer.requested_bytes, outer.delta.live_bytes()), (11_500, 0));
}

#[test]
fn a_panic_takes_the_watch_off() {
    let caught = std::panic::catch_unwind(|| measure_peak(|| std::panic::resume_unwind(Box::new(1))));
    assert!(caught.is_err());
    let (_, delta) = measure(|| drop(black_box(Box::new(7))));
    assert_eq!((delta.allocations(), delta.frees()), (1, 1));
}

#[test]
fn other_threads_count_for_themselves() {
    static STOP: AtomicBool = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = SetAtEnd(&STOP);
        // This thread starts threads that free its blocks and end.
        scope.spawn(|| {
            while !STOP.load(Ordering::Relaxed) {
                let block = black_box(Box::new([1u8; 48]));
                thread::spawn(move || drop(block)).join().unwrap();
            }
        });
        let mut random = SmallRng::seed_from_u64(4);
        for _ in 0..20 {
            let mut oracle = Oracle::new();
            let (given, delta) = measure(|| {
                let given: [usize; 8] = std::array::from_fn(|_| oracle.alloc(layout(48, 8)).expose_provenance());
                run_program(&mut random, &mut oracle, 500, |_| ());
                given
            });
            oracle.assert_is(&delta);
            scope
                .spawn(move || {
                    let mut oracle = Oracle::new();
                    let before = thread_stats();
                    for address in given {
                        oracle.free(std::ptr::with_exposed_provenance_mut(address), layout(48, 8));
                    }
                    let delta = thread_stats() - before;
                    oracle.assert_is(&delta);
                    let class = class_of(layout(48, 8)).expect("a class");
                    assert_eq!(delta.live_blocks(), -8);
                    // In debug mode a freed block waits in the quarantine. Any thread may take the block out of the
                    // quarantine and free it, and may get the same block again. So some of the eight blocks may belong
                    // to the heap that this thread has got.
                    let remote = delta.classes[class].remote_frees;
                    assert!(remote == 8 || mode::is_debug() && remote < 8, "{remote} remote frees");
                })
                .join()
                .unwrap();
        }
    });
}

#[test]
fn a_thread_begins_with_nothing() {
    for _ in 0..50 {
        thread::spawn(|| {
            // The standard library allocates a little at the start of a thread. A heap that was parked has counted many
            // more requests.
            let stats = thread_stats();
            assert!(stats.small.allocations + stats.large.allocations < 20, "{stats:?}");
            for size in 1..=256 {
                drop(black_box(vec![0u8; size]));
            }
            let delta = thread_stats() - stats;
            let small = (1..=256).filter(|size| class_of(layout(*size, 1)).is_some()).count() as i64;
            assert_eq!((delta.small.allocations, delta.small.frees), (small, small));
        })
        .join()
        .unwrap();
    }
}

#[test]
fn differences_never_panic() {
    let now = stats();
    for (left, right) in [(now, Stats::default()), (Stats::default(), now)] {
        let delta = left - right;
        assert_eq!(delta.live_blocks(), delta.allocations() - delta.frees());
    }
    let mine = thread_stats();
    let forth = mine - ThreadStats::default();
    let back = ThreadStats::default() - mine;
    assert_eq!(forth.allocations(), -back.allocations());
    assert_eq!(forth.live_bytes(), -back.live_bytes());
}

#[test]
fn a_delta_tells_itself_without_allocating() {
    struct Nowhere(usize);
    impl std::fmt::Write for Nowhere {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }
    let (held, peak) = measure_peak(|| (Box::new([0u8; 48]), vec![0u8; 700]));
    let (written, delta) = measure(|| {
        let mut nowhere = Nowhere(0);
        std::fmt::Write::write_fmt(&mut nowhere, format_args!("{peak}")).map(|()| nowhere.0)
    });
    assert!(written.unwrap() > 0);
    assert_eq!(delta, measure(|| ()).1, "nothing");
    drop(held);
    let text = peak.to_string();
    let [small, large] = [48, 700].map(|size| counted(layout(size, 1)));
    assert!(text.starts_with(&format!("2 allocations, 0 frees: +2 blocks, +{} bytes\n", small + large)), "{text}");
    assert!(text.contains(&format!("{small} bytes: 1 allocations, 0 frees: +1 blocks")), "{text}");
    let large = format!("larger blocks: 1 allocations, 0 frees, 0 resized: +1 blocks, +{large} bytes");
    assert!(text.contains(&large), "{text}");
    assert!(text.ends_with("at most 748 bytes in 2 blocks at a time; 748 bytes requested, 700 at once"), "{text}");
}
