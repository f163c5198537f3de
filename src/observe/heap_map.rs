//! A map of the blocks: each arena in use with its pools, as data and as text.

use crate::geometry::{ARENA_BYTES, CLASS_STEP, POOL_BYTES, POOLS_PER_ARENA, SizeClass, WORDS_PER_POOL};
use crate::process::SHARED;
use crate::region::{ArenaId, Region, RemoteMap};
use crate::sync::Ordering;
use core::fmt::{self, Display, Formatter, Write};
use core::iter::FusedIterator;

/// One arena, as it was when [`arenas`] came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArenaMap {
    /// Address of the first of its 256 KiB.
    pub address: usize,
    /// Number of the heap that owns it; `None` if none of its pools has a class, so that no block needs it.
    pub heap: Option<usize>,
    /// Its pools, in the order of their addresses, 4096 bytes each.
    pub pools: [PoolMap; POOLS_PER_ARENA],
}

/// One pool, as it was when [`arenas`] came to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PoolMap {
    /// Bytes of its blocks; 0 if it has no class.
    pub block_bytes: u16,
    /// Blocks that it is divided into.
    pub blocks: u16,
    /// Blocks that are out of the pool: live, or cached in a magazine of its owner or of another heap.
    pub held_blocks: u16,
    /// Blocks that other threads have freed and the owner has not collected.
    pub waiting_blocks: u16,
}

impl ArenaMap {
    /// Pools that have a class.
    #[must_use]
    pub fn used_pools(&self) -> usize {
        self.pools.iter().filter(|pool| pool.block_bytes > 0).count()
    }

    /// Bytes of the blocks that are out of their pools.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.pools.iter().map(|pool| usize::from(pool.held_blocks) * usize::from(pool.block_bytes)).sum()
    }

    /// Whether some blocks are out of its pools, but they have less than a quarter of its bytes.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        (1..ARENA_BYTES / 4).contains(&self.held_bytes())
    }
}

/// All arenas in use, in the order of their addresses. Arenas that hold no block are among them, with no pool in use.
///
/// The iterator allocates nothing and holds no lock: it reads each pool when its arena's turn comes. The figures of a
/// pool that a running thread uses may mix moments a few operations apart.
///
/// # Examples
/// ```
/// # #[global_allocator]
/// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
/// let held = Box::new([1u8; 48]);
/// let address = (&raw const *held).addr();
/// let arena = poolmalloc::arenas().find(|arena| address.wrapping_sub(arena.address) < 256 * 1024).unwrap();
/// let pool = arena.pools[(address - arena.address) / 4096];
/// assert!(pool.block_bytes >= 48 && pool.held_blocks > 0); // 48, except in debug mode
/// ```
pub fn arenas() -> impl FusedIterator<Item = ArenaMap> {
    let (region, carved) = SHARED.arenas_in_use().unzip();
    let count = carved.unwrap_or(0) as u32;
    (0..count).filter_map(move |number| region.map(|region| look_at(&region, ArenaId(number))))
}

/// Arenas that are mostly free and yet cannot be released, each with the blocks that hold it: the answer to "why is
/// this memory not returned?".
///
/// An arena goes back as a whole when all of its blocks are back in their pools. The arenas listed here have some
/// blocks out of their pools, but less than a quarter of their 256 KiB ([`ArenaMap::is_pinned`]). Their `Display` shows
/// the sizes of those blocks. Some of them may be cached in a magazine. Call [`release_unused`](crate::release_unused)
/// first: it empties the magazines of the calling thread and of ended threads.
///
/// The iterator allocates nothing.
pub fn pinned() -> impl FusedIterator<Item = ArenaMap> {
    arenas().filter(ArenaMap::is_pinned).fuse()
}

fn look_at(region: &Region, arena: ArenaId) -> ArenaMap {
    let mut map = ArenaMap {
        address: region.block(arena.0 as usize * ARENA_BYTES).addr(),
        heap: None,
        pools: [PoolMap::default(); POOLS_PER_ARENA],
    };
    for (position, to) in (0..).zip(&mut map.pools) {
        let pool = arena.pool(position);
        let tag = region.tag(pool);
        if tag.is_free() {
            continue;
        }
        map.heap = map.heap.or(Some(tag.heap()));
        let class = tag.class();
        let words = || (pool.first_word()..).take(WORDS_PER_POOL);
        let free: u32 = words().map(|word| region.free_word(word).get().count_ones()).sum();
        // Relaxed: the bits are only counted.
        let waiting: u32 = words().map(|word| region.word(word).load(Ordering::Relaxed).count_ones()).sum();
        let blocks = class.blocks_per_pool() as u32;
        *to = PoolMap {
            block_bytes: class.bytes() as u16,
            blocks: blocks as u16,
            held_blocks: blocks.saturating_sub(free + waiting) as u16,
            waiting_blocks: waiting as u16,
        };
    }
    map
}

