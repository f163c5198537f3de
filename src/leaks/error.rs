//! Why a search found nothing out.

use core::error::Error;
use core::fmt::{self, Display, Formatter};

/// Why nothing was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeakError {
    /// The finder works on Linux on x86-64 and aarch64, and this is another system.
    Unsupported,
    /// There are no pools: the process runs under memcheck, no memory could be reserved, or nothing was allocated yet.
    NoPools,
    /// The program has a handler of its own for this signal, by which threads were to be stopped: see
    /// [`use_signal`](crate::leaks::use_signal).
    SignalInUse(i32),
    /// A file below `/proc/self` cannot be read: `maps`, `mem` or `task`. Or `/proc` belongs to another PID namespace,
    /// and numbers threads otherwise.
    NoProc,
    /// The system gave no memory for the search.
    NoMemory,
    /// The pointer leads to no live block that is known: of pools, or indexed.
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
