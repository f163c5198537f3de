//! The state of the shared pools, which their lock guards: how far the region is open, the arenas without an owner, and
//! the heaps without a thread.
//!
//! # Huge pages
//! A huge page makes the first touch of memory cheap. It also needs only one entry for 2 MiB in the processor's cache
//! of addresses (TLB). But if a huge page is used in part, the rest of it is wasted. So heaps of less than
//! [`CHUNKS_FROM`] arenas have small pages. Larger heaps share chunks: eight arenas that fill a huge page, used one
//! after the other.
//!
//! A chunk begins with small pages. The pages are joined to a huge page as soon as the unused rest of the chunk is
//! small beside the heap that takes the next arena: at most one part in [`WASTE`]. A heap of 2 MiB has the pages joined
//! when it takes the sixth arena of its first chunk. For a heap of 8 MiB the rest may be a whole chunk, so it gets the
//! huge page before the first touch. In the child of a fork, a heap counts only its arenas since the fork: the others
//! share their memory with the parent.
//!
//! The region forbids the system to make huge pages there by itself, and each of the two steps above lifts this for one
//! moment. So memory that was released stays released; later it is used again in small pages. A chunk may come back if
//! another thread begins to join its pages just before the release. The system's general setting
//! (`/sys/kernel/mm/transparent_hugepage/enabled`) decides only whether there are huge pages at all: it is read once,
//! when the region is reserved.
//!
//! The system keeps the whole of a huge page of which a part is given back. So a release splits such pages. It cannot
//! split a page that the child of a fork shares; a release after the child's end does, if the arena still has free
//! pools.

use super::parked::ParkedHeaps;
use super::view::View;
use crate::heap::{Heap, Magazine, OwnedHeap};
use crate::region::{ARENAS_PER_CHUNK, ArenaId, HeapKind, NONE, Region, Slot};
use crate::sync::{Ordering, Stack, StackLinks};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::compiler_fence;

/// Arenas opened in the first step: a chunk. Later steps are multiples of this number, so that chunks are opened as a
/// whole. A step is smaller only if the system refuses more.
const FIRST_STEP: usize = ARENAS_PER_CHUNK;

/// Most arenas opened in one step: 64 MiB. A system without overcommit has to promise all the memory that is opened.
const LARGEST_STEP: usize = 256;

/// Number of arenas from which on a heap takes its arenas from a chunk: 2 MiB.
const CHUNKS_FROM: usize = 8;

/// Share of its memory that a heap may waste by a huge page: one part of this number.
const WASTE: usize = 4;

/// Number of requests for memory that are not passed on to the system after it has refused one. Otherwise each small
/// request would cost several system calls as long as there is no memory.
const WAIT_AFTER_REFUSAL: u32 = 63;

/// Magazines that a heap gets at once: those of one 4 KiB page.
const MAGAZINES_AT_ONCE: usize = 4;

const _: () = assert!(MAGAZINES_AT_ONCE * size_of::<Magazine>() == 4096, "they fill one page of 4 KiB");

/// What is to be done about pages after an arena was taken. Each is about a chunk, given by its first arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PageWork {
    Nothing,
    /// A huge page is put into the chunk. Its first arena is the one that was taken.
    Put(ArenaId),
    /// The small pages of the chunk are joined.
    Join(ArenaId),
}

impl PageWork {
    /// Does it.
    pub(super) fn run(self, region: &Region) {
        match self {
            Self::Nothing => {}
            // SAFETY: the chunk was carved, so it is open. The caller has just got its first arena, and has not used
            // it.
            Self::Put(first) => unsafe { region.put_huge_page(first) },
            // SAFETY: the chunk was carved, so it is open.
            Self::Join(first) => unsafe { region.join_pages(first) },
        }
    }
}

