//! Backtraces: taken inside the allocator, kept once each, and told with the names of their functions.
//!
//! Without the cargo feature `backtrace` there are none.
//!
//! # What holds inside the allocator
//! * **No recursion.** While a thread takes or tells a backtrace (`Quiet`), its own requests are served without one.
//!   The unwinder, libgcc's or LLVM's, asks malloc at most, never this allocator; finding the names asks for much
//!   memory.
//! * **No lock of the allocator** is held meanwhile: the caller must hold none. The unwinder may wait for the dynamic
//!   loader's: glibc before 2.35, and musl, find the code's tables by `dl_iterate_phdr`. A thread inside `dlopen` that
//!   allocates is no danger, since those locks may be taken again by their holder; nor is another one, since the loader
//!   waits for no thread. glibc since 2.35 with libgcc since 12 takes no lock at all (`_dl_find_object`).
//! * **Forks.** The store's lock is one of `lock`, which the child of a fork takes over; nothing of the store is ever
//!   half-changed. A child that was forked while another thread held the loader's lock (older C libraries) waits for
//!   ever at its first backtrace, as it does at its first panic with one. A child that was forked while another thread
//!   told a backtrace tells numbers in place of names.
//! * **Signals.** A handler may not take one, as it may not allocate.

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
