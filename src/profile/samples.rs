//! Samples: which requests are noted, and what was noted so far.

use crate::heap::OwnedHeap;
use crate::large::{LARGE, Sample};
use crate::os::MappedSlice;
use crate::process::{MODE, SAMPLING, tls};
use crate::traces;
use crate::traces::{Quiet, TRACES, TraceId};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Most frames of a sample's backtrace.
const FRAMES: usize = 64;

/// Whether requests can be sampled in this process: not in debug mode.
fn is_possible() -> bool {
    // Whoever is first there has the environment read.
    tls::heap_or_make();
    !MODE.get().is_debug()
}

/// Has requests sampled from now on, `mean_bytes` apart on average; 1, or 0, for every request.
///
/// If they are already, only the mean changes. What was counted before goes on: figures are of all that was sampled
/// since the program began. 512 KiB is usual, and cheap. In debug mode it does nothing.
pub fn start(mean_bytes: u64) {
    if is_possible() {
        SAMPLING.start(mean_bytes);
        take_notice();
    }
}

/// Has no requests sampled any more. Those sampled before stay in the profile, and go from what is in use when they are
/// freed.
pub fn stop() {
    SAMPLING.stop();
    take_notice();
}

/// Has the calling thread begin or stop to have its requests sampled.
fn take_notice() {
    if let Some(heap) = tls::heap_or_make().heap() {
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
    /// Addresses of code, the innermost first: where each function goes on when the one before it returns. Empty for
    /// all whose backtrace is not known.
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
    let mut counts = MappedSlice::new();
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
    Profile { sites: counts.iter().map(site).collect(), mean_bytes: SAMPLING.mean_bytes(), time: SystemTime::now() }
}

/// The backtrace of a request of so many bytes that is due, and what it stands for. `None` if it is one of the
/// profiler's own.
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