impl Display for ArenaMap {
    /// One line: address, owner, pools in use, and the blocks out of their pools by size. Does not allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "arena at {:#x}", self.address)?;
        if let Some(heap) = self.heap {
            write!(f, ", heap {heap}")?;
        }
        let used = self.used_pools();
        write!(f, ": {used} of {POOLS_PER_ARENA} pools in use, {} bytes held", self.held_bytes())?;
        let mut before = ':';
        for class in SizeClass::all() {
            let of_class = self.pools.iter().filter(|pool| usize::from(pool.block_bytes) == class.bytes());
            let blocks: usize = of_class.map(|pool| usize::from(pool.held_blocks)).sum();
            if blocks > 0 {
                write!(f, "{before} {blocks} of {}", class.bytes())?;
                before = ',';
            }
        }
        Ok(())
    }
}

/// Writes a map of all arenas in use: two lines for each, with a place for each of its 64 pools.
///
/// The upper line names the pool's class: `0` to `9` and `A` to `V` for blocks of 8, 16, ... 256 bytes, a dot for none.
/// The lower line shows, in eighths, the share of the pool's blocks that are out of it: live, or in a magazine. A pool
/// with a class has a blank there if all its blocks are free.
///
/// It allocates nothing unless `out` does.
///
/// # Errors
/// The errors of `out`.
pub fn heap_map(out: &mut dyn Write) -> fmt::Result {
    for map in arenas() {
        write!(out, "{:#014x} ", map.address)?;
        for pool in &map.pools {
            out.write_char(class_digit(usize::from(pool.block_bytes)))?;
        }
        match map.heap {
            Some(heap) => write!(out, " heap {heap}\n               ")?,
            None => write!(out, " unused\n               ")?,
        }
        for pool in &map.pools {
            out.write_char(eighths(usize::from(pool.held_blocks), usize::from(pool.blocks)))?;
        }
        writeln!(out, " {} of {} KiB", map.held_bytes().div_ceil(1024), ARENA_BYTES / 1024)?;
    }
    Ok(())
}

fn class_digit(block_bytes: usize) -> char {
    match (block_bytes / CLASS_STEP).checked_sub(1) {
        Some(class) => char::from_digit(class as u32, 32).unwrap_or('?').to_ascii_uppercase(),
        None => '.',
    }
}

/// A bar for a share: one of eight heights, or a blank for 0.
fn eighths(part: usize, whole: usize) -> char {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if whole == 0 { ' ' } else { BARS[(part * 8).div_ceil(whole).min(8)] }
}

const _: () = assert!(POOL_BYTES / CLASS_STEP <= u16::MAX as usize, "a pool's blocks are counted in 16 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_and_bars() {
        let digits: String = (0..=32).map(|class| class_digit(class * 8)).collect();
        assert_eq!(digits, ".0123456789ABCDEFGHIJKLMNOPQRSTUV");
        let bars: String = [0, 1, 10, 11, 42, 84, 85].into_iter().map(|part| eighths(part, 85)).collect();
        assert_eq!(bars, " ▁▁▂▄██");
    }

    #[test]
    fn an_arena_tells_what_holds_it() {
        let mut map = ArenaMap { address: 0x40000, heap: Some(3), pools: [PoolMap::default(); POOLS_PER_ARENA] };
        assert!(!map.is_pinned());
        map.pools[0] = PoolMap { block_bytes: 24, blocks: 170, held_blocks: 2, waiting_blocks: 0 };
        map.pools[9] = PoolMap { block_bytes: 256, blocks: 16, held_blocks: 1, waiting_blocks: 3 };
        assert!(map.is_pinned());
        let text = "arena at 0x40000, heap 3: 2 of 64 pools in use, 304 bytes held: 2 of 24, 1 of 256";
        assert_eq!(map.to_string(), text);
    }
}
