//! Backtraces are taken by the unwinder of the system.

use super::id::{MOST_FRAMES, TraceId};
use super::quiet::Quiet;
use super::store::TRACES;

/// The backtrace of the caller, as its number in the store. It has at most `frames` frames, and at most
/// [`MOST_FRAMES`], the innermost first. `None` if the store has no room or memory for it, or if this thread is busy
/// with backtraces.
///
/// `entry` is the address of a variable of the outermost function of the allocator that is not inlined. The frame of
/// that function, and those of the functions that it called, are left out. The caller holds no lock of the allocator.
//
// Never inlined, so that the frames of this function and of the unwinder lie below `entry`.
#[inline(never)]
pub(crate) fn capture(frames: usize, entry: *const u8) -> Option<TraceId> {
    let _quiet = Quiet::begin()?;
    let (mut found, mut count) = ([0; MOST_FRAMES], 0);
    let most = frames.min(MOST_FRAMES);
    let mut each = |frame: &backtrace::Frame| {
        // The stack grows downward, so the allocator's frames lie at or below `entry`. The stack pointer is null if the
        // unwinder does not know it.
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
    // SAFETY: the unwinders of Unix systems work in any number of threads at once. The lock of the safe function is for
    // other systems, and children of forks could find it held.
    unsafe { backtrace::trace_unsynchronized(&mut each) };
    TRACES.insert(&found[..count])
}

/// Addresses of a backtrace, the innermost first: where each function continues when the function before it in the list
/// returns.
pub(crate) fn frames(id: TraceId) -> &'static [usize] {
    TRACES.frames(id)
}
