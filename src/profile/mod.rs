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
//! `docs/profiling.md` goes from nothing to a flame graph in five minutes. With `POOLMALLOC=sample=BYTES` in the environment a
//! program samples from its first request on; with `POOLMALLOC_PROFILE=path` it writes the profile at its end (`%p` is
//! the number of the process; collapsed stacks if the path ends in `.folded`, else pprof), and samples with a mean of 512 KiB if
//! nothing else is said.
//!
//! # What is sampled
//! Each byte asked for has the same chance, one in the mean, whatever the request's size: a Poisson process over the bytes, as
//! in tcmalloc, jemalloc and Go. A sampled request's backtrace is kept, and it counts for as many requests of its size as
//! have none, so all figures are estimates that are right on average. They vary: of a place that has `n` samples by one part in
//! the square root of `n`. A mean of 1 samples every request. `realloc` is a free and a new request, but where a small block
//! stays in its size class: it goes on to be what it was.
//!
//! # What it does to the program
//! While sampling is on, allocations take their slow path; frees stay on the fast one. A sampled small request is served by the
//! backend, and so counts as a large one in [`stats()`](crate::stats()). The thread that calls [`start`] or [`stop`] takes notice at
//! once; another one of a start when it allocates and its magazine is empty, or a large block, and of a stop at its next
//! allocation. Off, and before it was ever on, there is no instruction for it on either fast path.
//!
//! # What it cannot see
//! * Requests of threads without a heap of their own: of destructors that run last in a thread, and where there are no pools, as
//!   under memcheck.
//! * What comes in bursts between two samples, and places that allocate much less than the mean.
//! * Functions inlined or merged, where there is no debug information; and functions without unwind tables, which
//!   end a backtrace. At most 64 frames are kept, the innermost.
//! * What private heaps serve.
//! * Its own requests.
//!
//! In the child of a `fork` sampling goes on as it was; samples are lost to it if another thread was just noting one.

mod export;
mod symbols;

pub use export::Measure;

use crate::heap::OwnedHeap;
use crate::leaks::{Mapped, Sample};
use crate::os::{self, Output};
use crate::statics::{LARGE, MODE, PROFILER, TRACES};
use crate::tls;
use crate::traces::{self, Quiet, TraceId};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Most frames of a sample's backtrace.
const FRAMES: usize = 64;

/// The mean where the environment asks for a profile and says nothing of one.
pub(crate) const USUAL_MEAN_BYTES: u64 = 512 * 1024;

/// Whether samples are taken, and how far they lie apart.
pub(crate) struct Profiler {
    /// Counts starts and stops: odd while samples are taken. `Release` with `Acquire`: who sees a turn sees its mean.
    turn: AtomicU32,
    /// Relaxed: a thread that finds the mean of a later turn finds that turn next.
    mean: AtomicU64,
    /// Whether the environment asked for a profile at the end. Relaxed: read once, then.
    writes_at_exit: AtomicBool,
}

/// Whether samples are taken in a turn of the profiler.
pub(crate) fn is_sampling(turn: u32) -> bool {
    turn % 2 == 1
}

impl Profiler {
    pub(crate) const fn new() -> Self {
        Self { turn: AtomicU32::new(0), mean: AtomicU64::new(1), writes_at_exit: AtomicBool::new(false) }
    }

    #[inline]
    pub(crate) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Acquire)
    }

    pub(crate) fn mean_bytes(&self) -> u64 {
        self.mean.load(Ordering::Relaxed)
    }

    /// Begins a new turn. Nothing allocates here.
    pub(crate) fn start(&self, mean_bytes: u64) {
        LARGE.use_it();
        // Where backtraces go for which there is no room. Without memory for that either their samples are lost.
        TRACES.insert(&[]);
        // More than any process allocates.
        self.mean.store(mean_bytes.clamp(1, 1 << 56), Ordering::Relaxed);
        self.turn_to(|turn| if is_sampling(turn) { turn.wrapping_add(2) } else { turn.wrapping_add(1) });
    }

    fn stop(&self) {
        self.turn_to(|turn| if is_sampling(turn) { turn.wrapping_add(1) } else { turn });
    }

    fn turn_to(&self, next: impl Fn(u32) -> u32) {
        // It never refuses.
        let _ = self.turn.fetch_update(Ordering::Release, Ordering::Relaxed, |turn| Some(next(turn)));
    }

    /// Has the profile written when the process ends.
    pub(crate) fn write_at_exit(&self) {
        self.writes_at_exit.store(true, Ordering::Relaxed);
    }
}

