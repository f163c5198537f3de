//! Backtraces: taken inside the allocator, stored once each, and printed with the names of their functions.
//!
//! Without the cargo feature `backtrace` there are none.
//!
//! # What holds inside the allocator
//! * **No recursion.** While a thread takes or prints a backtrace (`Quiet`), its own requests get no backtrace. If the
//!   unwinder (that of libgcc or LLVM) needs memory, it asks malloc, never this allocator. The search for the names of
//!   functions asks the program's allocator for much memory; these requests are among those that get no backtrace.
//! * **No lock of the allocator** is held by the caller, since the unwinder may wait for a lock of the dynamic loader:
//!   glibc before 2.35, and musl, find the tables of the code by `dl_iterate_phdr`. A thread that allocates inside
//!   `dlopen` is no danger: the holder of such a lock may take it again. Another thread inside `dlopen` is no danger:
//!   the loader waits for no thread. glibc since 2.35 with libgcc since 12 takes no lock at all (`_dl_find_object`).
//! * **Forks.** The child of a fork takes over the lock of the store ([`Lock`](crate::sync::Lock)), and no fork finds
//!   the store half-changed. If another thread held the loader's lock at the fork (older C libraries), the child waits
//!   forever at its first backtrace, as it does at its first panic that prints one. If another thread was looking up
//!   names at the fork, the child prints addresses in place of names.
//! * **Signals.** A signal handler may not take a backtrace, as it may not allocate.

pub(crate) mod id;
#[cfg(not(feature = "backtrace"))]
pub(crate) mod none;
#[cfg(feature = "backtrace")]
pub(crate) mod quiet;
#[cfg(feature = "backtrace")]
pub(crate) mod store;
#[cfg(feature = "backtrace")]
pub(crate) mod capture;
#[cfg(feature = "backtrace")]
pub(crate) mod symbols;

#[cfg(feature = "backtrace")]
pub(crate) use capture::capture;
#[cfg(feature = "profile")]
pub(crate) use capture::frames;
pub(crate) use id::{MOST_FRAMES, TraceId};
#[cfg(not(feature = "backtrace"))]
pub(crate) use none::{capture, write_symbols};
#[cfg(feature = "profile")]
pub(crate) use quiet::{Quiet, is_busy};
#[cfg(feature = "profile")]
pub(crate) use store::TRACES;
#[cfg(feature = "profile")]
pub(crate) use symbols::SYMBOLS;
#[cfg(feature = "backtrace")]
pub(crate) use symbols::write_symbols;
