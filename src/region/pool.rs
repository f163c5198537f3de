//! Pools: 4 KiB of blocks of one class, their free blocks in the free map, and a class's list of partly used pools.
//!
//! | state | when | on which list | what ends it |
//! | --- | --- | --- | --- |
//! | free | it has no class | none; a bit of its arena's record | a heap takes it for a class |
//! | taken | no block of it is in the free map | none | a block is flushed or collected |
//! | listed | some blocks are in the free map | its class's list | no free block is left, or it is found wholly free |

use super::ids::PoolId;
use super::layout::Slot;
use super::list;
use super::list::NONE;
use super::records::PoolState;
use super::tables::Region;
use crate::check::{Misuse, misuse};
use crate::geometry::{CLASS_STEP, POOL_BYTES, SizeClass, WORD_BYTES, WORDS_PER_POOL};
use crate::sync::{Ordering, WatchedU32};
use core::ptr;

/// List of the pools of one class that have blocks in the free map. A pool is put at the front when its first block
/// enters the free map.
pub(crate) struct PoolList {
    first: WatchedU32,
}

impl PoolList {
    pub(crate) const fn new() -> Self {
        Self { first: WatchedU32::new(NONE) }
    }

    #[inline]
    pub(crate) fn first(&self) -> Option<PoolId> {
        let first = self.first.get();
        (first != NONE).then_some(PoolId(first))
    }

    /// The pool behind this one.
    pub(crate) fn after(&self, region: &Region, pool: PoolId) -> Option<PoolId> {
        let next = region.pool_record(pool).links.next.get();
        (next != NONE).then_some(PoolId(next))
    }

    /// Puts a taken pool at the front.
    pub(crate) fn link(&self, region: &Region, pool: PoolId) {
        let record = region.pool_record(pool);
        debug_assert_eq!(record.state(), PoolState::Taken, "Pool invariant 2");
        record.set_state(PoolState::Listed);
        list::link(&self.first, pool.0, |number| &region.pool_record(PoolId(number)).links);
    }

    /// Forgets all pools. The caller gives them up.
    pub(crate) fn clear(&self) {
        self.first.set(NONE);
    }

    /// Takes a pool off the list; it becomes `Taken`.
    pub(crate) fn unlink(&self, region: &Region, pool: PoolId) {
        let record = region.pool_record(pool);
        debug_assert_eq!(record.state(), PoolState::Listed, "Pool invariant 2");
        record.set_state(PoolState::Taken);
        list::unlink(&self.first, pool.0, |number| &region.pool_record(PoolId(number)).links);
    }
}

/// Takes up to `wanted` blocks of a pool out of the free map, lowest address first, and writes them to the slots from
/// `first` upwards. Returns the number taken, and whether the pool has none left.
///
/// # Safety
/// * The caller owns the pool.
/// * `first` and the `wanted - 1` slots above it are the caller's to write.
pub(crate) unsafe fn take_blocks(region: &Region, pool: PoolId, first: *mut Slot, wanted: usize) -> (usize, bool) {
    let class = region.pool_record(pool).class();
    let (mut slot, end) = (first, first.wrapping_add(wanted));
    let left = |slot: *mut Slot| (end.addr() - slot.addr()) / size_of::<Slot>();
    let mut put = |block: *mut u8| {
        // SAFETY: this writes at most `wanted` slots from `first` up. The caller promises that they are its own.
        unsafe { (*slot).set(block) };
        slot = slot.wrapping_add(1);
        slot
    };
    let words = region.free_words(pool).iter().zip(region.remote_words(pool)).zip(class.block_mask());
    let mut words = words.enumerate();
    let mut top = first;
    while let Some((position, ((word, waiting), &mask))) = words.next() {
        let mut bits = word.get();
        if bits == 0 {
            continue;
        }
        let start = region.block(pool.0 as usize * POOL_BYTES + position * WORD_BYTES);
        // Relaxed: in a correct program a block in the free map cannot become a remote free, so there is nothing to
        // order.
        let twice = bits & waiting.load(Ordering::Relaxed);
        if twice != 0 {
            freed_twice(start.addr() + twice.trailing_zeros() as usize * CLASS_STEP, class);
        }
        if bits == mask && left(top) >= class.most_blocks_of_word() {
            // All blocks of the word fit into the slots. They lie one block size apart, so it is enough to find the
            // first and the last bit.
            let mut block = start.wrapping_add(bits.trailing_zeros() as usize * CLASS_STEP);
            let last = start.wrapping_add((63 - bits.leading_zeros()) as usize * CLASS_STEP);
            while block <= last {
                top = put(block);
                block = block.wrapping_add(class.bytes());
            }
            bits = 0;
        }
        while bits != 0 && !ptr::eq(top, end) {
            top = put(start.wrapping_add(bits.trailing_zeros() as usize * CLASS_STEP));
            bits &= bits - 1;
        }
        word.set(bits);
        if ptr::eq(top, end) {
            let empty = bits == 0 && words.all(|(_, ((later, _), _))| later.get() == 0);
            return (wanted, empty);
        }
    }
    (wanted - left(top), true)
}

