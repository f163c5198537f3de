//! Tests of the data that heaps share, in a region of four arenas.

use crate::figures::{Name, Stats};
use crate::geometry::{CLASS_STEP, POOL_BYTES, SizeClass};
use crate::heap::class_state::ClassState;
use crate::heap::magazine::count;
use crate::heap::{Heap, OwnedHeap, Supply};
use crate::observe::stats::stats_of;
use crate::observe::verify::check_of;
use crate::process::options::HugePages;
use crate::process::shared::{NoHeap, SharedState};
use crate::process::startup::RegionSetup;
use crate::process::state::PageWork;
use crate::region::ArenaId;
use core::ffi::c_void;
use core::ptr::NonNull;

unsafe extern "C" fn nothing(_: *mut c_void) {}

/// Setup of a region of 1 MiB.
fn small() -> RegionSetup {
    RegionSetup { region_bytes: 1 << 20, huge_pages: HugePages::Unset }
}

/// Shared pools in a region of 1 MiB: four arenas, 256 pools.
pub(crate) fn shared() -> &'static SharedState {
    Box::leak(Box::new(SharedState::new(small, nothing)))
}

pub(crate) fn heap(shared: &SharedState) -> (NonNull<Heap>, OwnedHeap<'static>) {
    let heap = shared.take_heap().unwrap();
    // SAFETY: just taken by this test.
    (heap, unsafe { Heap::owned_at(heap) })
}

/// Allocates `most` blocks, or fewer if the memory is used up.
pub(crate) fn allocate(shared: &SharedState, heap: OwnedHeap<'_>, bytes: usize, most: usize) -> Vec<*mut u8> {
    let class = SizeClass::of_block(bytes);
    let next = || {
        let cached = heap.head(class).pop();
        if cached.is_null() { heap.alloc(shared, class) } else { cached }
    };
    (0..most).map(|_| next()).take_while(|block| !block.is_null()).collect()
}

pub(crate) fn free(shared: &SharedState, heap: OwnedHeap<'_>, blocks: &[*mut u8]) {
    for block in blocks {
        heap.free(shared, *block, heap.region.offset_of(block.addr()).unwrap());
    }
}

fn consistent(shared: &SharedState) -> Stats {
    check_of(shared, None).unwrap();
    let stats = stats_of(shared);
    for class in &stats.classes {
        let blocks = class.pools * (POOL_BYTES as u64 / class.block_bytes);
        assert_eq!(class.live_blocks + class.cached_blocks + class.free_blocks, blocks, "{class:?}");
    }
    stats
}

#[test]
fn a_region_can_be_used_to_its_last_pool_and_again_by_another_class() {
    let shared = shared();
    let (_, heap) = heap(shared);
    for bytes in [256, 8, 104, 48] {
        let blocks = allocate(shared, heap, bytes, usize::MAX);
        let class = SizeClass::of_block(bytes);
        // Blocks in the magazines of other classes keep a few of the 256 pools in use.
        let pools = blocks.len() / class.blocks_per_pool();
        assert!(pools > 200 && pools <= 256, "{pools} pools of {bytes}");
        let mut addresses: Vec<_> = blocks.iter().map(|block| block.addr()).collect();
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= bytes), "blocks of {bytes} overlap");
        assert!(addresses.iter().all(|address| address % CLASS_STEP == 0));
        assert_eq!(consistent(shared).classes[class.index()].live_blocks, blocks.len() as u64);
        free(shared, heap, &blocks);
        assert_eq!(consistent(shared).small.live_blocks, 0);
    }
    assert_eq!(stats_of(shared).arenas.open, 4);
}

#[test]
fn a_parked_heap_keeps_its_magazines_and_is_taken_first() {
    let shared = shared();
    let (place, first) = heap(shared);
    let blocks = allocate(shared, first, 48, 100);
    free(shared, first, &blocks);
    let cached = stats_of(shared).small.cached_blocks;
    assert!(cached > 0);
    shared.park(place);
    assert_eq!((stats_of(shared).heaps.in_use, stats_of(shared).heaps.parked), (0, 1));
    let (again, second) = heap(shared);
    assert_eq!(again, place);
    assert_eq!(stats_of(shared).small.cached_blocks, cached);
    // The block freed last comes out first.
    assert_eq!(allocate(shared, second, 48, 1)[0], *blocks.last().unwrap());
}

