//! Assertions about the allocations of a piece of code, for tests: exact for the calling thread, whatever other tests
//! do.

use crate::figures::Delta;
use crate::large::BlockSet;
use crate::leaks::LeakError;
use crate::observe::{Watch, measure, thread_stats};
use crate::{leaks, os};
use core::hint::black_box;

/// Runs `f` and fails if the calling thread allocates meanwhile. Frees are allowed. Returns the result of `f`.
///
/// Other threads do not count, so tests may run side by side. See also [`assert_allocs!`](crate::assert_allocs) and
/// [`assert_no_leaks`].
///
/// # Panics
/// If there was an allocation, with counts, bytes and size classes in the message. Also if
/// [`PoolMalloc`](crate::PoolMalloc) is not the program's global allocator, since then it counts nothing.
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

/// Runs `f`, drops its result, and fails if a block that the calling thread allocated meanwhile has leaked. A block has
/// leaked if it is not freed and cannot be reached any more.
///
/// A block is no leak if it is still held: from a `static`, a thread-local or the stack, by a value that `f` was given,
/// or by another thread. A cycle of `Rc` is a leak. The message shows it: it is the report of [`leaks::find`], with the
/// limits of that search, but only about these blocks.
///
/// Earlier leaks do not count. Leaks of other threads meanwhile do not count, with one exception: another thread frees
/// a block of `f`, and leaks a block that was served at the same address.
///
/// Each request of `f` costs several times as much, since it is noted. If blocks are left, the search stops all other
/// threads for a moment. The first call [arms](leaks::arm) the finder, so that it judges large blocks as well. On
/// systems without the finder each block that is left counts as leaked.
///
/// # Panics
/// If a block has leaked, with counts, bytes, size classes and the report in the message. Also if blocks are left and
/// the search is not possible, and if [`PoolMalloc`](crate::PoolMalloc) is not the program's global allocator.
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
#[inline]
pub fn assert_no_leaks<R>(f: impl FnOnce() -> R) {
    // Memcheck would report these writes below the stack pointer as errors.
    if !os::is_memcheck() {
        leaks::clear_stack();
    }
    assert_no_leaks_below(f);
}

/// The rest of [`assert_no_leaks`]. The caller has cleared the part of the stack where this frame lies: old pointers
/// there could hold blocks that are served again.
#[track_caller]
#[inline(never)]
fn assert_no_leaks_below<R>(f: impl FnOnce() -> R) {
    check_installed();
    if leaks::IS_SUPPORTED {
        leaks::arm();
    }
    let (delta, left) = blocks_left(f);
    if left.is_empty() && left.is_whole() {
        return;
    }
    let found = if left.is_whole() { leaks::find_among(&left) } else { Err(LeakError::NoMemory) };
    match found {
        Ok(report) => assert!(report.is_empty(), "blocks were leaked: {delta}\n{report}"),
        Err(error) => panic!("blocks were left, and whether they are held cannot be told, since {error}: {delta}"),
    }
}

/// Runs `f`. Returns the thread's figures and the blocks that are left. The function has a frame of its own, so that
/// pointers in that frame hold no block after it returns.
#[inline(never)]
fn blocks_left<R>(f: impl FnOnce() -> R) -> (Delta, BlockSet) {
    let before = thread_stats();
    let watch = Watch::of_blocks();
    let on = watch.watch();
    drop(f());
    drop(on);
    (thread_stats() - before, watch.into_left().unwrap_or(BlockSet::new()))
}

/// Evaluates an expression, counts the calling thread's allocations meanwhile, and fails unless their number passes a
/// comparison, such as `== 1`. Returns the value of the expression.
///
/// A `realloc` counts if the block moves to another size class or the backend serves it. Other threads do not count.
///
/// # Panics
/// If the comparison is false, with counts, bytes and size classes in the message. Also if
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

/// The function that [`assert_allocs!`] calls.
#[doc(hidden)]
#[track_caller]
pub fn __assert_count<R>(f: impl FnOnce() -> R, holds: impl FnOnce(i64) -> bool, expected: &str) -> R {
    let (result, delta) = measure_installed(f);
    let count = requests(&delta);
    assert!(holds(count), "{expected}, found {count}:\n{delta}");
    result
}

/// Number of requests that got a block: a new one, or one that the backend resized.
fn requests(delta: &Delta) -> i64 {
    delta.allocations() + delta.large.reallocations
}

#[track_caller]
fn measure_installed<R>(f: impl FnOnce() -> R) -> (R, Delta) {
    check_installed();
    measure(f)
}

#[track_caller]
fn check_installed() {
    let (_, probe) = measure(|| drop(black_box(Box::new(0u64))));
    assert!(
        probe.allocations() == 1,
        "poolmalloc is not this program's global allocator, or stands aside for valgrind's memcheck, or this \
         thread has ended: nothing can be said of its allocations"
    );
}
