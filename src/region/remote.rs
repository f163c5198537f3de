//! Remote frees: how a block that another thread frees comes back to the heap that owns its pool.
//!
//! There is one atomic word for every 512 bytes of the region (the *remote map*), a bit for every 8 bytes, and one link
//! for every word. A thread that frees blocks of another heap *posts* them: it sets their bits in their word. If the
//! word was zero before, the thread also puts the word on the owner's *pending list*. The owner *collects*: it takes
//! the whole list with one swap, and empties each word on it with another.
//!
//! ```text
//!   any thread                          owner
//!   P  fetch_or(word, bits) ── was 0?   T  swap(head, END)
//!        no: someone queued it, done         each word on the list, its link read first:
//!        yes: link := head              C  swap(word, 0): the blocks that came back
//!   Q         head: link -> word
//! ```
//!
//! # Why nothing is lost, queued twice, or taken too early
//! Remote invariant 1: a word is not zero exactly while it is in one of three states: a thread is about to put it on
//! its owner's list, it is on that list, or the owner has taken it off and not collected it yet. A word is in only one
//! of these states at a time, and is never on a list twice. The word itself is the mark "on the list": there is no
//! second flag that could disagree with it, and no end mark that could be mistaken for "not on a list".
//! Remote invariant 2: only the owner empties a word, and only after taking it from the list. So the blocks of a word
//! stay uncollected between P and Q, and their pool is not wholly free. So neither the pool nor its owner changes
//! before the thread has queued the word.
//! Remote invariant 3: the link of a word is plain memory. From P to Q it belongs to the thread that found the word
//! zero; from T to C it belongs to the owner.
//!
//! # Ordering
//! * **P** (post): the `fetch_or` is `AcqRel`. Release publishes what the freeing thread last did with the blocks, and
//!   pairs with C. Acquire pairs with the C that left the word zero: the owner's read of the link comes before this
//!   thread's write to it.
//! * **Q** (queue): the compare-exchange of the head is `Release` and publishes the link; it pairs with T. Its failure
//!   and the load before it are `Relaxed`: a head is only written into a link, never followed by this thread.
//! * **T** (take): the swap is `Acquire` and pairs with the Q of every word on the list: each compare-exchange
//!   continues the release sequences of those that queued the earlier words. One swap takes the whole list, so there is
//!   no ABA.
//! * **C** (collect): the swap is `AcqRel`. Acquire pairs with each P that set a bit; Release pairs with the next P.

use crate::sync::{AtomicU32, AtomicU64, Exclusive, Ordering};

/// Marks the end of a pending list. No word has this index.
pub(crate) const END: u32 = u32::MAX;

/// The remote map and its links, found by the index of a word.
pub(crate) trait RemoteMap {
    /// The bits of blocks freed by other threads and not yet collected.
    fn word(&self, index: u32) -> &AtomicU64;
    /// Index of the next word on the pending list that this word is on.
    fn link(&self, index: u32) -> &Exclusive;
}

/// Error: some blocks were waiting as remote frees already, or were combined already. Holds their bits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AlreadyFree(pub(crate) u64);

/// List of the words with remote frees for one heap.
pub(crate) struct PendingList {
    head: AtomicU32,
}

impl PendingList {
    pub(crate) fn new() -> Self {
        Self { head: AtomicU32::new(END) }
    }

    /// Whether no word is on the list now. For threads other than the owner this is only a hint.
    pub(crate) fn is_empty(&self) -> bool {
        self.first() == END
    }

    /// Index of the word queued last, else [`END`]. For threads other than the owner this is only a hint. Relaxed: the
    /// check of the heap follows the links from here, and it is exact only while other threads are quiet.
    pub(crate) fn first(&self) -> u32 {
        self.head.load(Ordering::Relaxed)
    }

    fn queue(&self, map: &impl RemoteMap, index: u32) {
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            // SAFETY: Remote invariant 3: this thread found the word zero.
            unsafe { map.link(index).set(head) };
            // Ordering Q.
            match self.head.compare_exchange_weak(head, index, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Calls `collect` with the index and the bits of each word that was posted to this heap, up to `most` words. Only
    /// the owner may call this. `taken` keeps the words that are off the list and not collected yet, for the next call.
    /// It is [`END`] at first.
    pub(crate) fn collect(
        &self,
        map: &impl RemoteMap,
        taken: &mut u32,
        most: usize,
        mut collect: impl FnMut(u32, u64),
    ) {
        for _ in 0..most {
            if *taken == END {
                // Ordering T.
                *taken = self.head.swap(END, Ordering::Acquire);
            }
            let index = *taken;
            if index == END {
                return;
            }
            // The link is read before C. After C it may belong to a thread that posts.
            // SAFETY: Remote invariant 3: the word was on the list, and T made the link visible.
            *taken = unsafe { map.link(index).get() };
            // Ordering C.
            let bits = map.word(index).swap(0, Ordering::AcqRel);
            collect(index, bits);
        }
    }
}

/// Gives the blocks of `bits` in word `index` back to their owner. `owner` returns the pending list of that heap. It is
/// called only if the word has to be queued.
///
/// # Errors
/// [`AlreadyFree`] if one of the blocks was waiting already: a double free. The other bits are posted all the same.
pub(crate) fn post<'a>(
    map: &impl RemoteMap,
    index: u32,
    bits: u64,
    owner: impl FnOnce() -> &'a PendingList,
) -> Result<(), AlreadyFree> {
    // Ordering P.
    let before = map.word(index).fetch_or(bits, Ordering::AcqRel);
    if before == 0 {
        owner().queue(map, index);
    }
    if before & bits == 0 { Ok(()) } else { Err(AlreadyFree(before & bits)) }
}

/// Frees of blocks in one word that one thread has not posted yet. One atomic operation will post all of them.
#[derive(Clone, Copy)]
pub(crate) struct CombinedFrees {
    pub(crate) index: u32,
    pub(crate) bits: u64,
}

impl CombinedFrees {
    /// No frees.
    pub(crate) const NONE: Self = Self { index: END, bits: 0 };

    /// Adds the block of `bit` in word `index`. If earlier frees are in another word, returns those: they must be
    /// posted now.
    ///
    /// # Errors
    /// [`AlreadyFree`] if that block is combined already: a double free.
    pub(crate) fn add(&mut self, index: u32, bit: u64) -> Result<Option<Self>, AlreadyFree> {
        if self.index == index {
            if self.bits & bit != 0 {
                return Err(AlreadyFree(bit));
            }
            self.bits |= bit;
            return Ok(None);
        }
        let before = core::mem::replace(self, Self { index, bits: bit });
        Ok((before.index != END).then_some(before))
    }

    /// Takes the combined frees, if there are any.
    pub(crate) fn take(&mut self) -> Option<Self> {
        let before = core::mem::replace(self, Self::NONE);
        (before.index != END).then_some(before)
    }
}
