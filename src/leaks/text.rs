//! The report as text.

use super::report::{Cycle, LeakGroup, LeakKind, LeakReport, LeakedBlock, RcCounts};
use crate::traces;
use crate::traces::TraceId;
use core::fmt::{self, Display, Formatter};

/// Largest length of each list that `Display` writes without `{:#}`: blocks outside of cycles, cycles, and the blocks
/// of a cycle.
const LISTED: usize = 20;

/// Largest number of referrers that the line of a block names.
const NAMED: usize = 4;

impl Display for LeakReport {
    /// Writes a line for each leaked block, with the blocks that point to it, and then the sums. The model is CPython's
    /// `gc.set_debug(gc.DEBUG_LEAK)`. Lists at most 20 blocks outside of cycles, and at most 20 blocks of each of the
    /// first 20 cycles; `{:#}` lists all.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let most = if f.alternate() { usize::MAX } else { LISTED };
        writeln!(f, "leaks: {} live blocks, {} bytes", self.live.blocks, self.live.bytes)?;
        write!(f, "leaks: {} bytes of roots", self.root_bytes)?;
        let large =
            if self.is_armed { "blocks served since the finder was armed are looked at" } else { "count as roots" };
        writeln!(f, "; large blocks: {large}")?;
        let stopped = self.stopped_for.as_secs_f64() * 1000.0;
        writeln!(f, "leaks: {} other threads stopped for {stopped:.3} ms", self.stopped_threads)?;
        if !self.running_threads.is_empty() {
            writeln!(f, "leaks: could not be stopped, so that this may be wrong: threads {:?}", self.running_threads)?;
        }
        if self.undecided_blocks > 0 {
            writeln!(f, "leaks: {} blocks were under way and not judged", self.undecided_blocks)?;
        }
        let order = |kind| if kind == LeakKind::Direct { 0 } else { 1 };
        let mut outside: Vec<_> =
            self.blocks.iter().filter(|block| !matches!(block.kind, LeakKind::Cycle(_))).collect();
        outside.sort_by_key(|block| order(block.kind));
        outside.iter().take(most).try_for_each(|block| self.write_block(f, block))?;
        write_rest(f, outside.len(), most, "blocks")?;
        for (number, cycle) in self.cycles.iter().enumerate().take(most) {
            self.write_cycle(f, number, cycle, most)?;
        }
        write_rest(f, self.cycles.len(), most, "cycles")?;
        for group in &self.groups {
            let LeakGroup { block_bytes, direct, indirect, in_cycles, .. } = group;
            write!(f, "leaks: of {block_bytes} bytes: {} blocks, ", direct + indirect + in_cycles)?;
            writeln!(f, "{direct} direct, {indirect} indirect, {in_cycles} in cycles")?;
            if let Some(backtrace) = group.backtrace.and_then(TraceId::new) {
                writeln!(f, "leaks: allocated at:")?;
                traces::write_symbols(backtrace, f)?;
            }
        }
        let (all, cycles) = (self.leaked(), self.cycles.len());
        write!(f, "leaks: done, {} unreachable, {} bytes: ", all.blocks, all.bytes)?;
        let (direct, indirect, in_cycles) = (self.direct.blocks, self.indirect.blocks, self.in_cycles.blocks);
        let plural = if cycles == 1 { "" } else { "s" };
        writeln!(f, "{direct} direct, {indirect} indirect, {in_cycles} in {cycles} cycle{plural}")
    }
}

impl LeakReport {
    fn write_cycle(&self, f: &mut Formatter<'_>, number: usize, cycle: &Cycle, most: usize) -> fmt::Result {
        let blocks = || cycle.blocks.iter().filter_map(|block| self.blocks.get(*block));
        let bytes: u64 = blocks().map(|block| block.bytes).sum();
        write!(f, "leaks: cycle {number}: {} blocks, {bytes} bytes", cycle.blocks.len())?;
        let held =
            if cycle.is_counted { ", held by nothing but itself: the counts are the pointers found" } else { "" };
        writeln!(f, "{held}")?;
        blocks().take(most).try_for_each(|block| self.write_block(f, block))?;
        write_rest(f, cycle.blocks.len(), most, "blocks of it")
    }

    fn write_block(&self, f: &mut Formatter<'_>, block: &LeakedBlock) -> fmt::Result {
        let LeakedBlock { address, bytes, serial, kind, counts, referrers, .. } = block;
        write!(f, "leaks: unreachable <{bytes} bytes at {address}> ")?;
        match kind {
            LeakKind::Direct => write!(f, "direct")?,
            LeakKind::Indirect => write!(f, "indirect")?,
            LeakKind::Cycle(number) => write!(f, "in cycle {number}")?,
        }
        if let Some(serial) = serial {
            write!(f, ", serial number {serial}")?;
        }
        if let Some(RcCounts { strong, weak }) = counts {
            write!(f, ", strong {strong}, weak {}", weak.saturating_sub(1))?;
        }
        for (position, referrer) in referrers.iter().take(NAMED).enumerate() {
            let before = if position == 0 { ", from" } else { "," };
            // A report that was deserialized may have positions of blocks that it does not have.
            let Some(referrer) = self.blocks.get(*referrer) else { continue };
            write!(f, "{before} {}", referrer.address)?;
        }
        if referrers.len() > NAMED {
            write!(f, " and {} more", referrers.len() - NAMED)?;
        }
        writeln!(f)
    }
}

fn write_rest(f: &mut Formatter<'_>, all: usize, most: usize, what: &str) -> fmt::Result {
    if all > most { writeln!(f, "leaks: and {} more {what}; `{{:#}}` lists all", all - most) } else { Ok(()) }
}
