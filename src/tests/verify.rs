//! Tests of the check of the heap: a heap in all states passes, and each damage is found and named.

use crate::geometry::{POOLS_PER_ARENA, SizeClass};
use crate::heap::magazine::{self, absent, capacity};
use crate::heap::{Heap, OwnedHeap, Supply};
use crate::observe::stats::stats_of;
use crate::observe::verify::check_of;
use crate::process::shared::SharedState;
use crate::region::{END, NONE, PoolId, PoolState, RemoteMap, Tag};
use crate::sync::{Ordering, WatchedU8};
use crate::tests::shared::{allocate, free, heap, shared};

/// Two heaps whose blocks are in all states: live, cached, free, in the other heap's foreign magazine, and waiting as
/// remote frees. There is also an arena that no heap owns.
struct Scene {
    shared: &'static SharedState,
    owner: OwnedHeap<'static>,
    other: OwnedHeap<'static>,
    /// Live blocks of the owner.
    live: Vec<*mut u8>,
}

const BYTES: usize = 48;

fn class() -> SizeClass {
    SizeClass::of_block(BYTES)
}

impl Scene {
    fn new() -> Self {
        let shared = shared();
        let (_, owner) = heap(shared);
        let (_, other) = heap(shared);
        // Enough blocks for the previous magazine, the depot and the free map.
        let mut live = allocate(shared, owner, BYTES, 3000);
        let freed: Vec<_> = live.drain(..2000).collect();
        free(shared, owner, &freed);
        // Some words with remote frees: `settle` below posts the blocks of the foreign magazine.
        let remote: Vec<_> = live.drain(..40).collect();
        free(shared, other, &remote);
        // A whole arena becomes free, and `settle` gives it up.
        let large = allocate(shared, other, 256, 16 * POOLS_PER_ARENA * 2);
        free(shared, other, &large);
        other.settle(shared);
        // These blocks stay in the foreign magazine.
        let remote: Vec<_> = live.drain(..40).collect();
        free(shared, other, &remote);
        let scene = Self { shared, owner, other, live };
        assert!(scene.owner.class(class()).depot.length() > 0);
        assert!(scene.owner.partial(class()).first().is_some());
        assert!(magazine::count(scene.other.class(class()).foreign(), class()) > 0);
        assert!(scene.owner.pending().first() != END);
        assert!(stats_of(shared).arenas.free > 0);
        scene.assert_finds("");
        scene
    }

    /// Takes the newest block out of the foreign magazine, as if it had never been freed.
    fn allocate_from_foreign(&self, heap: OwnedHeap<'_>) {
        let state = heap.class(class());
        state.foreign.set(state.foreign().wrapping_add(1));
        state.remote_frees.subtract(1);
    }

    /// Fails unless the check finds a violation whose text begins with `text`. If `text` is empty, fails unless the
    /// check finds none.
    #[track_caller]
    fn assert_finds(&self, text: &str) {
        match check_of(self.shared, None) {
            Ok(()) => assert!(text.is_empty(), "not found: {text}"),
            Err(found) => {
                let found = found.to_string();
                assert!(!text.is_empty() && found.starts_with(text), "found {found:?} for {text:?}");
            }
        }
    }

    fn offset(&self, block: *mut u8) -> usize {
        self.owner.region.offset_of(block.addr()).unwrap()
    }

    fn word_and_bit(&self, block: *mut u8) -> (u32, u64) {
        Heap::word_and_bit(self.offset(block))
    }

    fn pool_of(&self, block: *mut u8) -> PoolId {
        PoolId::of_offset(self.offset(block))
    }
}

#[test]
fn a_heap_is_valid_from_its_first_block_to_its_last() {
    let scene = Scene::new();
    let Scene { shared, owner, other, live } = &scene;
    for blocks in live.chunks(7) {
        free(shared, *other, blocks);
        scene.assert_finds("");
        let again = allocate(shared, *owner, BYTES, 5);
        scene.assert_finds("");
        free(shared, *owner, &again);
    }
    other.post_all();
    owner.settle(*shared);
    other.settle(*shared);
    scene.assert_finds("");
    assert_eq!(stats_of(shared).small.live_blocks, 0);
}

