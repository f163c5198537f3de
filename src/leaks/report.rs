//! What [`find`](super::find) tells: plain data, and its text.

use super::graph::Graph;
use super::scan::{Edge, Leaked, Sums};
use crate::traces::{self, TraceId};
use core::fmt::{self, Debug, Display, Formatter, LowerHex};
use std::time::Duration;

/// The address of a block.
///
/// It is kept with all its bits turned: a report that lies in memory would otherwise itself be what leads to each leaked
/// block, and the next search would find none.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(from = "usize", into = "usize"))]
pub struct Address(usize);

impl Address {
    pub(super) const fn of_hidden(hidden: usize) -> Self {
        Self(hidden)
    }

    /// The address as a number. As long as that lies in a variable, it counts as a pointer to the block.
    #[must_use]
    pub const fn get(self) -> usize {
        !self.0
    }
}

impl From<usize> for Address {
    fn from(address: usize) -> Self {
        Self(!address)
    }
}

impl From<Address> for usize {
    fn from(address: Address) -> Self {
        address.get()
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        other.0.cmp(&self.0)
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Debug for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Display for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.get())
    }
}

impl LowerHex for Address {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        LowerHex::fmt(&self.get(), f)
    }
}

/// How a block is leaked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum LeakKind {
    /// Nothing points to it, not even a leaked block.
    Direct,
    /// Only leaked blocks point to it, and it to none of those that lead to it.
    Indirect,
    /// It is part of the cycle with this number, from 0: blocks that lead to each other, or one to itself.
    Cycle(u32),
}

/// The counts of what looks like an `Rc` or `Arc`, in the first two words of its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RcCounts {
    /// The strong count.
    pub strong: u64,
    /// The weak count as it is stored: one more than there are `Weak` pointers, since all strong ones together hold one.
    pub weak: u64,
}

/// A live block that no root leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakedBlock {
    /// Where it begins.
    pub address: Address,
    /// Its bytes: of a small block those of its size class, of a large one as requested. In debug mode, those requested of
    /// any block.
    pub bytes: u64,
    /// In debug mode, its number: the first block of the process is 1. A block that was resized has a new one.
    pub serial: Option<u64>,
    /// Number of the backtrace of its allocation, if that was recorded: the same place has the same number.
    pub backtrace: Option<u32>,
    /// How it is leaked.
    pub kind: LeakKind,
    /// The counts in its first words, if together they are exactly the pointers that leaked blocks have to its start: then
    /// it is held from among the leaked alone, as CPython's `gc` finds out by the same sum.
    pub counts: Option<RcCounts>,
    /// The leaked blocks that point to it: their positions in [`LeakReport::blocks`], ascending.
    pub referrers: Vec<usize>,
    /// The leaked blocks that it points to, likewise.
    pub referents: Vec<usize>,
}

/// Leaked blocks that lead to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Cycle {
    /// Its blocks: their positions in [`LeakReport::blocks`], ascending.
    pub blocks: Vec<usize>,
    /// Whether some of its blocks have counts, as an `Rc` or `Arc` has, which are exactly the pointers found to them: the
    /// blocks keep each other alive, and nothing else does.
    pub is_counted: bool,
}

/// Leaked blocks of one size, and of one backtrace if those were recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakGroup {
    /// Bytes of each block.
    pub block_bytes: u64,
    /// Number of the backtrace of their allocation, if that was recorded.
    pub backtrace: Option<u32>,
    /// Blocks that are leaked directly.
    pub direct: u64,
    /// Blocks that are leaked indirectly.
    pub indirect: u64,
    /// Blocks in cycles.
    pub in_cycles: u64,
}

/// Blocks and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BlockCount {
    /// How many.
    pub blocks: u64,
    /// Bytes of them.
    pub bytes: u64,
}

impl BlockCount {
    fn add(&mut self, bytes: u64) {
        self.blocks += 1;
        self.bytes += bytes;
    }
}

