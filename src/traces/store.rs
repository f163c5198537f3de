//! The store of backtraces: each is kept once.
//!
//! ```text
//!   buckets, 4 bytes each | records: next and length and hash, 8 bytes | counts, of the profiler | addresses of code | ...
//! ```
//! Memory of its own, reserved at the first backtrace, opened in steps, bounded, never given back.
//!
//! Trace store invariant 1: the holder of the lock alone writes.
//! Trace store invariant 2: a record is never changed once a bucket leads to it, but for its counts.
//! Trace store invariant 3: words are counted as used before they are written, so that a fork in between leaves at most
//! a gap.
//!
//! # Ordering
//! * **P** (publish): the store to a bucket is `Release`, as is that of the start of the memory.
//! * **F** (find): the load of either is `Acquire` and pairs with P: who finds a record sees it whole.

use super::id::{MOST_FRAMES, TraceId};
use crate::os;
use crate::sync::{AtomicU32, Lock};
use core::ptr::{self, NonNull};
#[cfg(feature = "profile")]
use core::sync::atomic::AtomicU64;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use static_assertions::const_assert;

/// Addresses of the store: so many bytes of backtraces are kept, and no more.
const STORE_BYTES: usize = 64 << 20;
/// A power of two.
const BUCKETS: usize = 1 << 16;
const BUCKETS_BYTES: usize = BUCKETS * size_of::<AtomicU32>();
/// Opened at once, a multiple of the system's pages.
const STEP_BYTES: usize = 1 << 20;
const WORDS: usize = (STORE_BYTES - BUCKETS_BYTES) / size_of::<u64>();

/// Words of a record between its first and the addresses.
const COUNTS: usize = if cfg!(feature = "profile") { 2 } else { 0 };

const_assert!(BUCKETS.is_power_of_two() && STORE_BYTES % STEP_BYTES == 0);
// Numbers fit, and a length fits into a byte.
const_assert!(WORDS < u32::MAX as usize && MOST_FRAMES < 1 << 8);

/// The backtraces seen so far.
pub(crate) struct TraceStore {
    lock: Lock,
    /// Null until there is memory. Orderings P and F.
    start: AtomicPtr<AtomicU32>,
    /// Words of records (Trace store invariant 3). Relaxed: under the lock.
    used: AtomicUsize,
    /// Bytes that are open. Relaxed: under the lock.
    open: AtomicUsize,
}

/// The backtraces.
pub(crate) static TRACES: TraceStore = TraceStore::new();

/// The store's memory, whose buckets are open.
#[derive(Clone, Copy)]
struct StoreMemory {
    start: NonNull<AtomicU32>,
}

impl StoreMemory {
    fn bucket(&self, hash: u64) -> &'static AtomicU32 {
        // SAFETY: there are so many buckets.
        let bucket = unsafe { self.start.add(hash as usize % BUCKETS) };
        // SAFETY: they are open, for ever, and were zero at first.
        unsafe { bucket.as_ref() }
    }

    fn word(&self, word: usize) -> NonNull<u64> {
        debug_assert!(word < WORDS);
        // SAFETY: inside the reservation, behind the buckets.
        unsafe { self.start.cast::<u64>().add(BUCKETS / 2 + word) }
    }

    /// The first word of a record: the number of the next one in its low half, what tells records apart in its high
    /// one.
    fn head(&self, id: TraceId) -> u64 {
        // SAFETY: Trace store invariant 2.
        unsafe { self.word(id.get() as usize - 1).read() }
    }

    fn frames(&self, id: TraceId) -> &'static [usize] {
        let length = (self.head(id) >> 32) as usize % (1 << 8);
        let first = self.word(id.get() as usize + COUNTS);
        // SAFETY: Trace store invariant 2: so many words follow the first and the counts.
        unsafe { core::slice::from_raw_parts(first.as_ptr().cast(), length) }
    }

    #[cfg(feature = "profile")]
    fn counts(&self, id: TraceId) -> [&'static AtomicU64; COUNTS] {
        // SAFETY: they follow the first word, were zero at first, and are used as atomics only.
        core::array::from_fn(|number| unsafe { self.word(id.get() as usize + number).cast().as_ref() })
    }

    fn find(&self, hash: u64, frames: &[usize]) -> Option<TraceId> {
        // Ordering F.
        let mut next = self.bucket(hash).load(Ordering::Acquire);
        while let Some(id) = TraceId::new(next) {
            let head = self.head(id);
            if head >> 32 == mark(hash, frames) && self.frames(id) == frames {
                return Some(id);
            }
            next = head as u32;
        }
        None
    }
}

/// What a record's first word holds above the number of the next: part of the hash, and the length.
fn mark(hash: u64, frames: &[usize]) -> u64 {
    hash >> 40 << 8 | frames.len() as u64
}