#[test]
fn a_parked_heap_gives_its_arenas_to_who_needs_them() {
    let shared = shared();
    let (ended, heap_of_ended) = heap(shared);
    let (_, other) = heap(shared);
    // The first heap gets all arenas. One half of its blocks is freed before its thread ends, the other half after
    // that.
    let blocks = allocate(shared, heap_of_ended, 64, usize::MAX);
    assert!(allocate(shared, other, 64, 1).is_empty());
    let (early, late) = blocks.split_at(blocks.len() / 2);
    free(shared, heap_of_ended, early);
    shared.park(ended);
    let reused = allocate(shared, other, 64, usize::MAX);
    assert!(reused.len() * 10 > early.len() * 9, "{} of {}", reused.len(), early.len());
    free(shared, other, late);
    other.post_all();
    let reused_late = allocate(shared, other, 64, usize::MAX);
    assert!(reused_late.len() * 10 > late.len() * 9, "{} of {}", reused_late.len(), late.len());
    let stats = consistent(shared);
    assert_eq!(stats.small.live_blocks as usize, reused.len() + reused_late.len());
    assert_eq!(stats.small.remote_frees as usize, late.len());
    assert_eq!((stats.heaps.in_use, stats.heaps.parked, stats.small.waiting_blocks), (1, 1, 0));
}

const BYTES: usize = 48;

/// Returns two heaps, and many live blocks of the first.
fn owner_and_other(shared: &'static SharedState) -> (OwnedHeap<'static>, OwnedHeap<'static>, Vec<*mut u8>) {
    let ((_, owner), (_, other)) = (heap(shared), heap(shared));
    (owner, other, allocate(shared, owner, BYTES, 2000))
}

#[test]
fn blocks_that_go_round_need_no_post() {
    let shared = shared();
    let (owner, other, blocks) = owner_and_other(shared);
    let class = SizeClass::of_block(BYTES);
    let mut given = blocks[..100].to_vec();
    // Each heap in turn frees 50 blocks that the other gave, and the other gives 50 more.
    for _ in 0..100 {
        for (frees, gives) in [(other, owner), (owner, other)] {
            free(shared, frees, &given[..50]);
            given.drain(..50);
            given.extend(allocate(shared, gives, BYTES, 50));
            assert_eq!(consistent(shared).small.live_blocks, 2000);
        }
    }
    let of_both = |count: fn(&ClassState) -> u64| count(owner.class(class)) + count(other.class(class));
    let (remote_frees, adopted) = (of_both(|state| state.remote_frees.value()), of_both(|state| state.adopted.value()));
    assert!(remote_frees > 2000 && adopted * 4 > remote_frees * 3, "{adopted} of {remote_frees}");
    // The blocks of the owner go back to it when the other heap has no more use for them.
    free(shared, other, &given);
    other.settle(shared);
    owner.collect(usize::MAX);
    assert_eq!(consistent(shared).small.live_blocks, 1900);
}

#[test]
fn a_thread_comes_back_to_its_own_blocks() {
    let shared = shared();
    let (_, other, blocks) = owner_and_other(shared);
    let class = SizeClass::of_block(BYTES);
    let remote_frees = || other.class(class).remote_frees.value();
    free(shared, other, &blocks[..30]);
    // When the heap's first few own blocks are gone, it goes on with the foreign ones.
    while other.class(class).adopted.value() == 0 {
        assert_eq!(allocate(shared, other, BYTES, 1).len(), 1);
    }
    let pairs = |count| {
        for _ in 0..count {
            let block = allocate(shared, other, BYTES, 1);
            free(shared, other, &block);
        }
    };
    pairs(8 * 127);
    let before = remote_frees();
    assert!(before > 2 * 30, "{before}");
    pairs(1000);
    assert_eq!(remote_frees(), before);
    consistent(shared);
}

