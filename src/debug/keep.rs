//! Puts freed blocks into the quarantine. Checks each block that leaves it.

use super::block::DebugBlock;
use super::quarantine::{Origin, QUARANTINE, QuarantinedBlock};
use super::report::{ProgramError, report};
use crate::process::{Entry, MODE, SHARED, free_to_pool, tls};

/// Puts a freed block into the quarantine, and takes out the oldest blocks if there is no more room for them.
pub(super) fn keep(kept: QuarantinedBlock) {
    count(&kept, 1);
    let mut gone = QUARANTINE.push(kept);
    while let Some(kept) = gone {
        let_go(&kept, CheckTime::Early);
        gone = QUARANTINE.pop_beyond();
    }
}

/// The moment of the last look at a freed block.
#[derive(Clone, Copy)]
pub(super) enum CheckTime {
    /// Other blocks needed the room, a request found no memory, or the program asked.
    Early,
    /// The process ends.
    AtEnd,
}

/// Checks a block that was taken out of the quarantine, and gives it back to its pool or backend.
fn let_go(kept: &QuarantinedBlock, seen: CheckTime) {
    let (address, shape) = (kept.address(), kept.known.shape);
    // SAFETY: Quarantine invariant 2.
    let block = unsafe { DebugBlock::at(address) };
    // SAFETY: as above; the shape is that of the block when it was freed.
    let damage = unsafe { block.damage_inside(shape) }.or_else(|| unsafe { block.damage_around(shape) });
    let is_header_sound = block.known() == Some((kept.known, false));
    if damage.is_some() || !is_header_sound {
        let seen = match seen {
            CheckTime::Early => "when its memory was to be used again",
            CheckTime::AtEnd => "at the end of the process",
        };
        let line = format_args!("write after free of the block of {} bytes at {address:p}", shape.size);
        let header = (!is_header_sound).then(|| address.expose_provenance());
        let block = Some((address.expose_provenance(), kept.known));
        report(&ProgramError { line, seen, block, damage, header });
    }
    let Some(whole) = shape.whole() else { return };
    let memory = address.wrapping_sub(shape.before());
    // Count before the block goes back: afterwards its pool may get another class.
    count(kept, -1);
    match kept.origin {
        Origin::Pool => free_to_pool(memory),
        // SAFETY: the backend served the block with this layout, and no other code has it (Quarantine invariant 2).
        Origin::Backend(late) => unsafe { late(memory, whole) },
    }
}

/// Adds `change` to the quarantine count of this thread's heap: 1 when the program frees a block, -1 when the block
/// leaves the quarantine. Statistics subtract the count from the live blocks.
fn count(kept: &QuarantinedBlock, change: i64) {
    let entry = tls::heap_or_make();
    if let Origin::Backend(_) = kept.origin {
        let large = match &entry {
            Entry::Heap(heap) => &heap.large,
            _ => &SHARED.large,
        };
        let bytes = kept.known.shape.whole().map_or(0, |whole| whole.size());
        return large.kept.add(change, bytes);
    }
    let Some((_, tag)) = SHARED.locate(kept.address().addr()) else { return };
    match entry {
        Entry::Heap(heap) => heap.count_kept(tag, change),
        _ => _ = SHARED.with_stragglers(|heap| heap.count_kept(tag, change)),
    }
}

/// Empties the quarantine, and checks each block. Does nothing in other modes.
pub(crate) fn drain() {
    if MODE.get().is_debug() {
        drain_for(CheckTime::Early);
    }
}

/// Empties the quarantine when the process ends, and checks each block. Does nothing in other modes.
pub(crate) fn drain_at_exit() {
    if MODE.get().is_debug() {
        drain_for(CheckTime::AtEnd);
    }
}

/// Empties the quarantine, and checks each block. Returns whether there were any blocks in it.
pub(super) fn drain_for(seen: CheckTime) -> bool {
    // Only as many blocks as there are now, since other threads may go on freeing.
    let blocks = QUARANTINE.blocks();
    for _ in 0..blocks {
        let Some(kept) = QUARANTINE.pop() else { break };
        let_go(&kept, seen);
    }
    blocks > 0
}
