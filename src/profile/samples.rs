//! Samples: starting and stopping them, noting a sampled request, and the profile of all samples so far.

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
    // The first request for a heap reads the environment, which chooses the mode.
    tls::heap_or_make();
    !MODE.get().is_debug()
}

/// Starts sampling requests, with `mean_bytes` from sample to sample on average. With 1, or 0, every request is
/// sampled.
///
/// A mean of 512 KiB is usual, and cheap. If sampling is on already, only the mean changes. A start does not reset the
/// profile: its figures are of all samples since the program began. In debug mode this does nothing.
pub fn start(mean_bytes: u64) {
    if is_possible() {
        SAMPLING.start(mean_bytes);
        take_notice();
    }
}

/// Stops sampling requests. Earlier samples stay in the profile, whose figures in use still go down when sampled blocks
/// are freed.
pub fn stop() {
    SAMPLING.stop();
    take_notice();
}

/// Makes the calling thread notice a start or stop at once.
fn take_notice() {
    if let Some(heap) = tls::heap_or_make().heap() {
        tls::is_sampled(heap);
    }
}

/// A profile: all samples so far, by place. [`snapshot`] makes one.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Profile {
    /// One entry for each backtrace, in no particular order.
    pub sites: Vec<Site>,
    /// Mean bytes from sample to sample, as set last.
    pub mean_bytes: u64,
    /// The time at which the profile was made.
    pub time: SystemTime,
}

/// A place that allocates, and the calls that led there. The figures are estimates, rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Site {
    /// Return addresses, the innermost first: each is where a function goes on when its callee returns. Empty in the
    /// one site that stands for all requests without a known backtrace.
    pub backtrace: Vec<usize>,
    /// Requests served. Only grows.
    pub alloc_objects: u64,
    /// Bytes requested in them. Only grows.
    pub alloc_space: u64,
    /// Blocks that are live. Goes up and down.
    pub inuse_objects: u64,
    /// Bytes requested in live blocks. Goes up and down.
    pub inuse_space: u64,
}

/// Returns the profile so far: for each place, how much was allocated there in all, and how much of that is live.
///
/// The profile is of one moment between the call and the return. This allocates; its own requests are not sampled.
///
/// # Panics
/// If there is no memory for the profile.
#[must_use]
pub fn snapshot() -> Profile {
    let _quiet = Quiet::begin();
    // Copied to memory that the system maps: the holder of the lock must not use the allocator (Index invariant 1).
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

/// Makes the sample of a request of `bytes` that is due: its backtrace, empty if it is not known, and its weight.
///
/// `None` for a request of 0 bytes, for one of the profiler's own, and if there is no memory even for the empty
/// backtrace. The caller holds no lock.
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