#[test]
fn damage_to_the_maps_is_found() {
    let scene = Scene::new();
    let region = &scene.owner.region;
    let (word, bit) = scene.word_and_bit(scene.live[20]);
    let free_word = region.free_word(word);
    let before = free_word.get();
    free_word.set(before | bit);
    let is_listed = region.pool_record(scene.pool_of(scene.live[20])).state() == PoolState::Listed;
    scene.assert_finds(if is_listed { "live, cached and free blocks do not fill" } else { "Pool invariant 2" });
    free_word.set(before | bit << 1);
    scene.assert_finds("Pool invariant 1: the free map has a bit where no block begins");
    free_word.set(before);
    region.word(word).store(bit << 1, Ordering::Relaxed);
    scene.assert_finds("the remote map has a bit where no block begins");
    region.word(word).store(bit, Ordering::Relaxed);
    scene.assert_finds("some word with remote frees is on no pending list");
    free_word.set(before | bit);
    scene.assert_finds("a block is free and waits as a remote free");
    free_word.set(before);
    region.word(word).store(0, Ordering::Relaxed);
    scene.assert_finds("");
}

#[test]
fn damage_to_tags_and_records_is_found() {
    let scene = Scene::new();
    let region = &scene.owner.region;
    let pool = scene.pool_of(scene.live[0]);
    let right = region.tag(pool);
    for (wrong, text) in [
        (Tag::FREE, "Arena invariant 1"),
        (Tag::of_bits(9 << 10 | 16), "a tag names a heap that was never made"),
        (Tag::of_bits(16), "a tag names a heap that was never made"),
        (scene.owner.front.tag(SizeClass::new(0)), "a pool's tag and record have two classes"),
    ] {
        region.set_tag(pool, wrong);
        scene.assert_finds(text);
    }
    // The test needs a pool that is not the first one of its arena, because the first pool decides the owner of the
    // arena.
    assert!(pool.position() > 0);
    region.set_tag(pool, scene.other.front.tag(class()));
    scene.assert_finds("two heaps own pools of an arena");
    region.set_tag(pool, right);
    scene.assert_finds("");
}

#[test]
fn damage_to_magazines_is_found() {
    let scene = Scene::new();
    let (head, state) = (scene.owner.head(class()), scene.owner.class(class()));
    let top = head.top();
    // SAFETY: a slot of the heap's own magazine, which this test owns.
    let slot = unsafe { &*state.depot.top(0) };
    let (block, live, foreign) = (slot.get(), scene.live[30], allocate(scene.shared, scene.other, BYTES, 1)[0]);
    let (word, bit) = scene.word_and_bit(block);
    slot.set(std::ptr::null_mut());
    scene.assert_finds("a magazine holds what is no block");
    slot.set(foreign);
    scene.assert_finds("a magazine holds a block of another heap or class");
    slot.set(live.wrapping_add(8));
    scene.assert_finds("a magazine holds a pointer into a block");
    slot.set(block);
    // SAFETY: as above.
    let below = unsafe { (*state.depot.top(0).wrapping_add(1)).get() };
    slot.set(below);
    scene.assert_finds("a block is in magazines twice");
    slot.set(block);
    let free_word = scene.owner.region.free_word(word);
    let before = free_word.get();
    free_word.set(before | bit);
    let is_listed = scene.owner.region.pool_record(scene.pool_of(block)).state() == PoolState::Listed;
    scene.assert_finds(if is_listed { "a block is in a magazine and free" } else { "Pool invariant 2" });
    free_word.set(before);
    scene.owner.region.word(word).store(bit, Ordering::Relaxed);
    scene.assert_finds("a block is in a magazine and waits");
    scene.owner.region.word(word).store(0, Ordering::Relaxed);
    head.load(scene.other.head(class()).top().wrapping_sub(1));
    scene.assert_finds("a magazine holds a block of another heap");
    head.load(magazine::start(top).wrapping_sub(100_000));
    scene.assert_finds("a magazine is none of the table's");
    head.load(top);
    // SAFETY: as above.
    let bottom = unsafe { &*magazine::bottom(top, class()) };
    bottom.set(block);
    scene.assert_finds("Magazine invariant 1: the slot at the bottom");
    bottom.set(std::ptr::null_mut());
    let newest = state.depot.pop_newest().unwrap();
    scene.assert_finds("some magazine is lost");
    state.depot.push_newest(newest);
    head.load(absent());
    scene.assert_finds("a heap has a previous magazine and no loaded one");
    head.load(top);
    scene.assert_finds("");
}

#[test]
fn a_top_beyond_the_bottom_is_found() {
    let scene = Scene::new();
    let large = SizeClass::of_block(256);
    assert!(capacity(large) < magazine::SLOTS - 2);
    let head = scene.other.head(large);
    head.load(magazine::bottom(head.top(), large).wrapping_add(1));
    scene.assert_finds("Magazine invariant 1: a top is beyond the bottom");
}