/// The state that the lock guards.
pub(super) struct State {
    /// Arenas carved from the region so far; each is owned by a heap, on the shared list, or part of `chunk`.
    pub(super) carved: usize,
    /// Arenas whose memory is open.
    pub(super) open: usize,
    /// Number of requests for memory that are still to be refused without asking the system.
    wait: u32,
    /// The shared list: wholly free arenas without an owner.
    pub(super) free_arenas: Stack<ArenaId>,
    /// The arenas of the newest chunk that no heap has had yet. They have no owner: the holder of the lock owns their
    /// records.
    pub(super) chunk: Range<u32>,
    /// Whether the newest chunk has small pages that may be joined.
    is_chunk_small: bool,
    /// Number of releases that run now.
    releases: usize,
    /// Arenas carved before the fork that made this process; 0 if no fork did. Those of them that heaps use share their
    /// memory with the parent.
    carved_before_fork: usize,
    /// Heaps whose memory is open. The first place is reserved for the stragglers' heap, so that there is always room
    /// for that heap.
    pub(super) heaps: usize,
    pub(super) parked: ParkedHeaps,
    /// Places of private heaps among `heaps`.
    pub(super) private_places: usize,
    /// The generation of the thread that took the lock last.
    pub(super) generation: u32,
    /// Heaps that were made before the fork that made this process; 0 if no fork did.
    heaps_before_fork: usize,
    /// Magazines given to heaps so far.
    magazines: usize,
    /// Magazines whose memory is open.
    pub(super) magazines_open: usize,
    pub(super) stragglers: Option<NonNull<Heap>>,
    /// Whether a fork has left the heap in the reserved place half-changed. Then the place is not used any more.
    pub(super) is_reserved_place_lost: bool,
    /// Places of stragglers' heaps among `heaps`: the reserved one, and those made after one was lost.
    pub(super) straggler_places: usize,
}

// SAFETY: the pointers are to heaps, which are never unmapped, and which any thread may own (Heap invariant 1).
unsafe impl Send for State {}

impl State {
    pub(super) const fn new() -> Self {
        Self {
            carved: 0,
            open: 0,
            wait: 0,
            free_arenas: Stack::new(),
            chunk: 0..0,
            is_chunk_small: false,
            releases: 0,
            carved_before_fork: 0,
            heaps: 0,
            parked: ParkedHeaps::new(),
            private_places: 0,
            generation: 0,
            heaps_before_fork: 0,
            magazines: 0,
            magazines_open: 0,
            stragglers: None,
            is_reserved_place_lost: false,
            straggler_places: 0,
        }
    }

    /// Notes the generation of the thread that has taken the lock. Returns whether it is new: then a fork has made this
    /// process, and all heaps and arenas so far are those of the parent.
    pub(super) fn note_generation(&mut self, generation: u32) -> bool {
        let is_new = self.generation != generation;
        if is_new {
            (self.generation, self.heaps_before_fork) = (generation, self.heaps);
            // Joining would copy the part of the chunk that the parent has used.
            (self.carved_before_fork, self.is_chunk_small, self.releases) = (self.carved, false, 0);
        }
        is_new
    }

