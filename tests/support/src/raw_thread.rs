//! Threads that the standard library does not start, so that they have not used the allocator when the test begins.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

/// Maximum number of threads that [`run`] starts at a time.
pub const MOST: usize = 16;

struct Start<'a> {
    body: &'a (dyn Fn(usize) + Sync),
    index: usize,
}

/// Runs `body(0)` to `body(count - 1)` at the same time, each in a thread of its own, and waits until all threads have
/// ended.
///
/// When `run` returns, the thread-local destructors of the threads have run. `run` allocates nothing. A panic of `body`
/// aborts the process.
pub fn run(count: usize, body: &(dyn Fn(usize) + Sync)) {
    assert!(count <= MOST);
    let starts: [Start<'_>; MOST] = std::array::from_fn(|index| Start { body, index });
    let mut threads = [const { MaybeUninit::<libc::pthread_t>::uninit() }; MOST];
    for (thread, start) in threads.iter_mut().zip(&starts).take(count) {
        // SAFETY: `start` outlives the thread, which is joined below; `begin` takes a `Start`.
        let error = unsafe {
            libc::pthread_create(thread.as_mut_ptr(), ptr::null(), begin, (&raw const *start).cast_mut().cast())
        };
        assert_eq!(error, 0, "pthread_create");
    }
    for thread in &threads[..count] {
        // SAFETY: `pthread_create` succeeded, so it wrote this.
        let thread = unsafe { thread.assume_init() };
        // SAFETY: the thread was started above and is joined once.
        let error = unsafe { libc::pthread_join(thread, ptr::null_mut()) };
        assert_eq!(error, 0, "pthread_join");
    }
}

extern "C" fn begin(start: *mut c_void) -> *mut c_void {
    // SAFETY: `run` passed a `Start` that lives until this thread is joined.
    let start = unsafe { &*start.cast::<Start<'_>>() };
    (start.body)(start.index);
    ptr::null_mut()
}