/// What a search for leaks has found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LeakReport {
    /// All live blocks, leaked or not: small ones, and large ones that are indexed.
    pub live: BlockCount,
    /// Leaked blocks that nothing points to.
    pub direct: BlockCount,
    /// Leaked blocks that only leaked ones point to, outside of cycles.
    pub indirect: BlockCount,
    /// Leaked blocks in cycles.
    pub in_cycles: BlockCount,
    /// Every leaked block; small ones first, by address.
    pub blocks: Vec<LeakedBlock>,
    /// The cycles, by the first of their blocks.
    pub cycles: Vec<Cycle>,
    /// The leaked blocks by size, smallest first, and by backtrace.
    pub groups: Vec<LeakGroup>,
    /// Whether large blocks were looked at one by one: those served since the finder was armed. Else all memory of the
    /// backend is part of the roots: no large block is reported, and what one points to is not leaked.
    pub is_armed: bool,
    /// Bytes of the roots that were read.
    pub root_bytes: u64,
    /// Blocks that were under way between threads, or of a time before a fork, so that they count as reached.
    pub undecided_blocks: u64,
    /// Other threads that were stopped.
    pub stopped_threads: u64,
    /// Numbers of the threads that could not be stopped. Their stacks were scanned whole, but not their registers, and
    /// they may have moved pointers meanwhile: with one here, what is reported may be reachable.
    pub running_threads: Vec<u32>,
    /// How long the other threads were stopped.
    pub stopped_for: Duration,
}

/// What the report says besides the leaked blocks.
pub(super) struct Around {
    pub(super) sums: Sums,
    pub(super) is_armed: bool,
    pub(super) stopped_threads: u64,
    pub(super) running_threads: Vec<u32>,
    pub(super) stopped_for: Duration,
}

impl LeakReport {
    /// Leaked blocks of all kinds.
    #[must_use]
    pub fn leaked(&self) -> BlockCount {
        BlockCount {
            blocks: self.direct.blocks + self.indirect.blocks + self.in_cycles.blocks,
            bytes: self.direct.bytes + self.indirect.bytes + self.in_cycles.bytes,
        }
    }

    /// Whether nothing is leaked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(super) fn new(leaked: &[Leaked], edges: &[Edge], around: Around) -> Self {
        let forth = Graph::new(leaked.len(), edges.iter().map(|edge| (edge.from, edge.to)));
        let back = Graph::new(leaked.len(), edges.iter().map(|edge| (edge.to, edge.from)));
        let mut to_start = vec![0_u64; leaked.len()];
        edges.iter().filter(|edge| edge.is_to_start).for_each(|edge| to_start[edge.to as usize] += 1);
        let (kinds, cycles) = kinds(&forth, &back, leaked.len());
        let blocks: Vec<_> = leaked
            .iter()
            .enumerate()
            .map(|(number, block)| LeakedBlock {
                address: Address::of_hidden(block.hidden),
                bytes: block.bytes as u64,
                serial: block.told.map(|told| told.serial),
                backtrace: block.told.and_then(|told| told.allocated).map(TraceId::get),
                kind: kinds[number],
                counts: counts(block, to_start[number]),
                referrers: distinct(back.targets(number)),
                referents: distinct(forth.targets(number)),
            })
            .collect();
        let is_counted = |number: &usize| blocks[*number].counts.is_some();
        let cycles =
            cycles.into_iter().map(|members| Cycle { is_counted: members.iter().any(is_counted), blocks: members });
        let mut report = Self {
            live: BlockCount { blocks: around.sums.live_blocks, bytes: around.sums.live_bytes },
            direct: BlockCount::default(),
            indirect: BlockCount::default(),
            in_cycles: BlockCount::default(),
            cycles: cycles.collect(),
            groups: Vec::new(),
            blocks,
            is_armed: around.is_armed,
            root_bytes: around.sums.root_bytes,
            undecided_blocks: around.sums.undecided_blocks,
            stopped_threads: around.stopped_threads,
            running_threads: around.running_threads,
            stopped_for: around.stopped_for,
        };
        report.count();
        report
    }

    fn count(&mut self) {
        let mut groups = std::collections::BTreeMap::new();
        for block in &self.blocks {
            let LeakedBlock { bytes, backtrace, .. } = *block;
            let none = LeakGroup { block_bytes: bytes, backtrace, direct: 0, indirect: 0, in_cycles: 0 };
            let group = groups.entry((bytes, backtrace)).or_insert(none);
            let (sum, count) = match block.kind {
                LeakKind::Direct => (&mut self.direct, &mut group.direct),
                LeakKind::Indirect => (&mut self.indirect, &mut group.indirect),
                LeakKind::Cycle(_) => (&mut self.in_cycles, &mut group.in_cycles),
            };
            sum.add(block.bytes);
            *count += 1;
        }
        self.groups = groups.into_values().collect();
    }
}

