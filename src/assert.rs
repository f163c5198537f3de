//! Assertions on what a piece of code allocates, for tests: exact for the calling thread, whatever other tests do.

use crate::delta::Delta;
use crate::measure::measure;
use core::hint::black_box;

/// Runs `f` and fails if the calling thread allocates meanwhile. Frees are allowed. Returns what `f` returned.
///
/// Other threads do not count, so tests may run side by side. See also [`assert_allocs!`](crate::assert_allocs) and
/// [`assert_no_leaks`].
///
/// # Panics
/// If there was an allocation, with counts, bytes and size classes in the message; and if [`PoolMalloc`](crate::PoolMalloc) is
/// not the program's global allocator, since nothing could be told then.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// let mut numbers = Vec::with_capacity(8);
/// poolmalloc::assert_no_alloc(|| numbers.extend([1, 2, 3]));
/// ```
#[track_caller]
pub fn assert_no_alloc<R>(f: impl FnOnce() -> R) -> R {
    let (result, delta) = measure_installed(f);
    let count = requests(&delta);
    assert!(count == 0, "expected no allocation, found {count}:\n{delta}");
    result
}

/// Runs `f`, drops what it returned, and fails unless the calling thread has then freed all that it allocated.
///
/// It compares counts, in total and for each size class: a block that was live before and is freed by `f` makes up for one
/// of the same size that leaks. What `f` hands to other threads counts as leaked, and so does what the standard library
/// allocates once and keeps, such as a thread-local's first value: let the code run once before.
///
/// # Panics
/// If a block is left, with counts, bytes and size classes in the message; and if [`PoolMalloc`](crate::PoolMalloc) is not
/// the program's global allocator.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// poolmalloc::assert_no_leaks(|| vec![String::from("dropped"); 100]);
/// ```
/// ```should_panic
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// poolmalloc::assert_no_leaks(|| std::mem::forget(vec![1, 2, 3]));
/// ```
#[track_caller]
pub fn assert_no_leaks<R>(f: impl FnOnce() -> R) {
    let ((), delta) = measure_installed(|| drop(f()));
    let is_even = delta.classes.iter().all(|class| class.live_blocks == 0)
        && (delta.large.live_blocks, delta.large.live_bytes) == (0, 0);
    assert!(is_even, "blocks were left, or too many freed: {delta}");
}

/// Evaluates an expression and fails unless the number of the calling thread's allocations meanwhile compares so. The
/// value is that of the expression.
///
/// A `realloc` counts if the block moves to another size class or the backend serves it. Other threads do not count.
///
/// # Panics
/// If the comparison is false, with counts, bytes and size classes in the message; and if
/// [`PoolMalloc`](crate::PoolMalloc) is not the program's global allocator.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// use poolmalloc::assert_allocs;
///
/// let text = assert_allocs!(== 1, String::from("one block"));
/// assert_allocs!(<= 3, vec![text.clone(), text]);
/// ```
#[macro_export]
macro_rules! assert_allocs {
    (== $count:expr, $body:expr $(,)?) => { $crate::assert_allocs!(@ ==, $count, $body) };
    (<= $count:expr, $body:expr $(,)?) => { $crate::assert_allocs!(@ <=, $count, $body) };
    (< $count:expr, $body:expr $(,)?) => { $crate::assert_allocs!(@ <, $count, $body) };
    (>= $count:expr, $body:expr $(,)?) => { $crate::assert_allocs!(@ >=, $count, $body) };
    (> $count:expr, $body:expr $(,)?) => { $crate::assert_allocs!(@ >, $count, $body) };
    (@ $comparison:tt, $count:expr, $body:expr) => {
        $crate::__assert_count(
            || $body,
            |found| { let wanted: i64 = $count; found $comparison wanted },
            concat!("expected ", stringify!($comparison), " ", stringify!($count), " allocations"),
        )
    };
}

/// What [`assert_allocs!`] expands to.
#[doc(hidden)]
#[track_caller]
pub fn __assert_count<R>(f: impl FnOnce() -> R, holds: impl FnOnce(i64) -> bool, expected: &str) -> R {
    let (result, delta) = measure_installed(f);
    let count = requests(&delta);
    assert!(holds(count), "{expected}, found {count}:\n{delta}");
    result
}

/// Requests that were served by a block, new or resized by the backend.
fn requests(delta: &Delta) -> i64 {
    delta.allocations() + delta.large.reallocations
}

#[track_caller]
fn measure_installed<R>(f: impl FnOnce() -> R) -> (R, Delta) {
    let (_, probe) = measure(|| drop(black_box(Box::new(0u64))));
    assert!(
        probe.allocations() == 1,
        "poolmalloc is not this program's global allocator, or this thread has ended: nothing can be said of its allocations"
    );
    measure(f)
}
