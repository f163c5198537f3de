//! Random programs against a shadow of the heap, which knows the live bytes, the content of each, and the exact counts.
//!
//! proptest makes short programs, and shrinks a program that fails to the fewest turns. Up to four threads take the
//! turns of a program, one after another. A long program comes from a fixed seed. The engine is that of the fuzz target
//! and of the soak. The tests use the allocator directly, and the shadow lives in the system's heap, so the figures
//! count only the blocks of the programs.
//!
//! To see it fail: hand a block out twice (leave a bit of the free map set when a block is taken); put a remote free's
//! bit one place too far; copy too little in `realloc`; drop the zeroing; count an allocation twice. With a private
//! heap beside the process's allocator, also: let the private heap get a block of the process's allocator, or the other
//! way round.
//!
//! `cargo test --test random random_program::`

use std::alloc::{GlobalAlloc, Layout};

use poolmalloc::{Delta, PoolMalloc, measure, stats, thread_stats};
use poolmalloc_oracle::shadow::random_step;
use poolmalloc_oracle::{ByAlignment, Counts, Shadow, Step, Turn, program};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use poolmalloc_support::block::layout;
use poolmalloc_support::oracle::{consistent_stats, counted};
use poolmalloc_support::private::Private;
use poolmalloc_support::{Test, not_in_debug, scaled, tests};

fn some_size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1_usize..=256, 2 => 248_usize..=264, 2 => 257_usize..=5000, 1 => 5001_usize..=300_000]
}

fn some_layout() -> impl Strategy<Value = Layout> {
    (some_size(), prop_oneof![4 => 0_u32..=4, 1 => 5_u32..=12]).prop_map(|(size, power)| layout(size, 1 << power))
}

fn some_small_layout() -> impl Strategy<Value = Layout> {
    (1_usize..=256, 0_u32..=8).prop_map(|(size, power)| layout(size, 1 << power))
}

fn some_step() -> impl Strategy<Value = Step> {
    let pick = any::<usize>;
    prop_oneof![
        8 => some_layout().prop_map(Step::Alloc),
        2 => some_layout().prop_map(Step::Zeroed),
        4 => (pick(), some_size()).prop_map(|(pick, size)| Step::Realloc { pick, size }),
        6 => pick().prop_map(|pick| Step::Free { pick }),
        1 => (0_usize..300, some_small_layout()).prop_map(|(count, layout)| Step::AllocMany { count, layout }),
        1 => (0_usize..300, pick(), 0_usize..10)
            .prop_map(|(count, pick, stride)| Step::FreeMany { count, pick, stride }),
    ]
}

/// Half of the turns belong to the thread that runs the program.
fn some_turn() -> impl Strategy<Value = Turn> {
    let thread = || prop_oneof![Just(0), 1..program::THREADS as u8];
    prop_oneof![
        30 => (thread(), some_step()).prop_map(|(thread, step)| Turn::Step { thread, step }),
        1 => thread().prop_map(|thread| Turn::End { thread }),
    ]
}

/// Returns the figures counted since `before`. So they do not count blocks that a failed program has left: proptest
/// shrinks such a program by running smaller ones.
fn counted_since(before: &Counts) -> Counts {
    counted(&consistent_stats()).since(before)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: scaled(2048, 8) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    fn short_programs(turns in prop::collection::vec(some_turn(), 1..300)) {
        let before = counted(&consistent_stats());
        program::run::<PoolMalloc>(&turns, |counts| assert_eq!(counted_since(&before), *counts));
    }

    fn short_programs_with_a_private_heap(turns in prop::collection::vec(some_turn(), 1..300)) {
        let before = counted(&consistent_stats());
        program::run::<WithPrivate>(&turns, |counts| assert_eq!(counted_since(&before), *counts));
    }
}

/// The process's allocator and a private heap, each for a part of the blocks.
type WithPrivate = ByAlignment<PoolMalloc, Private>;

/// Runs waves with few and with many live blocks, so that pools empty, change their class and fill again.
fn long_program_of<A: GlobalAlloc + Default>() {
    let mut random = SmallRng::seed_from_u64(1);
    let before = counted(&consistent_stats());
    let mut shadow = Shadow::<A>::new();
    for wave in 0..10 {
        let target = if wave % 2 == 0 { 10_000 } else { 100 };
        for _ in 0..scaled(400_000, 20) {
            let step = random_step(&mut random, shadow.length(), target);
            shadow.take_step(&step);
        }
        shadow.check();
        assert_eq!(counted_since(&before), *shadow.counts());
    }
    shadow.finish();
    assert_eq!(counted_since(&before), *shadow.counts());
}

fn long_program() {
    long_program_of::<PoolMalloc>();
}

fn long_program_with_a_private_heap() {
    long_program_of::<WithPrivate>();
}

/// Converts a difference to the type of the engine's counts.
fn counts_of(delta: &Delta) -> Counts {
    let mut counts = Counts {
        large_blocks: delta.large.live_blocks as u64,
        large_bytes: delta.large.live_bytes as u64,
        large_frees: delta.large.frees as u64,
        ..Counts::default()
    };
    for (class, delta) in delta.classes.iter().enumerate() {
        counts.small_blocks[class] = delta.live_blocks as u64;
        counts.small_frees[class] = delta.frees as u64;
    }
    counts
}

/// Checks the figures of the process, of the thread and of a measurement, all three after each step.
fn every_step_is_counted_three_times() {
    let mut random = SmallRng::seed_from_u64(2);
    let (process, thread) = (stats(), thread_stats());
    let mut shadow = Shadow::<PoolMalloc>::new();
    for number in 0..scaled(20_000, 10) {
        let target = if number / 1000 % 2 == 0 { 500 } else { 20 };
        let (before, step) = (*shadow.counts(), random_step(&mut random, shadow.length(), target));
        let ((), delta) = measure(|| shadow.take_step(&step));
        assert_eq!(counts_of(&delta), shadow.counts().since(&before), "{step:?}");
        assert_eq!(counts_of(&(thread_stats() - thread)), *shadow.counts(), "{step:?}");
        assert_eq!(counts_of(&(stats() - process)), *shadow.counts(), "{step:?}");
    }
    shadow.finish();
    assert_eq!(counts_of(&(stats() - process)), *shadow.counts());
}

pub(crate) fn tests() -> Vec<Test> {
    let tests = tests![
        short_programs,
        short_programs_with_a_private_heap,
        long_program,
        long_program_with_a_private_heap,
        every_step_is_counted_three_times,
    ];
    let private = "a private heap has no pools, and its blocks are the backend's as they are";
    not_in_debug(tests, &["short_programs_with_a_private_heap", "long_program_with_a_private_heap"], private)
}