#[test]
fn damage_to_the_foreign_magazine_is_found() {
    let scene = Scene::new();
    let top = scene.other.class(class()).foreign();
    // SAFETY: the slot of a magazine in use.
    let newest = unsafe { &*top };
    let block = newest.get();
    let (index, bit) = scene.word_and_bit(block);
    scene.owner.region.word(index).fetch_or(bit, Ordering::Relaxed);
    scene.assert_finds("a block is in a magazine and waits as a remote free");
    scene.owner.region.word(index).fetch_and(!bit, Ordering::Relaxed);
    scene.assert_finds("");
    newest.set(scene.live[5].wrapping_add(8));
    scene.assert_finds("a magazine holds a pointer into a block");
    let own = allocate(scene.shared, scene.other, BYTES, 1)[0];
    newest.set(own);
    scene.assert_finds("a magazine holds a block of another heap or class");
    newest.set(block);
    scene.assert_finds("");
    // A third thread frees the newest block of the foreign magazine again.
    let (_, third) = heap(scene.shared);
    free(scene.shared, third, &[block]);
    scene.assert_finds("two threads have freed a block");
}

#[test]
fn adopted_blocks_are_where_they_may_be() {
    let scene = Scene::new();
    let state = scene.other.class(class());
    free(scene.shared, scene.other, &scene.live[..20]);
    let foreign = magazine::start(state.foreign());
    let held = magazine::count(state.foreign(), class());
    while magazine::start(scene.other.head(class()).top()) != foreign {
        assert_eq!(allocate(scene.shared, scene.other, BYTES, 1).len(), 1);
    }
    assert_eq!((state.adopted.value(), state.cached_foreign()), (held as u64, held));
    scene.assert_finds("");
    state.cached_foreign.set(0);
    scene.assert_finds("a magazine holds a block of another heap or class");
    state.cached_foreign.set(held as u32);
    // A third thread frees one of the adopted blocks.
    let (_, third) = heap(scene.shared);
    // SAFETY: the slot of a magazine in use.
    let newest = unsafe { (*scene.other.head(class()).top()).get() };
    free(scene.shared, third, &[newest]);
    scene.assert_finds("two threads have freed a block");
    // The owner frees the block, too, after the free of the third thread has been undone.
    scene.allocate_from_foreign(third);
    free(scene.shared, scene.owner, &[newest]);
    scene.assert_finds("two threads have freed a block");
    allocate(scene.shared, scene.owner, BYTES, 1);
    // `settle` flushes the adopted blocks, and they go to their owner.
    let waiting = stats_of(scene.shared).classes[class().index()].waiting_blocks;
    scene.other.settle(scene.shared);
    scene.assert_finds("");
    assert_eq!(stats_of(scene.shared).classes[class().index()].waiting_blocks, waiting + held as u64 - 1);
    assert_eq!((state.adopted.value(), state.cached_foreign()), (1, 0), "one was handed out");
}

#[test]
fn a_damaged_top_of_a_later_heap_is_not_followed() {
    let scene = Scene::new();
    let large = SizeClass::of_block(256);
    let blocks = allocate(scene.shared, scene.owner, 256, 40);
    free(scene.shared, scene.other, &blocks[..20]);
    scene.assert_finds("");
    let head = scene.other.head(large);
    let top = head.top();
    head.load(magazine::bottom(top, large).wrapping_add(1));
    scene.assert_finds("Magazine invariant 1: a top is beyond the bottom");
    head.load(top);
    scene.assert_finds("");
}

/// Heaps hold more blocks of other heaps than the check has room for at a time.
#[test]
fn blocks_between_many_heaps_are_found() {
    let scene = Scene::new();
    let others: Vec<_> = (0..50).map(|_| heap(scene.shared).1).collect();
    let mut blocks = allocate(scene.shared, scene.owner, 8, 31 * 8 * 50);
    let bytes_8 = SizeClass::of_block(8);
    for other in &others {
        other.class(bytes_8).let_go_round();
        free(scene.shared, *other, &blocks.split_off(blocks.len() - 31 * 4));
    }
    scene.assert_finds("");
    // SAFETY: the slot of a magazine in use.
    let of_last = unsafe { (*others[49].class(bytes_8).foreign()).get() };
    free(scene.shared, others[0], &[of_last]);
    scene.assert_finds("two threads have freed a block");
}

