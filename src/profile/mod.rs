//! Which places of the program allocate, and what is live of it: by samples, for pprof and for flame graphs.
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
//! `docs/profiling.md` goes from nothing to a flame graph in five minutes. With `POOLMALLOC=sample=BYTES` in the
//! environment a program samples from its first request on; with `POOLMALLOC_PROFILE=path` it writes the profile at its
//! end (`%p` is the number of the process; collapsed stacks if the path ends in `.folded`, else pprof), and samples
//! with a mean of 512 KiB if nothing else is said.
//!
//! # What is sampled
//! Each byte asked for has the same chance, one in the mean, whatever the request's size: a Poisson process over the
//! bytes, as in tcmalloc, jemalloc and Go. A sampled request's backtrace is kept, and it counts for as many requests of
//! its size as have none, so all figures are estimates that are right on average. They vary: of a place that has `n`
//! samples by one part in the square root of `n`. A mean of 1 samples every request. `realloc` is a free and a new
//! request, but where a small block stays in its size class: it goes on to be what it was.
//!
//! # What it does to the program
//! While sampling is on, allocations take their slow path; frees stay on the fast one. A sampled small request is
//! served by the backend, and so counts as a large one in [`stats()`](crate::stats()). The thread that calls [`start`]
//! or [`stop`] takes notice at once; another one of a start when it allocates and its magazine is empty, or a large
//! block, and of a stop at its next allocation. Off, and before it was ever on, there is no instruction for it on
//! either fast path.
//!
//! # What it cannot see
//! * Requests of threads without a heap of their own: of destructors that run last in a thread, and where there are no
//!   pools, as under memcheck.
//! * What comes in bursts between two samples, and places that allocate much less than the mean.
//! * Functions inlined or merged, where there is no debug information; and functions without unwind tables, which
//!   end a backtrace. At most 64 frames are kept, the innermost.
//! * What private heaps serve.
//! * Its own requests.
//!
//! In the child of a `fork` sampling goes on as it was; samples are lost to it if another thread was just noting one.

pub(crate) mod samples;
pub(crate) mod symbols;
pub(crate) mod export;
pub(crate) mod at_exit;

pub(crate) use at_exit::write_at_exit;
pub use export::Measure;
pub(crate) use samples::sample;
pub use samples::{Profile, Site, snapshot, start, stop};
