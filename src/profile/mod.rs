//! A sampling profiler: which places of the program allocate, and how much of that is live, for pprof and flame graphs.
//!
//! ```
//! # #[global_allocator]
//! # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
//! use poolmalloc::profile::{self, Measure};
//!
//! profile::start(64 * 1024);
//! let texts: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
//! let mut folded = Vec::new();
//! profile::snapshot().write_collapsed(&mut folded, Measure::InuseSpace)?;
//! profile::stop();
//! # drop(texts);
//! assert!(!folded.is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//! `docs/guide/profiling.md` leads you from nothing to a flame graph in five minutes.
//!
//! Two variables of the environment do this without a change of the program. With `POOLMALLOC=sample=BYTES` the program
//! samples from its first request on. With `POOLMALLOC_PROFILE=path` it also writes the profile at its end; if no
//! `sample=BYTES` is given, the mean is 512 KiB. In the path, `%p` stands for the number of the process. The file has
//! collapsed stacks if the path ends in `.folded`, else pprof's format.
//!
//! # What is sampled
//! Each requested byte has the same chance to be sampled, 1 divided by the mean, whatever the size of its request. This
//! is a Poisson process over the bytes, as in tcmalloc, jemalloc and Go. A mean of 1 samples every request.
//!
//! The backtrace of a sampled request is kept. The request also stands for those of its size that were not sampled. So
//! all figures are estimates. They are right on average; the figures of a place with `n` samples vary by one part in
//! the square root of `n`.
//!
//! `realloc` counts as a free and a new request. The exception is a small block that stays in its size class: it stays
//! sampled, or not sampled, as it was.
//!
//! # What it does to the program
//! While sampling is on, allocations take their slow path; frees stay on the fast one. The backend serves a sampled
//! small request, so [`stats()`](crate::stats()) counts it as a large one. While sampling is off, before the first
//! start and after a stop, neither fast path has an instruction for it.
//!
//! The thread that calls [`start`] or [`stop`] notices it at once. Another thread notices a start when it allocates a
//! large block, or a small one while its magazine is empty. It notices a stop at its next allocation.
//!
//! # What it cannot see
//! * Requests of threads without a heap of their own: in destructors that run last in a thread, and in a process
//!   without pools, as under memcheck.
//! * Bursts between two samples, and places that allocate much less than the mean.
//! * Functions that were inlined or merged, where there is no debug information.
//! * Callers of a function without unwind tables, which ends the backtrace, and all frames but the innermost 64.
//! * Requests to private heaps.
//! * Requests of the profiler itself.
//!
//! In the child of a `fork` sampling goes on as in the parent. If another thread was just noting or freeing a sample,
//! the child loses all samples that are in use.

pub(crate) mod samples;
pub(crate) mod symbols;
pub(crate) mod export;
pub(crate) mod at_exit;

pub(crate) use at_exit::write_at_exit;
pub use export::Measure;
pub(crate) use samples::sample;
pub use samples::{Profile, Site, snapshot, start, stop};