#[test]
fn a_thread_that_only_frees_keeps_few_of_others_blocks() {
    let shared = shared();
    let (owner, other, blocks) = owner_and_other(shared);
    for (freed, block) in (1..).zip(&blocks) {
        free(shared, other, &[*block]);
        let stats = consistent(shared);
        assert_eq!((stats.small.waiting_blocks, stats.small.remote_frees), (freed, freed));
    }
    owner.collect(usize::MAX);
    let held = consistent(shared).small.waiting_blocks;
    assert!(held <= 32, "{held}");
    other.post_all();
    owner.collect(usize::MAX);
    assert_eq!(consistent(shared).small.waiting_blocks, 0);
}

/// Two blocks of another heap are freed for each block that is allocated, so that the heap is never empty and never
/// flushes.
#[test]
fn what_is_known_of_others_blocks_stays_bounded() {
    let shared = shared();
    let ((_, owner), (_, other)) = (heap(shared), heap(shared));
    let class = SizeClass::of_block(256);
    let mut blocks = allocate(shared, owner, 256, 2000);
    let own = allocate(shared, other, 256, 64);
    free(shared, other, &own);
    let held = allocate(shared, other, 256, other.cached_blocks(class));
    other.class(class).let_go_round();
    for _ in 0..2000 {
        blocks.extend(allocate(shared, other, 256, 1));
        blocks.rotate_right(1);
        let freed = blocks.split_off(blocks.len() - 2);
        free(shared, other, &freed);
        blocks.extend(allocate(shared, owner, 256, 1));
        let (known, cached) = (other.class(class).cached_foreign(), other.cached_blocks(class));
        assert!(known <= 18 * 32, "{known} of {cached}");
    }
    free(shared, owner, &held);
    consistent(shared);
}

/// All blocks are free, and all are cached by heaps of ended threads that do not own them. One release finds all.
#[test]
fn one_release_finds_what_ended_threads_hold_of_each_other() {
    let shared = shared();
    let heaps: Vec<_> = (0..4).map(|_| heap(shared)).collect();
    let mut blocks: Vec<_> = heaps.iter().map(|(_, heap)| allocate(shared, *heap, BYTES, 2000)).collect();
    blocks.rotate_left(1);
    for ((place, heap), blocks) in heaps.into_iter().zip(blocks) {
        heap.class(SizeClass::of_block(BYTES)).let_go_round();
        free(shared, heap, &blocks);
        let more = allocate(shared, heap, BYTES, 200);
        free(shared, heap, &more);
        shared.park(place);
    }
    let released = shared.release(None);
    let stats = consistent(shared);
    assert_eq!((stats.small.live_blocks, stats.small.waiting_blocks, stats.small.cached_blocks), (0, 0, 0));
    assert_eq!((stats.arenas.free, stats.arenas.open), (4, 4), "{released:?}");
}

/// When the region is used up, a heap serves even the few blocks that it holds of another heap.
#[test]
fn the_last_blocks_are_those_of_others() {
    let shared = shared();
    let (_, owner) = heap(shared);
    let (_, other) = heap(shared);
    let own = allocate(shared, other, BYTES, 10);
    let blocks = allocate(shared, owner, BYTES, usize::MAX);
    let rest = allocate(shared, other, BYTES, usize::MAX);
    for _ in 0..20 {
        free(shared, other, &blocks[..7]);
        assert_eq!(allocate(shared, other, BYTES, 7).len(), 7);
    }
    assert_eq!(consistent(shared).small.live_blocks as usize, own.len() + blocks.len() + rest.len());
}

#[test]
fn adopted_blocks_may_stand_in_any_magazine() {
    let shared = shared();
    let (owner, other, blocks) = owner_and_other(shared);
    let class = SizeClass::of_block(BYTES);
    // The heap has a loaded and a previous magazine, both empty.
    let own = allocate(shared, other, BYTES, 3000);
    free(shared, other, &own[..200]);
    let held = allocate(shared, other, BYTES, other.cached_blocks(class));
    assert_eq!(other.cached_blocks(class), 0);
    // A full foreign magazine takes the place of the previous one, and the next one is posted.
    other.class(class).let_go_round();
    free(shared, other, &blocks[..300]);
    assert_eq!(other.class(class).adopted.value(), 127);
    assert_eq!(count(other.class(class).previous(), class), 127);
    assert_eq!(other.class(class).cached_foreign(), 127);
    // The adopted blocks move on to the depot, and from there to their owner.
    free(shared, other, &own[200..]);
    free(shared, other, &held);
    assert_eq!(other.class(class).cached_foreign(), 0);
    let more = allocate(shared, other, BYTES, 4000);
    free(shared, other, &more);
    consistent(shared);
    other.settle(shared);
    owner.collect(usize::MAX);
    let stats = consistent(shared);
    assert_eq!((stats.small.live_blocks, stats.small.waiting_blocks), (1700, 0));
}