#[cold]
#[inline(never)]
fn freed_twice(address: usize, class: SizeClass) -> ! {
    misuse(&Misuse::DoubleFree { address, block_bytes: class.bytes() })
}

/// Puts the blocks of a taken pool into the free map, from the block with number `from` to the last.
pub(crate) fn free_blocks_from(region: &Region, pool: PoolId, from: usize) {
    let class = region.pool_record(pool).class();
    let first_bit = from * class.bytes() / CLASS_STEP;
    for (position, &mask) in class.block_mask().iter().enumerate() {
        let below = first_bit.saturating_sub(position * 64).min(64);
        let keep = if below == 64 { 0 } else { u64::MAX << below };
        region.free_word(pool.first_word() + position as u32).set(mask & keep);
    }
}

/// Whether every block of a pool is in the free map.
pub(crate) fn is_wholly_free(region: &Region, pool: PoolId) -> bool {
    let mask = region.pool_record(pool).class().block_mask();
    (pool.first_word()..).zip(mask).all(|(index, &mask)| region.free_word(index).get() == mask)
}

/// Empties a pool's words in the free map and takes its class away. The state of the pool is `Free` then. No block of
/// the pool may be in use any more. The pool must be on no list.
pub(crate) fn give_up(region: &Region, pool: PoolId) {
    for position in 0..WORDS_PER_POOL as u32 {
        region.free_word(pool.first_word() + position).set(0);
    }
    region.pool_record(pool).give_up();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken_pool(class: SizeClass) -> (Region, PoolId) {
        let region = Region::reserve(1 << 20, 4096).unwrap();
        assert!(region.open_arenas(0, 1));
        region.pool_record(PoolId(9)).take(class);
        (region, PoolId(9))
    }

    fn offsets(slots: &[Slot], region: &Region) -> Vec<usize> {
        slots.iter().map(|slot| region.offset_of(slot.get().addr()).unwrap() - 9 * 4096).collect()
    }

    #[test]
    fn blocks_come_out_in_the_order_of_their_addresses() {
        for class in SizeClass::all() {
            let (region, pool) = taken_pool(class);
            let blocks = class.blocks_per_pool();
            free_blocks_from(&region, pool, 3);
            assert!(!is_wholly_free(&region, pool));
            let slots = [const { Slot::null() }; 512];
            let first = (&raw const slots[0]).cast_mut();
            let mut found = Vec::new();
            loop {
                // SAFETY: this test owns pool and slots.
                let (taken, empty) = unsafe { take_blocks(&region, pool, first, 5) };
                found.extend(offsets(&slots[..taken], &region));
                if empty {
                    break;
                }
                assert_eq!(taken, 5);
            }
            assert_eq!(found, (3..blocks).map(|n| n * class.bytes()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn wholly_free_means_every_block() {
        for class in SizeClass::all() {
            let (region, pool) = taken_pool(class);
            free_blocks_from(&region, pool, 0);
            assert!(is_wholly_free(&region, pool));
            let slot = Slot::null();
            // SAFETY: this test owns pool and slot.
            let taken = unsafe { take_blocks(&region, pool, (&raw const slot).cast_mut(), 1) };
            assert_eq!(taken, (1, false));
            assert!(!is_wholly_free(&region, pool));
        }
    }

    #[test]
    fn lists_link_and_unlink_anywhere() {
        let region = Region::reserve(1 << 20, 4096).unwrap();
        assert!(region.open_arenas(0, 1));
        let list = PoolList::new();
        for n in 0..4 {
            region.pool_record(PoolId(n)).take(SizeClass::new(0));
            list.link(&region, PoolId(n));
        }
        let order = || {
            let mut pools = Vec::new();
            let mut next = list.first();
            while let Some(pool) = next {
                pools.push(pool.0);
                next = list.after(&region, pool);
            }
            pools
        };
        assert_eq!(order(), [3, 2, 1, 0]);
        list.unlink(&region, PoolId(2));
        assert_eq!(order(), [3, 1, 0]);
        list.unlink(&region, PoolId(0));
        list.unlink(&region, PoolId(3));
        assert_eq!(order(), [1]);
        list.unlink(&region, PoolId(1));
        assert_eq!(list.first(), None);
        assert_eq!(region.pool_record(PoolId(1)).state(), PoolState::Taken);
    }
}
