//! Backtraces are taken by the unwinder of the system.

use super::id::{MOST_FRAMES, TraceId};
use super::quiet::Quiet;
use super::store::TRACES;

/// The backtrace of the caller, with at most so many frames, the innermost first; `None` if there is none: the store is
/// full, or this thread is busy with backtraces.
///
/// `entry` is the address of a variable of the allocator's outermost function that is not inlined: its frame and those
/// below it are left out. The caller holds no lock of the allocator.
//
// Never inlined: its frame and all below lie below `entry`.
#[inline(never)]
pub(crate) fn capture(frames: usize, entry: *const u8) -> Option<TraceId> {
    let _quiet = Quiet::begin()?;
    let (mut found, mut count) = ([0; MOST_FRAMES], 0);
    let most = frames.min(MOST_FRAMES);
    let mut each = |frame: &backtrace::Frame| {
        // The stack grows downwards. Null where the unwinder does not say.
        let is_allocators = count == 0 && !frame.sp().is_null() && frame.sp().addr() <= entry.addr();
        if is_allocators {
            return true;
        }
        if count == most || frame.ip().is_null() {
            return false;
        }
        found[count] = frame.ip().addr();
        count += 1;
        count < most
    };
    // SAFETY: unwinders of Unix systems work in any number of threads at once; the lock around the safe function is for
    // others, and would be held in children of forks.
    unsafe { backtrace::trace_unsynchronized(&mut each) };
    TRACES.insert(&found[..count])
}

/// The addresses that a backtrace consists of: where each function goes on when the one before it returns.
pub(crate) fn frames(id: TraceId) -> &'static [usize] {
    TRACES.frames(id)
}