#[test]
fn stragglers_share_a_heap_that_caches_nothing() {
    let shared = shared();
    let class = SizeClass::of_block(40);
    let alloc = || shared.with_stragglers(|heap| heap.alloc(shared, class)).unwrap();
    let blocks: Vec<_> = (0..500).map(|_| alloc()).collect();
    let (_, other) = heap(shared);
    let foreign = allocate(shared, other, 40, 10);
    let all: Vec<_> = blocks.iter().chain(&foreign).copied().collect();
    shared.with_stragglers(|heap| free(shared, heap, &all)).unwrap();
    let stats = consistent(shared);
    assert_eq!(stats.small.live_blocks, 0);
    assert_eq!((stats.small.frees, stats.small.remote_frees), (510, 10));
    // Ten blocks wait for the other heap. The blocks in its own magazine do not count as waiting.
    assert_eq!(stats.small.waiting_blocks, 10);
    assert_eq!((stats.heaps.in_use, stats.heaps.parked), (1, 0));
    other.collect(usize::MAX);
    assert_eq!(consistent(shared).small.waiting_blocks, 0);
}

#[test]
fn locks_are_held_while_what_they_guard_is_used() {
    let shared = shared();
    let mut during = None;
    assert_eq!(shared.with_stragglers(|_| shared.is_locked()), Some((false, true)));
    assert_eq!(shared.with_view(None, |_| shared.is_locked()), Some((true, true)));
    shared.take_magazines(&mut |_| during = Some(shared.is_locked()));
    assert_eq!(during, Some((true, false)));
    assert_eq!(shared.is_locked(), (false, false));
}

#[test]
fn without_a_region_there_is_no_heap() {
    let shared = &SharedState::new(small, nothing);
    shared.refuse_region();
    assert_eq!(shared.take_heap(), Err(NoHeap::NoRegion));
    assert!(shared.with_stragglers(|_| ()).is_none());
    assert_eq!(stats_of(shared).region.reserved_bytes, 0);
}

#[test]
fn without_a_key_threads_share_the_stragglers_heap() {
    let shared = &SharedState::new(small, nothing);
    shared.refuse_key();
    assert_eq!(shared.take_heap(), Err(NoHeap::Share));
    assert!(shared.with_stragglers(|_| ()).is_some());
}

#[test]
fn a_heap_that_others_free_to_all_the_time_does_not_hide_the_rest() {
    let shared = shared();
    let (busy, heap_of_busy) = heap(shared);
    let trickle = allocate(shared, heap_of_busy, 8, 200);
    let (rich, heap_of_rich) = heap(shared);
    let (_, other) = heap(shared);
    let blocks = allocate(shared, heap_of_rich, 256, usize::MAX);
    shared.park(rich);
    shared.park(busy);
    // Both parked heaps settle, and have no arena to give up yet.
    assert!(shared.take_arena(0).is_none() && shared.take_arena(0).is_none());
    free(shared, other, &blocks);
    other.post_all();
    // The first block stays live. Otherwise the busy heap's arena would become free and would be found.
    for block in &trickle[1..] {
        free(shared, other, &[*block]);
        other.post_all();
        if shared.take_arena(0).is_some() {
            return;
        }
    }
    panic!("no arena of the heap whose blocks are all free, in {} tries", trickle.len());
}

#[test]
fn a_request_finds_its_blocks_behind_those_of_other_classes() {
    let shared = shared();
    let (_, owner) = heap(shared);
    let (_, other) = heap(shared);
    let wanted = allocate(shared, owner, 64, 64);
    let rest = allocate(shared, owner, 256, usize::MAX);
    // The blocks that are freed last are collected first, so the blocks of 64 bytes come after all others.
    free(shared, other, &wanted);
    other.post_all();
    free(shared, other, &rest);
    other.post_all();
    let found: usize = (0..8).map(|_| allocate(shared, owner, 64, 32).len()).sum();
    assert!(found >= 64, "{found}");
    assert_eq!(consistent(shared).classes[31].live_blocks, 0);
}

