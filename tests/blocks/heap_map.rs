//! The map of the heap shows where each block lies, and `pinned` names the arenas that a few blocks keep in use.
//!
//! To see it fail: count waiting blocks as held; let `pinned` name arenas that are up to half full instead of a
//! quarter; leave a pool's class out of the map.
//!
//! `cargo test --test blocks heap_map::`

use std::alloc::Layout;
use std::fmt::{self, Write};

use poolmalloc::{ArenaMap, arenas, heap_map, pinned, release_unused, thread_stats};

use poolmalloc_support::Test;
use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{block_bytes, class_of, consistent_stats, size_of_class};

const ARENA_BYTES: usize = 256 * 1024;

fn pool_of(arenas: &[ArenaMap], address: usize) -> (usize, usize) {
    let arena = arenas.iter().position(|arena| address.wrapping_sub(arena.address) < ARENA_BYTES);
    let arena = arena.expect("a block of some arena");
    (arena, (address - arenas[arena].address) / 4096)
}

fn the_map_adds_up_to_the_statistics() {
    let held: Vec<Box<[u8; 72]>> = (0..10_000).map(|n| Box::new([n as u8; 72])).collect();
    let map: Vec<ArenaMap> = arenas().collect();
    let stats = consistent_stats();
    assert_eq!(map.len() as u64, stats.arenas.open);
    for class in &stats.classes {
        let pools = || {
            map.iter().flat_map(|arena| &arena.pools).filter(|pool| u64::from(pool.block_bytes) == class.block_bytes)
        };
        assert_eq!(pools().count() as u64, class.pools, "{class:?}");
        // The vector of the map is a block of the backend, so making the map has changed no pool.
        let out: u64 = pools().map(|pool| u64::from(pool.held_blocks)).sum();
        assert_eq!(out, class.live_blocks + class.cached_blocks - class.waiting_blocks, "{class:?}");
    }
    for block in &held {
        let (arena, pool) = pool_of(&map, (&raw const **block).addr());
        assert_eq!(
            usize::from(map[arena].pools[pool].block_bytes),
            class_of(Layout::new::<[u8; 72]>()).map_or(0, block_bytes)
        );
    }
}

fn waiting_blocks_are_not_held() {
    let block: Box<[u8; 200]> = Box::new([1; 200]);
    let address = (&raw const *block).addr();
    let before = waiting_at(address);
    std::thread::spawn(move || drop(block)).join().expect("a thread");
    assert_eq!(waiting_at(address), before + 1);
}

fn waiting_at(address: usize) -> u16 {
    let map: Vec<ArenaMap> = arenas().collect();
    let (arena, pool) = pool_of(&map, address);
    map[arena].pools[pool].waiting_blocks
}

fn a_few_blocks_pin_an_arena() {
    let size = size_of_class(30).expect("a size");
    let mut held: Vec<Block> = (0..20_000).map(|n| Block::new(layout(size, 8), n)).collect();
    let full: Vec<ArenaMap> = arenas().collect();
    let kept = held.swap_remove(10_000);
    let (arena, _) = pool_of(&full, kept.address());
    assert!(!full[arena].is_pinned(), "{}", full[arena]);
    held.into_iter().for_each(Block::free);
    release_unused();
    let pinned: Vec<ArenaMap> = pinned().collect();
    let found = pinned.iter().find(|map| map.address == full[arena].address).expect("the arena of the kept block");
    assert_eq!((found.used_pools(), found.held_bytes()), (1, 248), "{found}");
    assert!(found.to_string().ends_with("1 of 64 pools in use, 248 bytes held: 1 of 248"), "{found}");
    assert!(pinned.iter().all(|map| map.held_bytes() < ARENA_BYTES / 4));
}

/// Counts lines, and stores no text.
#[derive(Default)]
struct Lines {
    lines: usize,
}

impl Write for Lines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.lines += text.matches('\n').count();
        Ok(())
    }
}

fn the_text_has_a_place_for_each_pool_and_allocates_nothing() {
    let before = thread_stats();
    let mut lines = Lines::default();
    heap_map(&mut lines).expect("writing");
    assert_eq!((thread_stats() - before).allocations(), 0);
    assert_eq!(lines.lines, 2 * arenas().count());
    let mut text = String::new();
    heap_map(&mut text).expect("writing");
    for pair in text.lines().collect::<Vec<_>>().chunks(2) {
        let classes: Vec<char> = pair[0].chars().skip(15).take(64).collect();
        let shares: Vec<char> = pair[1].chars().skip(15).take(64).collect();
        assert_eq!((classes.len(), shares.len()), (64, 64), "{pair:?}");
        assert!(classes.iter().zip(&shares).all(|(class, share)| *class != '.' || *share == ' '), "{pair:?}");
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let waits = "a block that another thread frees is kept a while before it is a remote free";
    vec![
        Test::new("the_map_adds_up_to_the_statistics", the_map_adds_up_to_the_statistics),
        Test::new("waiting_blocks_are_not_held", waiting_blocks_are_not_held).not_in_debug(waits),
        Test::new("a_few_blocks_pin_an_arena", a_few_blocks_pin_an_arena),
        Test::new("the_text_has_a_place_for_each_pool", the_text_has_a_place_for_each_pool_and_allocates_nothing),
    ]
}
