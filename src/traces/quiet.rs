//! The mark of a thread that is busy with backtraces: its own requests get no backtrace.

use core::cell::Cell;
use core::marker::PhantomData;

thread_local! {
    /// Whether the thread is busy with backtraces.
    static IS_BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is busy with backtraces.
#[cfg(feature = "profile")]
pub(crate) fn is_busy() -> bool {
    IS_BUSY.get()
}

/// Proof that this thread is busy with backtraces. Until it is dropped, the requests of the thread get no backtrace.
pub(crate) struct Quiet {
    _not_send: PhantomData<*mut ()>,
}

impl Quiet {
    /// Marks this thread as busy. `None` if the thread is busy already.
    pub(crate) fn begin() -> Option<Self> {
        if IS_BUSY.replace(true) {
            return None;
        }
        Some(Self { _not_send: PhantomData })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        IS_BUSY.set(false);
    }
}