#[test]
fn damage_to_lists_is_found() {
    let scene = Scene::new();
    let region = &scene.owner.region;
    let first = scene.owner.partial(class()).first().unwrap();
    // The pool is unlinked by hand. Its state says that it is on no list, but its free map says that it belongs on one.
    scene.owner.partial(class()).unlink(region, first);
    scene.assert_finds("Pool invariant 2");
    scene.owner.partial(class()).link(region, first);
    scene.assert_finds("");
    let word = scene.owner.pending().first();
    let waiting = region.word(word).swap(0, Ordering::Relaxed);
    scene.assert_finds("Remote invariant 1");
    region.word(word).store(waiting, Ordering::Relaxed);
    // SAFETY: nothing else uses the list.
    let link = unsafe { region.link(word).get() };
    // SAFETY: as above.
    unsafe { region.link(word).set(word) };
    scene.assert_finds("a pending list does not end");
    // SAFETY: as above.
    unsafe { region.link(word).set(u32::MAX - 1) };
    scene.assert_finds("a pending list does not end");
    // SAFETY: as above.
    unsafe { region.link(word).set(link) };
    scene.assert_finds("");
}

#[test]
fn a_pool_on_the_wrong_list_is_found() {
    let scene = Scene::new();
    let region = &scene.owner.region;
    let (small, large) = (SizeClass::of_block(8), SizeClass::of_block(240));
    let blocks = allocate(scene.shared, scene.other, 8, 10);
    let pool = scene.pool_of(blocks[0]);
    assert_eq!(region.pool_record(pool).state(), PoolState::Listed);
    scene.other.partial(small).unlink(region, pool);
    scene.other.partial(large).link(region, pool);
    scene.assert_finds("a class's list names a pool of another heap or class");
    scene.other.partial(large).unlink(region, pool);
    scene.owner.partial(small).link(region, pool);
    scene.assert_finds("a class's list names a pool of another heap or class");
    scene.owner.partial(small).unlink(region, pool);
    scene.other.partial(small).link(region, pool);
    scene.assert_finds("");
    // The class in the record is damaged, as by a write past the end of something.
    let record = (&raw const *region.pool_record(pool)).cast::<WatchedU8>();
    // SAFETY: a byte of the record, which this test owns.
    let class = unsafe { &*record.wrapping_add(8) };
    assert_eq!(class.get() as usize, small.index());
    class.set(32);
    scene.assert_finds("a pool's record has a class that there is not");
}

#[test]
fn lists_of_another_length_are_found() {
    let scene = Scene::new();
    let region = &scene.owner.region;
    let arena = scene.shared.take_arena(0).unwrap();
    scene.shared.give_arena(region, arena);
    let next = region.arena_record(arena).next().get();
    region.arena_record(arena).next().set(arena.0);
    scene.assert_finds("the shared list of arenas is longer than its count");
    region.arena_record(arena).next().set(77);
    scene.assert_finds("the shared list of arenas names one not in use");
    region.arena_record(arena).next().set(next);
    scene.assert_finds("");
    if next == NONE {
        return;
    }
    region.arena_record(arena).next().set(NONE);
    scene.assert_finds("the shared list of arenas is shorter than its count");
}

#[test]
fn damage_to_arenas_is_found() {
    let scene = Scene::new();
    let region = &scene.owner.region;
    let arena = scene.pool_of(scene.live[0]).arena();
    let record = region.arena_record(arena);
    let next = record.next().get();
    record.next().set(arena.0);
    scene.assert_finds("a list of arenas is not linked backwards");
    record.next().set(99);
    scene.assert_finds("a list of arenas does not end");
    record.next().set(next);
    scene.assert_finds("");
    let taken = scene.shared.take_arena(0).unwrap();
    scene.assert_finds("some arena is lost");
    assert_eq!(region.arena_record(taken).free_count(), POOLS_PER_ARENA);
    scene.owner.arenas().add(region, taken);
    scene.assert_finds("");
    scene.other.arenas().add(region, taken);
    scene.assert_finds("some arena is lost, or has two owners");
}

#[test]
fn wrong_counts_are_found() {
    let scene = Scene::new();
    let state = scene.owner.class(class());
    state.filled.add(1);
    scene.assert_finds("live, cached and free blocks do not fill the pools");
    state.flushed.add(1);
    scene.assert_finds("");
    state.remote_frees.add(1);
    scene.assert_finds("the count of remote frees");
    state.remote_frees.subtract(1);
    state.pools.add(1);
    scene.assert_finds("the pools of all classes are not the pools of the heap");
}

#[test]
fn a_violation_names_its_place_in_one_line() {
    let scene = Scene::new();
    let pool = scene.pool_of(scene.live[0]);
    scene.owner.region.set_tag(pool, Tag::FREE);
    let text = check_of(scene.shared, None).unwrap_err().to_string();
    let address = scene.owner.region.block(pool.0 as usize * 4096).addr();
    assert_eq!(
        text,
        format!("Arena invariant 1: a pool has a class and is free, or neither, in the pool at {address:#x}")
    );
}