/// The kind of each block, and the members of each cycle.
fn kinds(forth: &Graph, back: &Graph, blocks: usize) -> (Vec<LeakKind>, Vec<Vec<usize>>) {
    let (part, parts) = forth.parts();
    let mut sizes = vec![0_u32; parts];
    part.iter().for_each(|part| sizes[*part as usize] += 1);
    let mut cycle_of_part = vec![None; parts];
    let (mut kinds, mut cycles) = (Vec::with_capacity(blocks), Vec::<Vec<usize>>::new());
    for (number, own) in part.iter().enumerate() {
        let own = *own as usize;
        let is_in_cycle = sizes[own] > 1 || forth.targets(number).contains(&(number as u32));
        kinds.push(if is_in_cycle {
            let cycle = *cycle_of_part[own].get_or_insert_with(|| {
                cycles.push(Vec::new());
                cycles.len() - 1
            });
            cycles[cycle].push(number);
            LeakKind::Cycle(cycle as u32)
        } else if back.targets(number).is_empty() {
            LeakKind::Direct
        } else {
            LeakKind::Indirect
        });
    }
    (kinds, cycles)
}

/// The counts of a block that so many pointers lead to, if they account for each of these.
fn counts(block: &Leaked, pointers: u64) -> Option<RcCounts> {
    let [strong, weak] = block.words;
    let is_exact = block.bytes >= 16 && strong > 0 && weak > 0 && strong.checked_add(weak - 1) == Some(pointers);
    is_exact.then_some(RcCounts { strong, weak })
}

