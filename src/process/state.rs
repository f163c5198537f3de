//! The state of the shared pools, which their lock guards: how far the region is open, the arenas without an owner, and
//! the heaps without a thread.

use super::parked::ParkedHeaps;
use super::view::View;
use crate::heap::{Heap, Magazine, OwnedHeap};
use crate::region::{ArenaId, HeapKind, NONE, Region, Slot};
use crate::sync::{Ordering, Stack, StackLinks};
use core::ptr::NonNull;
use core::sync::atomic::compiler_fence;

/// Arenas opened in the first step: 2 MiB of addresses. Later steps are multiples of this number, so that huge pages
/// are opened as a whole. A step is smaller only if the system refuses more.
const FIRST_STEP: usize = 8;

/// Most arenas opened in one step: 64 MiB. A system without overcommit has to promise all the memory that is opened.
const LARGEST_STEP: usize = 256;

/// Number of requests for memory that are not passed on to the system after it has refused one. Otherwise each small
/// request would cost several system calls as long as there is no memory.
const WAIT_AFTER_REFUSAL: u32 = 63;

/// Magazines that a heap gets at once: those of one 4 KiB page.
const MAGAZINES_AT_ONCE: usize = 4;

const _: () = assert!(MAGAZINES_AT_ONCE * size_of::<Magazine>() == 4096, "they fill one page of 4 KiB");

/// The state that the lock guards.
pub(super) struct State {
    /// Arenas carved from the region so far; each is owned by a heap or on the shared list.
    pub(super) carved: usize,
    /// Arenas whose memory is open.
    pub(super) open: usize,
    /// Number of requests for memory that are still to be refused without asking the system.
    wait: u32,
    /// The shared list: wholly free arenas without an owner.
    pub(super) free_arenas: Stack<ArenaId>,
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

    /// Notes the generation of the thread that has taken the lock. A new generation means that a fork has made this
    /// process, and that all heaps so far were made before that fork.
    pub(super) fn note_generation(&mut self, generation: u32) {
        if self.generation != generation {
            (self.generation, self.heaps_before_fork) = (generation, self.heaps);
        }
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

    /// Takes an arena from the shared list, else carves a new one.
    pub(super) fn take_arena(&mut self, region: &Region) -> Option<ArenaId> {
        if let Some(arena) = self.free_arenas.pop(region) {
            return Some(arena);
        }
        if self.carved == self.open && !self.ask(|state| state.open_more(region)) {
            return None;
        }
        self.carved += 1;
        Some(ArenaId(self.carved as u32 - 1))
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
