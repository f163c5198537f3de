//! The assertions for tests say what is so, in words, and other threads never make them fail.
//!
//! To see it fail: take the process's figures instead of the thread's; forget blocks that the backend resizes; let a freed block of
//! another size make up for a leaked one.
//!
//! `cargo test --test assertions`

mod support;

use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use poolmalloc::{PoolMalloc, assert_allocs, assert_no_alloc, assert_no_leaks};

use support::block::layout;
use support::oracle::{block_bytes, class_of, large_bytes, mode};
use support::{SetAtEnd, scaled};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// The message that `f` panics with.
fn message(f: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    panic.downcast_ref::<String>().expect("a formatted message").clone()
}

/// Bytes that a vector of so many counts as.
fn counted(bytes: usize) -> u64 {
    let layout = layout(bytes, 1);
    class_of(layout).map_or(large_bytes(layout), |class| block_bytes(class) as u64)
}

fn block(bytes: usize) -> Vec<u8> {
    black_box(vec![1; bytes])
}

#[test]
fn no_alloc_allows_frees_and_nothing_else() {
    let held = block(100);
    assert_eq!(assert_no_alloc(|| held.len()), 100);
    assert_no_alloc(|| drop(held));
    let text = message(|| drop(assert_no_alloc(|| (block(100), block(300)))));
    let bytes = counted(100) + counted(300);
    let start = format!("expected no allocation, found 2:\n2 allocations, 0 frees: +2 blocks, +{bytes} bytes");
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains(&format!("{} bytes: 1 allocations", counted(100))), "{text}");
    let mut large = block(1000);
    let text = message(|| assert_no_alloc(|| large.reserve_exact(5000)));
    let resized = if mode::is_debug() { "1 allocations, 1 frees" } else { "1 resized" };
    assert!(text.contains("found 1:") && text.contains(resized), "{text}");
}

#[test]
fn counts_are_compared() {
    let kept = assert_allocs!(== 2, (block(8), block(8)));
    assert_allocs!(<= 2, block(16));
    assert_allocs!(< 2, block(16));
    assert_allocs!(>= 1, block(16));
    assert_allocs!(> 0, block(16));
    assert_allocs!(== 0, drop(kept));
    let most: i64 = 3;
    let text = message(|| assert_allocs!(<= most, { (0..4).for_each(|_| drop(block(24))) }));
    assert!(text.starts_with("expected <= most allocations, found 4:\n4 allocations, 4 frees: +0 blocks"), "{text}");
    // The body may use what is around it, and return.
    let mut list = Vec::new();
    assert_allocs!(== 1, list.push(1));
    assert_eq!(list, [1]);
}

#[test]
fn leaks_are_named() {
    assert_no_leaks(|| block(5000));
    assert_no_leaks(|| vec![block(5), block(50)]);
    let mut leaked = None;
    let text = message(|| assert_no_leaks(|| leaked = Some((block(40), block(40), block(700)))));
    let bytes = 2 * counted(40) + counted(700);
    let start = format!("blocks were left, or too many freed: 3 allocations, 0 frees: +3 blocks, +{bytes} bytes");
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains(&format!("{} bytes: 2 allocations, 0 frees: +2 blocks", counted(40))), "{text}");
    assert!(text.contains("larger blocks: 1 allocations"), "{text}");
    // One freed of another size does not make up for it.
    let mut other = Some(block(48));
    let text = message(|| {
        assert_no_leaks(|| {
            drop(other.take());
            leaked = Some((block(40), Vec::new(), Vec::new()));
        });
    });
    assert!(text.contains("-1 blocks"), "{text}");
    drop(leaked);
}

#[test]
fn the_thread_of_the_caller_counts_alone() {
    static STOP: AtomicBool = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = SetAtEnd(&STOP);
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !STOP.load(Ordering::Relaxed) {
                    let given = block(64);
                    // Ends threads, so that heaps change hands, and frees blocks of others.
                    thread::spawn(move || drop((given, block(64)))).join().expect("a thread");
                    (1..300).for_each(|bytes| drop(block(bytes)));
                }
            });
        }
        let mut list = Vec::with_capacity(64);
        for round in 0..scaled(10_000, 1) {
            assert_no_alloc(|| list.push(round));
            assert_allocs!(== 3, (block(64), block(65), block(300)));
            assert_no_leaks(|| vec![block(64), block(100)]);
            list.clear();
        }
    });
}