    /// A view for a check or a search.
    pub(super) fn view<'a>(&self, region: Region, own: Option<OwnedHeap<'a>>) -> View<'a> {
        View {
            region,
            carved: self.carved,
            open: self.open,
            heaps: self.heaps,
            magazines: self.magazines,
            free_arenas: self.free_arenas.top().map_or(NONE, |arena| arena.0),
            free_arena_count: self.free_arenas.length(),
            chunk_arenas: self.chunk.len(),
            parked_lists: self.parked.check(self.heaps.saturating_sub(self.straggler_places)),
            heaps_before_fork: self.heaps_before_fork,
            own,
        }
    }

    /// Mends the state after a fork. Gives up all that another thread may have left half-changed: the lists, and the
    /// arenas, magazines and heaps that are open but not in use. Blocks stay where they are, and are freed as before.
    pub(super) fn give_up_lists(&mut self, region: Option<&Region>) {
        let Some(region) = region else {
            // The fork came while another thread was starting the pools. This process starts them anew.
            (self.heaps, self.straggler_places, self.private_places) = (0, 0, 0);
            return;
        };
        self.free_arenas = Stack::new();
        (self.chunk, self.is_chunk_small) = (0..0, false);
        self.parked = ParkedHeaps::new();
        self.carved = self.open;
        self.magazines = self.magazines_open;
        if self.stragglers.is_none() && !self.is_reserved_place_lost && self.heaps > 0 {
            // SAFETY: the place has been open since the start, and a thread that was making a heap in it is gone.
            unsafe { Heap::clear(region.heap(0)) };
        }
        if self.heaps < region.max_heaps() && region.open_heaps(self.heaps, self.heaps + 1) {
            // SAFETY: the place is open, and a thread that was making a heap in it is gone.
            unsafe { Heap::clear(region.heap(self.heaps)) };
            self.heaps += 1;
        }
    }

    /// Makes a new heap; `None` if there is no place or no memory for it.
    pub(super) fn make_heap(&mut self, region: &Region, kind: HeapKind) -> Option<NonNull<Heap>> {
        // Private heaps get at most half of the places, since the place of a private heap never serves a thread.
        let is_for_threads = kind == HeapKind::Private && self.private_places >= region.max_heaps() / 2;
        if is_for_threads
            || self.heaps == region.max_heaps()
            || !self.ask(|state| region.open_heaps(state.heaps, state.heaps + 1))
        {
            return None;
        }
        // SAFETY: just opened, and the index grows with each heap.
        let heap = unsafe { Heap::create(region, self.heaps, kind) };
        // The heap first: a fork in between must not copy a count that is ahead of the heaps.
        compiler_fence(Ordering::Release);
        self.heaps += 1;
        self.private_places += usize::from(kind == HeapKind::Private);
        Some(heap)
    }

    /// The stragglers' heap, made in its reserved place at the first call.
    pub(super) fn stragglers_heap(&mut self, region: &Region) -> Option<NonNull<Heap>> {
        if self.stragglers.is_none() {
            self.stragglers = if self.is_reserved_place_lost {
                let made = self.make_heap(region, HeapKind::Threads);
                self.straggler_places += usize::from(made.is_some());
                made
            } else {
                // SAFETY: `started` opened the place, and nothing else is made there.
                Some(unsafe { Heap::create(region, 0, HeapKind::Threads) })
            };
        }
        self.stragglers
    }

    /// Takes an arena from the shared list, else a new one, for a heap that has `owned` arenas. Also says what is to be
    /// done about pages, without the lock.
    pub(super) fn take_arena(&mut self, region: &Region, owned: usize) -> Option<(ArenaId, PageWork)> {
        if let Some(arena) = self.free_arenas.pop(region) {
            return Some((arena, PageWork::Nothing));
        }
        let owned = owned.min(self.carved - self.carved_before_fork);
        if region.has_huge_chunks() && owned >= CHUNKS_FROM {
            if self.chunk.is_empty() {
                self.carve_chunk(region);
            }
            let work = self.choose_pages(owned);
            if let Some(number) = self.chunk.next() {
                return Some((ArenaId(number), work));
            }
        }
        if self.carved == self.open {
            self.ask(|state| state.open_more(region));
        }
        if self.carved < self.open {
            self.carved += 1;
            return Some((ArenaId(self.carved as u32 - 1), PageWork::Nothing));
        }
        // Light heaps leave the chunk to heavy ones as long as there is anything else.
        self.chunk.next().map(|number| (ArenaId(number), PageWork::Nothing))
    }

    /// Carves a chunk, if the region and the system have room for a whole one. The arenas before it go to the shared
    /// list.
    fn carve_chunk(&mut self, region: &Region) {
        let first = self.carved.next_multiple_of(ARENAS_PER_CHUNK);
        let end = first + ARENAS_PER_CHUNK;
        if end > region.max_arenas() {
            return;
        }
        if end > self.open && self.wait == 0 {
            self.ask(|state| state.open_more(region));
        }
        if end > self.open {
            return;
        }
        let arena = |number| ArenaId(number as u32);
        (self.carved..end).for_each(|number| region.arena_record(arena(number)).set_wholly_free());
        // The list hands out the lowest first.
        (self.carved..first).rev().for_each(|number| self.free_arenas.push(region, arena(number)));
        self.carved = end;
        self.chunk = first as u32..end as u32;
        self.is_chunk_small = true;
    }

    /// Decides about the pages of the chunk. A heap with `owned` arenas is going to take its next arena.
    fn choose_pages(&mut self, owned: usize) -> PageWork {
        let is_wasteful = self.chunk.len() * WASTE > owned;
        if !self.is_chunk_small || is_wasteful || self.releases > 0 {
            return PageWork::Nothing;
        }
        self.is_chunk_small = false;
        let first = ArenaId(self.chunk.end - ARENAS_PER_CHUNK as u32);
        if self.chunk.len() == ARENAS_PER_CHUNK { PageWork::Put(first) } else { PageWork::Join(first) }
    }

    /// Begins a release: until [`end_release`](Self::end_release) no pages are joined, since that would bring memory
    /// back that the release has given away.
    pub(super) fn begin_release(&mut self, region: &Region) {
        self.releases += 1;
        self.end_chunk(region);
    }

    pub(super) fn end_release(&mut self, region: &Region) {
        // In the child of a fork the count begins anew.
        self.releases = self.releases.saturating_sub(1);
        self.end_chunk(region);
    }

    /// Puts the rest of the chunk on the shared list. Its pages stay as they are.
    fn end_chunk(&mut self, region: &Region) {
        while let Some(number) = self.chunk.next_back() {
            self.free_arenas.push(region, ArenaId(number));
        }
        self.is_chunk_small = false;
    }

    /// Number of arenas without an owner.
    pub(super) fn unowned_arenas(&self) -> usize {
        self.free_arenas.length() + self.chunk.len()
    }

    /// Runs `open`, which asks the system for memory, unless the system has refused some lately. Returns whether there
    /// is more memory now.
    fn ask(&mut self, open: impl FnOnce(&mut Self) -> bool) -> bool {
        if self.wait > 0 {
            self.wait -= 1;
            return false;
        }
        let is_open = open(self);
        if !is_open {
            self.wait = WAIT_AFTER_REFUSAL;
        }
        is_open
    }

    /// Opens more arenas: an eighth of those that are open, within bounds; fewer if the system refuses. Returns false
    /// if it opened none.
    fn open_more(&mut self, region: &Region) -> bool {
        let room = region.max_arenas() - self.open;
        let mut step = (self.open / 8).clamp(FIRST_STEP, LARGEST_STEP).next_multiple_of(FIRST_STEP).min(room);
        while step > 0 {
            if region.open_arenas(self.open, self.open + step) {
                self.open += step;
                return true;
            }
            step /= 2;
        }
        false
    }

    /// Calls `each` with the top of each new magazine; not at all if there is no memory for them.
    pub(super) fn take_magazines(&mut self, region: &Region, each: &mut dyn FnMut(*mut Slot)) {
        let end = (self.magazines + MAGAZINES_AT_ONCE).min(region.max_magazines());
        if end > self.magazines_open {
            if !self.ask(|state| region.open_magazines(state.magazines_open, end)) {
                return;
            }
            self.magazines_open = end;
        }
        // The lowest magazine comes last, so the heap uses it first.
        (self.magazines..end).rev().for_each(|index| each(region.magazine(index)));
        self.magazines = end;
    }
}

impl StackLinks<ArenaId> for Region {
    fn below(&self, arena: ArenaId) -> Option<ArenaId> {
        let below = self.arena_record(arena).next().get();
        (below != NONE).then_some(ArenaId(below))
    }

    fn set_below(&self, arena: ArenaId, below: Option<ArenaId>) {
        self.arena_record(arena).next().set(below.map_or(NONE, |arena| arena.0));
    }
}
