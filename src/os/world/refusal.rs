//! Why a search for leaks is refused.

/// Reason why the other threads could not be stopped, or why memory could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The program has an action of its own for this signal, or the signal cannot have a handler.
    SignalInUse(i32),
    /// A file of `/proc` cannot be read, or has the numbers of another PID namespace. Or stopping took too long.
    NoProc,
    /// There is no memory for the data of the search.
    NoMemory,
}