/// Whether requests can be sampled in this process: not in debug mode.
fn is_possible() -> bool {
    // Whoever is first there has the environment read.
    tls::enter_own();
    !MODE.get().is_debug()
}

/// Has requests sampled from now on, `mean_bytes` apart on average; 1, or 0, for every request.
///
/// If they are already, only the mean changes. What was counted before goes on: figures are of all that was sampled since the
/// program began. 512 KiB is usual, and cheap. In debug mode it does nothing.
pub fn start(mean_bytes: u64) {
    if is_possible() {
        PROFILER.start(mean_bytes);
        take_notice();
    }
}

/// Has no requests sampled any more. Those sampled before stay in the profile, and go from what is in use when they are freed.
pub fn stop() {
    PROFILER.stop();
    take_notice();
}

/// Has the calling thread begin or stop to have its requests sampled.
fn take_notice() {
    if let Some(heap) = tls::enter_own() {
        tls::is_sampled(heap);
    }
}

/// What was sampled so far. See [`snapshot`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Profile {
    /// One for each backtrace, in no order that means anything.
    pub sites: Vec<Site>,
    /// Mean bytes from sample to sample, as last set.
    pub mean_bytes: u64,
    /// When it was made.
    pub time: SystemTime,
}

/// A place that allocates, with all that led there. The figures are estimates, rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// Addresses of code, the innermost first: where each function goes on when the one before it returns. Empty for all
    /// whose backtrace is not known.
    pub backtrace: Vec<usize>,
    /// Requests served. Only grows.
    pub alloc_objects: u64,
    /// Bytes asked for in them. Only grows.
    pub alloc_space: u64,
    /// Blocks that are live.
    pub inuse_objects: u64,
    /// Bytes asked for that are live.
    pub inuse_space: u64,
}

/// What was sampled so far: by place, what was allocated in all, and what of it is live.
///
/// As of one moment, which lies between the call and the return. It allocates, and what it allocates is not sampled.
///
/// # Panics
/// If there is no memory for it.
#[must_use]
pub fn snapshot() -> Profile {
    let _quiet = Quiet::begin();
    // Taken down without the allocator, which the lock forbids.
    let mut counts = Mapped::new();
    let live = {
        let held = LARGE.hold();
        let all = TRACES.each_count(|id, objects, bytes| counts.push((id, objects, bytes)));
        all.and_then(|()| held.samples())
    };
    let live = live.expect("memory for a profile");
    let mut in_use: BTreeMap<TraceId, (f64, f64)> = BTreeMap::new();
    for (bytes, sample) in live.iter() {
        let (objects, space) = in_use.entry(sample.trace).or_default();
        *objects += sample.weight;
        *space += sample.weight * *bytes as f64;
    }
    let site = |&(id, objects, space): &(TraceId, f64, f64)| {
        let (inuse_objects, inuse_space) = in_use.get(&id).copied().unwrap_or_default();
        Site {
            backtrace: traces::frames(id).to_vec(),
            alloc_objects: objects.round() as u64,
            alloc_space: space.round() as u64,
            inuse_objects: inuse_objects.round() as u64,
            inuse_space: inuse_space.round() as u64,
        }
    };
    Profile { sites: counts.iter().map(site).collect(), mean_bytes: PROFILER.mean_bytes(), time: SystemTime::now() }
}

/// The backtrace of a request of so many bytes that is due, and what it stands for. `None` if it is one of the profiler's own.
///
/// The caller holds no lock.
#[cold]
#[inline(never)]
pub(crate) fn sample(heap: OwnedHeap<'_>, bytes: usize) -> Option<Sample> {
    let entry = 0_u8;
    let weight = heap.weigh(bytes);
    if bytes == 0 || traces::is_busy() {
        return None;
    }
    let trace = traces::capture(FRAMES, &raw const entry).or_else(|| TRACES.insert(&[]))?;
    Some(Sample { trace, weight })
}

/// Writes what the environment asked for.
pub(crate) fn write_at_exit(path: &[u8], create: impl FnOnce() -> Option<Output>) {
    if !PROFILER.writes_at_exit.load(Ordering::Relaxed) {
        return;
    }
    let Some(file) = create() else {
        os::write_stderr(b"poolmalloc: the file that POOLMALLOC_PROFILE names cannot be written; no profile\n");
        return;
    };
    let (profile, mut bytes) = (snapshot(), Vec::new());
    let written = if path.ends_with(b".folded") {
        // At the end little is left that is in use.
        profile.write_collapsed(&mut bytes, Measure::AllocSpace)
    } else {
        profile.write_pprof(&mut bytes)
    };
    if written.is_ok() {
        file.write(&bytes);
    }
}
