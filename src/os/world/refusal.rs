//! Why a search for leaks is refused.

/// Why the other threads could not be stopped, or memory not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The program has an action of its own for the signal.
    SignalInUse(i32),
    /// A file of `/proc` cannot be read.
    NoProc,
    /// No memory for what the finder notes.
    NoMemory,
}
