//! Freed blocks go into the quarantine, and leave it checked.

use super::block::DebugBlock;
use super::quarantine::{Origin, QUARANTINE, QuarantinedBlock};
use super::report::{ProgramError, report};
use crate::process::{Entry, MODE, SHARED, free_to_pool, tls};

/// Keeps a freed block, and lets go of those that there is no more room for.
pub(super) fn keep(kept: QuarantinedBlock) {
    count(&kept, 1);
    let mut gone = QUARANTINE.push(kept);
    while let Some(kept) = gone {
        let_go(&kept, CheckTime::Early);
        gone = QUARANTINE.pop_beyond();
    }
}

/// When a freed block is looked at the last time.
#[derive(Clone, Copy)]
pub(super) enum CheckTime {
    /// When others needed the room, or the program asked.
    Early,
    AtEnd,
}

/// Checks a block that was taken out of the quarantine, and gives it back below.
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
    // Before it goes: then its pool may become one of another class.
    count(kept, -1);
    match kept.origin {
        Origin::Pool => free_to_pool(memory),
        // SAFETY: it came from there by this layout, and is nobody's any more.
        Origin::Backend(late) => unsafe { late(memory, whole) },
    }
}

/// Adds `change` to this thread's quarantine count: +1 when the program frees a block, -1 when it leaves the
/// quarantine. Statistics subtract it from live.
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

/// Gives back what the quarantine holds; each block is checked. Nothing in other modes.
pub(crate) fn drain() {
    if MODE.get().is_debug() {
        drain_for(CheckTime::Early);
    }
}

/// As [`drain`], when the process ends.
pub(crate) fn drain_at_exit() {
    if MODE.get().is_debug() {
        drain_for(CheckTime::AtEnd);
    }
}

/// Whether there was anything to give back.
pub(super) fn drain_for(seen: CheckTime) -> bool {
    // No more than there are now: others may go on freeing.
    let blocks = QUARANTINE.blocks();
    for _ in 0..blocks {
        let Some(kept) = QUARANTINE.pop() else { break };
        let_go(&kept, seen);
    }
    blocks > 0
}