#[test]
fn what_a_fork_left_half_changed_is_given_up() {
    let shared = shared();
    let (parked, _) = heap(shared);
    let (_, own) = heap(shared);
    shared.park(parked);
    let blocks = allocate(shared, own, 48, 1000);
    shared.leave_state_behind();
    let stats = consistent(shared);
    assert_eq!((stats.heaps.parked, stats.arenas.free, stats.arenas.open), (0, 0, 4));
    assert_eq!(stats.small.live_blocks, 1000);
    free(shared, own, &blocks);
    assert_eq!(consistent(shared).small.live_blocks, 0);
    assert_ne!(shared.take_heap().unwrap(), parked);
}

#[test]
fn a_stragglers_heap_that_a_fork_left_is_replaced_and_its_blocks_stay() {
    let shared = shared();
    let class = SizeClass::of_block(40);
    let alloc = || shared.with_stragglers(|heap| heap.alloc(shared, class)).unwrap();
    let blocks: Vec<_> = (0..500).map(|_| alloc()).collect();
    shared.leave_stragglers_behind();
    alloc();
    assert_eq!(stats_of(shared).small.live_blocks, 501);
    // After the first fork a new stragglers' heap was made. A second fork now comes at a moment at which there is no
    // stragglers' heap.
    shared.forget_stragglers();
    shared.leave_state_behind();
    assert_eq!(stats_of(shared).small.live_blocks, 501);
    let (_, other) = heap(shared);
    free(shared, other, &blocks);
    other.post_all();
    let stats = stats_of(shared);
    assert_eq!((stats.small.live_blocks, stats.small.waiting_blocks), (1, 500));
}

#[test]
fn a_thread_does_not_take_its_own_lock_for_a_dead_ones() {
    let shared = shared();
    let class = SizeClass::of_block(40);
    shared.with_stragglers(|heap| heap.alloc(shared, class)).unwrap();
    shared.leave_state_behind();
    shared.with_stragglers(|heap| heap.alloc(shared, class)).unwrap();
    assert!(!shared.is_reserved_place_lost());
}

#[test]
fn a_fork_in_the_middle_of_the_start_starts_anew() {
    let shared = &SharedState::new(small, nothing);
    shared.leave_state_behind();
    assert!(shared.take_heap().is_ok());
    assert_eq!(stats_of(shared).heaps.in_use, 1);
}

/// Shared pools in a region of so many MiB. A chunk is 2 MiB.
fn chunks(mib: usize) -> &'static SharedState {
    let setup = match mib {
        8 => || RegionSetup { region_bytes: 8 << 20, huge_pages: HugePages::Unset },
        _ => || RegionSetup { region_bytes: 16 << 20, huge_pages: HugePages::Unset },
    };
    let shared = Box::leak(Box::new(SharedState::new(setup, nothing)));
    heap(shared);
    shared
}

/// Takes an arena for a heap that has `owned` arenas. Returns its number.
fn arena(shared: &SharedState, owned: usize) -> Option<u32> {
    shared.arena_and_pages(owned).map(|(arena, _)| arena)
}

/// Takes the first `count` arenas for light heaps.
fn take_first(shared: &SharedState, count: u32) {
    assert!((0..count).all(|number| arena(shared, 0) == Some(number)));
}

