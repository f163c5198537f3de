//! Why a search failed.

use core::error::Error;
use core::fmt::{self, Display, Formatter};

/// Reason why a search failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeakError {
    /// The finder works on Linux on x86-64 and aarch64 only, and this is another system.
    Unsupported,
    /// There are no pools: the process runs under memcheck, no memory could be reserved, or nothing was allocated yet.
    NoPools,
    /// The program has an action of its own for this signal, by which threads are stopped, or the signal cannot be
    /// handled. [`use_signal`](crate::leaks::use_signal) chooses another one.
    SignalInUse(i32),
    /// A file below `/proc/self` cannot be read: `maps`, `mem` or `task`. Or `/proc` belongs to another PID namespace,
    /// in which threads have other numbers. Or new threads kept the search waiting for more than 30 seconds.
    NoProc,
    /// The system gave no memory for the search.
    NoMemory,
    /// The pointer points into no block that the search knows: neither a live block of a pool nor a large one in the
    /// index.
    NoBlock,
}

impl Error for LeakError {}

impl Display for LeakError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("leaks are found on Linux on x86-64 and aarch64 only"),
            Self::NoPools => f.write_str("there are no pools to search for leaks"),
            Self::SignalInUse(signal) => {
                write!(f, "signal {signal}, by which threads are stopped, is the program's own or cannot be handled")
            }
            Self::NoProc => f.write_str("a file below /proc/self that the search for leaks needs cannot be read"),
            Self::NoMemory => f.write_str("there is no memory for a search for leaks"),
            Self::NoBlock => f.write_str("the pointer leads to no live block that is known"),
        }
    }
}
