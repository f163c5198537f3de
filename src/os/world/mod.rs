//! Stopping the process's other threads and reading what they hold: for the leak finder. On Linux on x86-64 and aarch64;
//! elsewhere there is nothing here but the answer that there is nothing.

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod linux;
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod maps;
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod none;

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) use {linux::*, maps::*};

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) use none::*;

use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

/// Why the other threads could not be stopped, or memory not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "each system knows some of them")]
pub(crate) enum Refusal {
    /// The program has an action of its own for the signal.
    SignalInUse(i32),
    /// A file of `/proc` cannot be read.
    NoProc,
    /// No memory for what the finder notes.
    NoMemory,
    /// Not on this system.
    Unsupported,
}

/// A thread that is asked to stop, or has. Zero is a free place.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Place {
    thread: AtomicU32,
    /// A round, and what has become of the thread in it.
    state: AtomicU32,
    /// Where what the thread uses of its stack begins: its registers, as the kernel saved them.
    stack: AtomicUsize,
    /// The thread pointer.
    pointer: AtomicUsize,
    /// Whether a stack for signals was in use when the thread was stopped.
    on_signal_stack: AtomicBool,
    /// For the finder: nanoseconds that the thread had run when it was first looked at, and one more; 0 before.
    ran: AtomicU64,
    /// For the finder: how often the signal was sent once more.
    sent_again: AtomicU32,
}

/// What stopped threads and the one that stops them share.
///
/// Stop invariant 1: `round` is odd while threads are stopped; it only grows.
/// Stop invariant 2: a table that `places` ever pointed to stays mapped, since a handler may still look at it.
/// Stop invariant 3: only the holder of the finder's lock writes here, but for the states of places, of which a thread's
/// handler writes its own.
pub(crate) struct Stop {
    round: AtomicU32,
    /// The first of the places; before them, in their memory, how many there are.
    places: AtomicPtr<Place>,
    /// The signal; 0 for the usual one.
    signal: AtomicI32,
    /// The signal for which the handler is installed; 0 for none.
    installed: AtomicI32,
}

impl Stop {
    pub(crate) const fn new() -> Self {
        Self {
            round: AtomicU32::new(0),
            places: AtomicPtr::new(core::ptr::null_mut()),
            signal: AtomicI32::new(0),
            installed: AtomicI32::new(0),
        }
    }
}