fn distinct(numbers: &[u32]) -> Vec<usize> {
    let mut distinct: Vec<_> = numbers.iter().map(|number| *number as usize).collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

/// Blocks that `Display` lists of those outside cycles, and of each cycle, unless asked for all.
const LISTED: usize = 20;
/// Names of blocks in a line.
const NAMED: usize = 4;

impl Display for LeakReport {
    /// One line for each leaked block, with who points to it, after CPython's `gc.set_debug(gc.DEBUG_LEAK)`; then the sums.
    /// Lists at most 20 blocks outside of cycles, and 20 of each of 20 cycles; `{:#}` lists all.
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
        let bytes: u64 = cycle.blocks.iter().map(|block| self.blocks[*block].bytes).sum();
        write!(f, "leaks: cycle {number}: {} blocks, {bytes} bytes", cycle.blocks.len())?;
        let held =
            if cycle.is_counted { ", held by nothing but itself: the counts are the pointers found" } else { "" };
        writeln!(f, "{held}")?;
        cycle.blocks.iter().take(most).try_for_each(|block| self.write_block(f, &self.blocks[*block]))?;
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
            write!(f, ", strong {strong}, weak {}", weak - 1)?;
        }
        for (position, referrer) in referrers.iter().take(NAMED).enumerate() {
            let before = if position == 0 { ", from" } else { "," };
            write!(f, "{before} {}", self.blocks[*referrer].address)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report(words: &[[u64; 2]], edges: &[(u32, u32)]) -> LeakReport {
        let leaked: Vec<_> = (0..)
            .zip(words)
            .map(|(number, &words)| Leaked { hidden: !(4096 + number * 32), bytes: 32, words, told: None })
            .collect();
        let edges: Vec<_> = edges.iter().map(|&(from, to)| Edge { from, to, is_to_start: true }).collect();
        let around = Around {
            sums: Sums { live_blocks: 10, live_bytes: 320, root_bytes: 4096, undecided_blocks: 0 },
            is_armed: false,
            stopped_threads: 1,
            running_threads: Vec::new(),
            stopped_for: Duration::from_micros(1500),
        };
        LeakReport::new(&leaked, &edges, around)
    }

    fn kinds_of(report: &LeakReport) -> Vec<LeakKind> {
        report.blocks.iter().map(|block| block.kind).collect()
    }

    #[test]
    fn kinds_follow_from_who_points_to_whom() {
        use LeakKind::{Cycle, Direct, Indirect};
        // 0 holds 1; 2 and 3 hold each other, and 4; 5 holds itself; 6 holds the cycle of 2 and 3.
        let found = report(&[[0, 0]; 7], &[(0, 1), (2, 3), (3, 2), (3, 4), (3, 4), (5, 5), (6, 2)]);
        assert_eq!(kinds_of(&found), [Direct, Indirect, Cycle(0), Cycle(0), Indirect, Cycle(1), Direct]);
        assert_eq!((found.direct.blocks, found.indirect.blocks, found.in_cycles.blocks), (2, 2, 3));
        assert_eq!(found.leaked(), BlockCount { blocks: 7, bytes: 7 * 32 });
        assert_eq!(found.blocks[2].referrers, [3, 6]);
        assert_eq!(found.blocks[3].referents, [2, 4]);
        assert_eq!(found.cycles[0].blocks, [2, 3]);
        assert_eq!(
            found.groups,
            [LeakGroup { block_bytes: 32, backtrace: None, direct: 2, indirect: 2, in_cycles: 3 }]
        );
    }

    #[test]
    fn counts_are_told_if_they_account_for_each_pointer() {
        let counted = |words: [u64; 2], edges: &[(u32, u32)]| report(&[words, [0, 0]], edges).blocks[0].counts;
        assert_eq!(counted([1, 1], &[(1, 0), (0, 1)]), Some(RcCounts { strong: 1, weak: 1 }));
        assert_eq!(counted([2, 1], &[(1, 0), (0, 1)]), None);
        assert_eq!(counted([2, 1], &[(1, 0), (0, 0), (0, 1)]), Some(RcCounts { strong: 2, weak: 1 }));
        // A `Weak` points to the block as well.
        assert_eq!(counted([1, 2], &[(1, 0), (1, 0)]), Some(RcCounts { strong: 1, weak: 2 }));
        assert_eq!(counted([0, 1], &[]), None);
        assert_eq!(counted([u64::MAX, u64::MAX], &[(1, 0)]), None);
        assert!(report(&[[1, 1], [1, 1]], &[(0, 1), (1, 0)]).cycles[0].is_counted);
        assert!(!report(&[[3, 1], [0, 0]], &[(0, 1), (1, 0)]).cycles[0].is_counted);
    }

    #[test]
    fn the_text_names_each_block() {
        let text = report(&[[1, 1], [1, 1], [9, 9]], &[(0, 1), (1, 0)]).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "leaks: 10 live blocks, 320 bytes",
                "leaks: 4096 bytes of roots; large blocks: count as roots",
                "leaks: 1 other threads stopped for 1.500 ms",
                "leaks: unreachable <32 bytes at 0x1040> direct",
                "leaks: cycle 0: 2 blocks, 64 bytes, held by nothing but itself: the counts are the pointers found",
                "leaks: unreachable <32 bytes at 0x1000> in cycle 0, strong 1, weak 0, from 0x1020",
                "leaks: unreachable <32 bytes at 0x1020> in cycle 0, strong 1, weak 0, from 0x1000",
                "leaks: of 32 bytes: 3 blocks, 1 direct, 0 indirect, 2 in cycles",
                "leaks: done, 3 unreachable, 96 bytes: 1 direct, 0 indirect, 2 in 1 cycle",
            ]
        );
    }

    #[test]
    fn long_lists_are_cut_unless_all_is_asked_for() {
        let found = report(&[[0, 0]; 30], &[]);
        assert_eq!(found.to_string().matches("direct\n").count(), 20);
        assert!(found.to_string().contains("and 10 more blocks"));
        assert_eq!(format!("{found:#}").matches("> direct\n").count(), 30);
    }

    #[test]
    fn an_address_in_memory_is_no_pointer() {
        let address = Address::from(0x1234);
        assert_eq!((address.get(), usize::from(address)), (0x1234, 0x1234));
        assert_eq!(address.0, !0x1234);
        assert!(Address::from(1) < Address::from(2));
        assert_eq!(format!("{address} {address:?} {address:x}"), "0x1234 0x1234 1234");
    }
}