#[test]
fn heavy_heaps_share_chunks() {
    if crate::os::page_bytes() != 4096 || crate::os::are_huge_pages_off() {
        // No chunks there.
        return;
    }
    let shared = chunks(16);
    take_first(shared, 11);
    // The chunk begins at a multiple of eight. The five arenas before it serve next, whichever heap asks.
    assert_eq!([8, 0, 100].map(|owned| arena(shared, owned)), [16, 11, 12].map(Some));
    assert_eq!([8, 0, 8].map(|owned| arena(shared, owned)), [13, 14, 15].map(Some));
    assert_eq!([8, 0, 9, 0].map(|owned| arena(shared, owned)), [17, 24, 18, 25].map(Some));
    // Five of the chunk are left, and no heap has given any back.
    assert_eq!(stats_of(shared).arenas.open, 26);
    assert_eq!(stats_of(shared).arenas.free, 5);
    // A release puts the rest of the chunk on the list of free arenas, where light heaps find it too.
    shared.release(None);
    assert_eq!(stats_of(shared).arenas.free, 5);
    let rest: Vec<_> = (0..5).map(|_| arena(shared, 0).unwrap()).collect();
    assert!(rest.iter().all(|number| (19..24).contains(number)), "{rest:?}");
    assert_eq!([8, 0].map(|owned| arena(shared, owned)), [32, 26].map(Some));
}

/// What is to be done about pages when heaps that have so many arenas take the next one each.
fn pages(shared: &SharedState, owned: impl IntoIterator<Item = usize>) -> Vec<PageWork> {
    owned.into_iter().map(|owned| shared.arena_and_pages(owned).unwrap().1).collect()
}

#[test]
fn a_heap_wastes_at_most_a_quarter_by_a_huge_page() {
    if crate::os::page_bytes() != 4096 || crate::os::are_huge_pages_off() {
        return;
    }
    const NOTHING: PageWork = PageWork::Nothing;
    let put = |chunk| PageWork::Put(ArenaId(chunk));
    let join = |chunk| PageWork::Join(ArenaId(chunk));
    let shared = chunks(16);
    take_first(shared, 8);
    // When the sixth arena is taken, three of the chunk are unused: less than a quarter of the heap's 13.
    let expected = [NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, join(8), NOTHING, NOTHING];
    assert_eq!(pages(shared, 8..16), expected);
    assert_eq!(pages(shared, [15, 8, 8, 8]), [NOTHING; 4]);
    assert_eq!(pages(shared, [16]), [join(16)], "four of the chunk are unused: a quarter of the heap's 16");
    let shared = chunks(16);
    take_first(shared, 32);
    assert_eq!(pages(shared, [32, 33]), [put(32), NOTHING]);
}

#[test]
fn nothing_is_joined_after_a_release_or_in_a_child() {
    let prepared = || {
        let shared = chunks(16);
        take_first(shared, 8);
        assert_eq!(pages(shared, 8..12), [PageWork::Nothing; 4]);
        shared
    };
    let none_is_joined = |shared, arenas| {
        assert!(pages(shared, vec![12; arenas]).iter().all(|pages| *pages == PageWork::Nothing));
    };
    let shared = prepared();
    shared.release(None);
    none_is_joined(shared, 4);
    let shared = prepared();
    let private = shared.take_private(Name::new("")).unwrap();
    // SAFETY: just taken by this test.
    shared.release_private(unsafe { Heap::owned_at(private) });
    none_is_joined(shared, 4);
    // Another thread's heap grows while a release runs: by the rest of the chunk, and a new one.
    let shared = prepared();
    // SAFETY: as above.
    let region = unsafe { Heap::owned_at(shared.take_private(Name::new("")).unwrap()) }.region;
    shared.while_releasing(&region, || none_is_joined(shared, 4 + 7));
    none_is_joined(shared, 1);
    // The child of a fork counts the arenas since the fork.
    let shared = prepared();
    shared.leave_state_behind();
    none_is_joined(shared, 8);
}

#[test]
fn a_heavy_heap_gets_the_arenas_before_the_end_that_are_no_chunk() {
    let shared = chunks(8);
    take_first(shared, 25);
    shared.close_the_rest();
    let rest: Vec<_> = std::iter::from_fn(|| arena(shared, 25)).collect();
    assert_eq!(rest, (25..32).collect::<Vec<_>>());
}

#[test]
fn a_chunk_serves_light_heaps_when_nothing_else_is_left() {
    let shared = chunks(8);
    take_first(shared, 9);
    let mut all: Vec<_> = std::iter::once(arena(shared, 9).unwrap()).collect();
    all.extend(std::iter::from_fn(|| arena(shared, 0)));
    all.sort_unstable();
    assert_eq!(all, (9..32).collect::<Vec<_>>(), "every arena of the region, each once");
    assert_eq!(arena(shared, 8), None);
}
