//! The store of backtraces: each is kept once.
//!
//! ```text
//!   buckets, 4 bytes each | records: next and length and hash, 8 bytes | counts (profiler) | addresses of code | ...
//! ```
//! The store has memory of its own: reserved at the first backtrace, opened in steps, bounded, never given back.
//!
//! Trace store invariant 1: only the holder of the lock writes, except for the counts.
//! Trace store invariant 2: a record is never changed once a bucket leads to it, except for its counts.
//! Trace store invariant 3: words are counted as used before they are written, so that a fork in between leaves at most
//! a gap.
//!
//! # Ordering
//! * **P** (publish): the store to a bucket is `Release`; the store of the memory's start is `Release` too.
//! * **F** (find): the load of a bucket, or of the start, is `Acquire` and pairs with P: a thread that finds a record
//!   sees all of it.

use super::id::{MOST_FRAMES, TraceId};
use crate::os;
use crate::sync::{AtomicU32, Lock};
use core::ptr::{self, NonNull};
#[cfg(feature = "profile")]
use core::sync::atomic::AtomicU64;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes of addresses reserved for the store. When they are full, no new backtrace is kept.
const STORE_BYTES: usize = 64 << 20;
/// Number of buckets, a power of two.
const BUCKETS: usize = 1 << 16;
const BUCKETS_BYTES: usize = BUCKETS * size_of::<AtomicU32>();
/// Bytes that are opened in one step, a multiple of the system page.
const STEP_BYTES: usize = 1 << 20;
const WORDS: usize = (STORE_BYTES - BUCKETS_BYTES) / size_of::<u64>();

/// Words of the counts in a record. They lie between its first word and its addresses.
const COUNTS: usize = if cfg!(feature = "profile") { 2 } else { 0 };

const _: () = assert!(BUCKETS.is_power_of_two(), "a hash finds its bucket without a division");
const _: () = assert!(STORE_BYTES % STEP_BYTES == 0, "the store grows by whole steps");
const _: () = assert!(WORDS < u32::MAX as usize, "the number of a record fits into 32 bits");
const _: () = assert!(MOST_FRAMES < 1 << 8, "the length of a backtrace fits into a byte");

/// The backtraces seen so far.
pub(crate) struct TraceStore {
    lock: Lock,
    /// Null until there is memory. Orderings P and F.
    start: AtomicPtr<AtomicU32>,
    /// Words that records take (Trace store invariant 3). Relaxed: used under the lock.
    used: AtomicUsize,
    /// Bytes that are open. Relaxed: used under the lock.
    open: AtomicUsize,
}

/// The backtraces of the process.
pub(crate) static TRACES: TraceStore = TraceStore::new();

/// The store's memory, whose buckets are open.
#[derive(Clone, Copy)]
struct StoreMemory {
    start: NonNull<AtomicU32>,
}

impl StoreMemory {
    fn bucket(&self, hash: u64) -> &'static AtomicU32 {
        // SAFETY: the index is below the number of buckets, which lie at the start of the memory.
        let bucket = unsafe { self.start.add(hash as usize % BUCKETS) };
        // SAFETY: the buckets are open forever, and were zero at first.
        unsafe { bucket.as_ref() }
    }

    fn word(&self, word: usize) -> NonNull<u64> {
        debug_assert!(word < WORDS);
        // SAFETY: inside the reservation, behind the buckets.
        unsafe { self.start.cast::<u64>().add(BUCKETS / 2 + word) }
    }

    /// The first word of a record. Its low half is the number of the next record of the bucket, or 0; its high half is
    /// the [`mark`].
    fn head(&self, id: TraceId) -> u64 {
        // SAFETY: Trace store invariant 2.
        unsafe { self.word(id.get() as usize - 1).read() }
    }

    fn frames(&self, id: TraceId) -> &'static [usize] {
        let length = (self.head(id) >> 32) as usize % (1 << 8);
        let first = self.word(id.get() as usize + COUNTS);
        // SAFETY: Trace store invariant 2: `length` words follow the first word and the counts.
        unsafe { core::slice::from_raw_parts(first.as_ptr().cast(), length) }
    }

    #[cfg(feature = "profile")]
    fn counts(&self, id: TraceId) -> [&'static AtomicU64; COUNTS] {
        // SAFETY: the counts follow the first word, were zero at first, and are used as atomics only.
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

/// The high half of a record's first word: part of the hash, and the length.
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

    /// The number of this backtrace. A new one is put into the store. `None` if the store has no room or memory for it.
    pub(crate) fn insert(&self, frames: &[usize]) -> Option<TraceId> {
        let hash = hash(frames);
        if let Some(id) = self.memory().and_then(|memory| memory.find(hash, frames)) {
            return Some(id);
        }
        // Nothing has to be mended if a fork copied the lock while another thread held it (Trace store invariants 2 and
        // 3).
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
        // SAFETY: open, and this thread holds the lock (Trace store invariant 1).
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

    /// Reserves the memory and opens the buckets. `None` if the system refuses.
    #[cold]
    fn map(&self) -> Option<StoreMemory> {
        let start = os::reserve(STORE_BYTES)?;
        let memory = StoreMemory { start: start.cast() };
        self.open.store(0, Ordering::Relaxed);
        if !self.open(memory, BUCKETS_BYTES) {
            // SAFETY: just reserved, and no thread uses it.
            unsafe { os::unreserve(start, STORE_BYTES) };
            return None;
        }
        // Ordering P.
        self.start.store(memory.start.as_ptr(), Ordering::Release);
        Some(memory)
    }

    /// Opens the first `bytes` bytes, as far as they are not open. Returns false if the system refuses.
    fn open(&self, memory: StoreMemory, bytes: usize) -> bool {
        let open = self.open.load(Ordering::Relaxed);
        if bytes <= open {
            return true;
        }
        // SAFETY: the end of what is open lies inside the reservation.
        let end = unsafe { memory.start.cast::<u8>().add(open) };
        let step = bytes.next_multiple_of(STEP_BYTES) - open;
        // SAFETY: inside the reservation, whose size is a multiple of the step.
        let is_open = unsafe { os::open(end, step) };
        if is_open {
            self.open.store(open + step, Ordering::Relaxed);
        }
        is_open
    }

    /// Adds objects and bytes to the counts of a backtrace. The caller holds the lock that guards the counts: that of
    /// the index of large blocks.
    #[cfg(feature = "profile")]
    pub(crate) fn count(&self, id: TraceId, objects: f64, bytes: f64) {
        let Some(memory) = self.memory() else { return };
        for (count, more) in memory.counts(id).into_iter().zip([objects, bytes]) {
            // Relaxed: readers hold the same lock.
            let sum = f64::from_bits(count.load(Ordering::Relaxed)) + more;
            count.store(sum.to_bits(), Ordering::Relaxed);
        }
    }

    /// Calls `each` with the number, objects and bytes of each backtrace that was counted. Stops and returns `None` if
    /// `each` does. The caller holds the lock that [`count`](Self::count) names.
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
