//! The assertions for tests explain each failure in words, and other threads never make them fail.
//!
//! To see it fail: take the process's figures instead of the thread's; forget blocks that the backend resizes; let a
//! freed block of another size make up for a leaked one.
//!
//! `cargo test --test side_by_side assertions::`

use std::cell::RefCell;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, mpsc};
use std::thread;

use poolmalloc::{assert_allocs, assert_no_alloc, assert_no_leaks};

use poolmalloc_support::block::layout;
use poolmalloc_support::oracle::{block_bytes, class_of, large_bytes, mode};
use poolmalloc_support::{SetAtEnd, scaled};

/// The message that `f` panics with.
fn message(f: impl FnOnce()) -> String {
    static HOOK: Once = Once::new();
    // The hook prints no backtrace, which would take megabytes and seconds.
    HOOK.call_once(|| set_hook(Box::new(|panic| eprintln!("{panic}"))));
    let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("a panic");
    panic.downcast_ref::<String>().expect("a formatted message").clone()
}

/// Bytes that the figures count for a vector of `bytes` bytes.
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
    // The body may change the variables around it.
    let mut list = Vec::new();
    assert_allocs!(== 1, list.push(1));
    assert_eq!(list, [1]);
}

/// Leaks `value`. The frame of this function, which would hold a pointer to it, is gone when the function returns.
#[inline(never)]
fn forget<T>(value: T) {
    std::mem::forget(black_box(value));
}

#[test]
fn leaks_are_named() {
    assert_no_leaks(|| block(5000));
    assert_no_leaks(|| vec![block(5), block(50)]);
    // Large blocks are leaked in tests/leaks/planted.rs: here a word of another test may look like a pointer to one.
    let text = message(|| assert_no_leaks(|| forget((block(40), block(40)))));
    let start = format!("blocks were leaked: 2 allocations, 0 frees: +2 blocks, +{} bytes", 2 * counted(40));
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains(&format!("{} bytes: 2 allocations, 0 frees: +2 blocks", counted(40))), "{text}");
    assert!(text.contains("done, 2 unreachable, 80 bytes: 2 direct, 0 indirect, 0 in 0 cycles"), "{text}");
    // A freed block of the same size does not hide the leaked one.
    let other = block(40);
    let text = message(|| {
        assert_no_leaks(move || {
            // The order matters: if `other` were freed first, the new block could get its address. Then the old value
            // of `other` in the stack would look like a pointer to the leaked block.
            forget(block(40));
            drop(other);
        });
    });
    assert!(text.contains("1 frees: +0 blocks") && text.contains("done, 1 unreachable, 40 bytes"), "{text}");
}

struct Node {
    next: RefCell<Option<Rc<Node>>>,
    _name: Vec<u8>,
}

#[inline(never)]
fn cycle() {
    let node = || Rc::new(Node { next: RefCell::new(None), _name: block(70) });
    let (first, second) = (node(), node());
    *first.next.borrow_mut() = Some(second.clone());
    *second.next.borrow_mut() = Some(first.clone());
}

#[test]
fn a_cycle_is_shown() {
    for number in 1..=3 {
        // The message shows the new cycle only, and no block that leaked before, here or in another test.
        let text = message(|| assert_no_leaks(cycle));
        assert!(text.contains("held by nothing but itself"), "{number}: {text}");
        assert!(text.contains("leaks: cycle 0: 2 blocks"), "{number}: {text}");
        assert!(text.contains("done, 4 unreachable") && text.contains("2 indirect, 2 in 1 cycle"), "{number}: {text}");
    }
    // A watch, or another assertion, may run inside an assertion. A block that leaks after the watch and a block that
    // leaks inside it are both found.
    let text =
        message(|| assert_no_leaks(|| poolmalloc::measure_peak(|| assert_no_alloc(|| ())).1.peak_bytes + forget_one()));
    assert!(text.contains("done, 1 unreachable, 64 bytes"), "{text}");
    let text = message(|| assert_no_leaks(|| poolmalloc::measure_peak(forget_one)));
    assert!(text.contains("done, 1 unreachable, 64 bytes"), "{text}");
}

#[inline(never)]
fn forget_one() -> u64 {
    forget(block(64));
    0
}

#[test]
fn what_is_held_is_no_leak() {
    static HELD: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    thread_local!(static OWN: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) });
    assert_no_leaks(|| HELD.lock().expect("the vector").extend([block(40), block(4000)]));
    assert_no_leaks(|| OWN.with_borrow_mut(|own| own.push(block(50))));
    let mut mine = None;
    assert_no_leaks(|| mine = Some((block(40), Rc::new(block(41)))));
    let (send, receive) = mpsc::channel();
    let other = thread::spawn(move || receive.recv().map(|held: Vec<u8>| held.len()));
    assert_no_leaks(|| send.send(block(90)).expect("the other thread"));
    assert_eq!(other.join().expect("the other thread").expect("what was sent"), 90);
    drop(black_box(mine));
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
                    // Threads end, so that heaps change hands, and they free blocks of other threads.
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