fn hash(frames: &[usize]) -> u64 {
    let mix = |hash: u64, frame: &usize| (hash.rotate_left(5) ^ *frame as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let hash = frames.iter().fold(0, mix);
    hash ^ hash >> 32
}

impl TraceStore {
    pub(crate) const fn new() -> Self {
        Self {
            lock: Lock::new(),
            start: AtomicPtr::new(ptr::null_mut()),
            used: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        }
    }

    fn memory(&self) -> Option<StoreMemory> {
        // Ordering F.
        NonNull::new(self.start.load(Ordering::Acquire)).map(|start| StoreMemory { start })
    }

    /// The number of this backtrace, which is kept now if it is new. `None` if there is no more room.
    pub(crate) fn insert(&self, frames: &[usize]) -> Option<TraceId> {
        let hash = hash(frames);
        if let Some(id) = self.memory().and_then(|memory| memory.find(hash, frames)) {
            return Some(id);
        }
        // In a child of a fork nothing has to be mended if another thread held it (Trace store invariants 2 and 3).
        let _guard = self.lock.lock();
        let memory = self.memory().or_else(|| self.map())?;
        if let Some(id) = memory.find(hash, frames) {
            return Some(id);
        }
        let first = self.used.load(Ordering::Relaxed);
        let end = first + 1 + COUNTS + frames.len();
        if end > WORDS || !self.open(memory, BUCKETS_BYTES + end * size_of::<u64>()) {
            return None;
        }
        self.used.store(end, Ordering::Relaxed);
        let bucket = memory.bucket(hash);
        let next = u64::from(bucket.load(Ordering::Relaxed));
        // SAFETY: open, and nobody else's (Trace store invariant 1).
        unsafe { memory.word(first).write(mark(hash, frames) << 32 | next) };
        for (word, frame) in (first + 1 + COUNTS..).zip(frames) {
            // SAFETY: as above.
            unsafe { memory.word(word).write(*frame as u64) };
        }
        let id = first as u32 + 1;
        // Ordering P.
        bucket.store(id, Ordering::Release);
        TraceId::new(id)
    }

    /// Reserves the memory, with the buckets open.
    #[cold]
    fn map(&self) -> Option<StoreMemory> {
        let start = os::reserve(STORE_BYTES)?;
        let memory = StoreMemory { start: start.cast() };
        self.open.store(0, Ordering::Relaxed);
        if !self.open(memory, BUCKETS_BYTES) {
            // SAFETY: just reserved, and nobody uses it.
            unsafe { os::unreserve(start, STORE_BYTES) };
            return None;
        }
        // Ordering P.
        self.start.store(memory.start.as_ptr(), Ordering::Release);
        Some(memory)
    }

    /// Sees to it that so many bytes are open.
    fn open(&self, memory: StoreMemory, bytes: usize) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        if bytes <= open {
            return true;
        }
        // SAFETY: the end of what is open lies inside the reservation.
        let end = unsafe { memory.start.cast::<u8>().add(open) };
        let step = bytes.next_multiple_of(STEP_BYTES) - open;
        // SAFETY: inside the reservation, since that is a multiple of the step.
        let is_open = unsafe { os::open(end, step) };
        if is_open {
            self.open.store(open + step, Ordering::Relaxed);
        }
        is_open
    }

    /// Adds to what was counted of a backtrace: objects and bytes. The caller holds the lock that all who call this
    /// hold.
    #[cfg(feature = "profile")]
    pub(crate) fn count(&self, id: TraceId, objects: f64, bytes: f64) {
        let Some(memory) = self.memory() else { return };
        for (count, more) in memory.counts(id).into_iter().zip([objects, bytes]) {
            // Relaxed: who reads them holds that lock too.
            let sum = f64::from_bits(count.load(Ordering::Relaxed)) + more;
            count.store(sum.to_bits(), Ordering::Relaxed);
        }
    }

    /// Tells each backtrace with what was counted of it. The caller holds the lock of those who [`count`](Self::count).
    #[cfg(feature = "profile")]
    pub(crate) fn each_count(&self, mut each: impl FnMut(TraceId, f64, f64) -> Option<()>) -> Option<()> {
        let Some(memory) = self.memory() else { return Some(()) };
        for bucket in 0..BUCKETS {
            // Ordering F.
            let mut next = memory.bucket(bucket as u64).load(Ordering::Acquire);
            while let Some(id) = TraceId::new(next) {
                let [objects, bytes] = memory.counts(id).map(|count| f64::from_bits(count.load(Ordering::Relaxed)));
                if objects > 0.0 {
                    each(id, objects, bytes)?;
                }
                next = memory.head(id) as u32;
            }
        }
        Some(())
    }

    pub(crate) fn frames(&self, id: TraceId) -> &'static [usize] {
        self.memory().map_or(&[], |memory| memory.frames(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_store_keeps_each_backtrace_once() {
        let store: &'static TraceStore = Box::leak(Box::new(TraceStore::new()));
        let trace = |number: usize| (0..number % 9).map(move |frame| frame * number + 1).collect::<Vec<_>>();
        let of_thread = || (0..20_000).map(|number| (trace(number), store.insert(&trace(number)).unwrap()));
        let all: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| of_thread().collect::<Vec<_>>())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let ids: BTreeMap<_, _> = all[0].iter().cloned().collect();
        for (trace, id) in all.iter().flatten() {
            assert_eq!(ids[trace], *id);
            assert_eq!(store.frames(*id), trace);
        }
    }

    #[test]
    fn a_full_store_takes_no_more_and_keeps_what_it_has() {
        let store: &'static TraceStore = Box::leak(Box::new(TraceStore::new()));
        let first = store.insert(&[1, 2, 3]).unwrap();
        store.used.store(WORDS - 3 - COUNTS, Ordering::Relaxed);
        assert_eq!(store.insert(&[1, 2, 4]), None);
        let last = store.insert(&[7, 8]).unwrap();
        assert_eq!(store.insert(&[]), None);
        assert_eq!((store.insert(&[1, 2, 3]), store.insert(&[7, 8])), (Some(first), Some(last)));
        assert_eq!((store.frames(first), store.frames(last)), (&[1, 2, 3][..], &[7, 8][..]));
    }
}
