//! Judges leaked blocks: which are in cycles, and which cycles hold themselves, by the counts.

use super::found::{Edge, SearchFacts, UnreachableBlock};
use super::graph::Graph;
use crate::figures::Address;
use crate::leaks::report::{BlockCount, Cycle, LeakGroup, LeakKind, LeakReport, LeakedBlock, RcCounts};
use crate::traces::TraceId;

impl LeakReport {
    pub(super) fn new(leaked: &[UnreachableBlock], edges: &[Edge], around: SearchFacts) -> Self {
        let forth = Graph::new(leaked.len(), edges.iter().map(|edge| (edge.from, edge.to)));
        let back = Graph::new(leaked.len(), edges.iter().map(|edge| (edge.to, edge.from)));
        let mut to_start = vec![0_u64; leaked.len()];
        edges.iter().filter(|edge| edge.is_to_start).for_each(|edge| to_start[edge.to as usize] += 1);
        let counts: Vec<_> = leaked.iter().zip(&to_start).map(|(block, pointers)| counts(block, *pointers)).collect();
        let (kinds, cycles) = kinds(&forth, &back, leaked.len(), |number| counts[number].is_some());
        let blocks: Vec<_> = leaked
            .iter()
            .enumerate()
            .map(|(number, block)| LeakedBlock {
                address: block.address,
                bytes: block.bytes as u64,
                serial: block.facts.map(|facts| facts.serial),
                backtrace: block.facts.and_then(|facts| facts.allocated).map(TraceId::get),
                kind: kinds[number],
                counts: counts[number],
                referrers: distinct(back.targets(number)),
                referents: distinct(forth.targets(number)),
            })
            .collect();
        let mut report = Self {
            live: BlockCount { blocks: around.sums.live_blocks, bytes: around.sums.live_bytes },
            direct: BlockCount::default(),
            indirect: BlockCount::default(),
            in_cycles: BlockCount::default(),
            cycles: judged(cycles, &blocks, leaked, edges),
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

    /// Keeps only the blocks for which `is_kept` is true, and the blocks of each cycle that has one of them.
    pub(super) fn keep(&mut self, is_kept: impl Fn(Address) -> bool) {
        let is_kept: Vec<_> = self.blocks.iter().map(|block| is_kept(block.address)).collect();
        let has_kept = |cycle: &Cycle| cycle.blocks.iter().any(|block| is_kept[*block]);
        let new_cycle = renumbered(self.cycles.iter().map(has_kept));
        let stays = |(block, is_kept): (&LeakedBlock, &bool)| match block.kind {
            LeakKind::Cycle(number) => new_cycle[number as usize].is_some(),
            _ => *is_kept,
        };
        let new_block = renumbered(self.blocks.iter().zip(&is_kept).map(stays));
        let follow = |blocks: &mut Vec<usize>| *blocks = blocks.iter().filter_map(|block| new_block[*block]).collect();
        let mut number = 0..;
        self.blocks.retain(|_| number.next().is_some_and(|number: usize| new_block[number].is_some()));
        for block in &mut self.blocks {
            follow(&mut block.referrers);
            follow(&mut block.referents);
            if let LeakKind::Cycle(cycle) = &mut block.kind {
                *cycle = new_cycle[*cycle as usize].unwrap_or_default() as u32;
            }
        }
        self.cycles.retain(has_kept);
        self.cycles.iter_mut().for_each(|cycle| follow(&mut cycle.blocks));
        (self.direct, self.indirect, self.in_cycles) = Default::default();
        self.count();
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

/// Makes the cycles from their members, and finds out which cycles are counted ([`Cycle::is_counted`]).
fn judged(cycles: Vec<Vec<usize>>, blocks: &[LeakedBlock], leaked: &[UnreachableBlock], edges: &[Edge]) -> Vec<Cycle> {
    let is_inside = |edge: &&Edge| {
        let (from, to) = (blocks[edge.from as usize].kind, blocks[edge.to as usize].kind);
        edge.is_to_start && from == to && matches!(to, LeakKind::Cycle(_))
    };
    let mut inside = vec![0_u64; leaked.len()];
    edges.iter().filter(is_inside).for_each(|edge| inside[edge.to as usize] += 1);
    let is_accounted = |number: &usize| counts(&leaked[*number], inside[*number]).is_some();
    let is_counted = |members: &[usize]| {
        let is_clear = |number: &usize| !looks_counted(&leaked[*number]) || is_accounted(number);
        members.iter().any(is_accounted) && members.iter().all(is_clear)
    };
    cycles.into_iter().map(|members| Cycle { is_counted: is_counted(&members), blocks: members }).collect()
}

/// Returns the new number of each item that stays, and `None` for the others.
fn renumbered(stays: impl Iterator<Item = bool>) -> Vec<Option<usize>> {
    let mut next = 0..;
    stays.map(|stays| if stays { next.next() } else { None }).collect()
}

/// Returns the kind of each block, and the members of each cycle.
///
/// A block that points to itself is a cycle of its own if `holds_itself` says so. Other pointers of a block into itself
/// keep nothing alive.
fn kinds(
    forth: &Graph,
    back: &Graph,
    blocks: usize,
    holds_itself: impl Fn(usize) -> bool,
) -> (Vec<LeakKind>, Vec<Vec<usize>>) {
    let (part, parts) = forth.parts();
    let mut sizes = vec![0_u32; parts];
    part.iter().for_each(|part| sizes[*part as usize] += 1);
    let mut cycle_of_part = vec![None; parts];
    let (mut kinds, mut cycles) = (Vec::with_capacity(blocks), Vec::<Vec<usize>>::new());
    for (number, own) in part.iter().enumerate() {
        let own = *own as usize;
        let is_itself = |other: &u32| *other as usize == number;
        let is_in_cycle = sizes[own] > 1 || forth.targets(number).iter().any(is_itself) && holds_itself(number);
        kinds.push(if is_in_cycle {
            let cycle = *cycle_of_part[own].get_or_insert_with(|| {
                cycles.push(Vec::new());
                cycles.len() - 1
            });
            cycles[cycle].push(number);
            LeakKind::Cycle(cycle as u32)
        } else if back.targets(number).iter().all(is_itself) {
            LeakKind::Direct
        } else {
            LeakKind::Indirect
        });
    }
    (kinds, cycles)
}

/// The counts of a block, if they account for exactly this number of `pointers` to it.
fn counts(block: &UnreachableBlock, pointers: u64) -> Option<RcCounts> {
    let [strong, weak] = block.words;
    let is_exact = block.bytes >= 16 && strong > 0 && weak > 0 && strong.checked_add(weak - 1) == Some(pointers);
    is_exact.then_some(RcCounts { strong, weak })
}

/// Whether the first two words could be counts. If they are counts, and count more pointers than were found, something
/// else holds the block.
fn looks_counted(block: &UnreachableBlock) -> bool {
    /// More pointers than programs have to one thing.
    const MOST: u64 = 1 << 20;
    block.bytes >= 16 && block.words.iter().all(|word| (1..=MOST).contains(word))
}

fn distinct(numbers: &[u32]) -> Vec<usize> {
    let mut distinct: Vec<_> = numbers.iter().map(|number| *number as usize).collect();
    distinct.sort_unstable();
    distinct.dedup();
    distinct
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaks::search::found::ScanSums;
    use std::time::Duration;

    fn report(words: &[[u64; 2]], edges: &[(u32, u32)]) -> LeakReport {
        let leaked: Vec<_> = (0..)
            .zip(words)
            .map(|(number, &words)| UnreachableBlock {
                address: Address::from(4096 + number * 32),
                bytes: 32,
                words,
                facts: None,
            })
            .collect();
        let edges: Vec<_> = edges.iter().map(|&(from, to)| Edge { from, to, is_to_start: true }).collect();
        let around = SearchFacts {
            sums: ScanSums { live_blocks: 10, live_bytes: 320, root_bytes: 4096, undecided_blocks: 0 },
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
        // 0 points to 1. 2 and 3 point to each other, 3 also to 4, and 6 to 2. 5 holds itself. 7 and 8 point into
        // themselves, and 0 points to 8.
        let mut words = [[0, 0]; 9];
        words[5] = [1, 1];
        let edges = [(0, 1), (2, 3), (3, 2), (3, 4), (3, 4), (5, 5), (6, 2), (7, 7), (8, 8), (0, 8)];
        let found = report(&words, &edges);
        let kinds = [Direct, Indirect, Cycle(0), Cycle(0), Indirect, Cycle(1), Direct, Direct, Indirect];
        assert_eq!(kinds_of(&found), kinds);
        assert_eq!((found.direct.blocks, found.indirect.blocks, found.in_cycles.blocks), (3, 3, 3));
        assert_eq!(found.leaked(), BlockCount { blocks: 9, bytes: 9 * 32 });
        assert_eq!(found.blocks[2].referrers, [3, 6]);
        assert_eq!(found.blocks[3].referents, [2, 4]);
        assert_eq!(found.cycles[0].blocks, [2, 3]);
        assert_eq!(
            found.groups,
            [LeakGroup { block_bytes: 32, backtrace: None, direct: 3, indirect: 3, in_cycles: 3 }]
        );
    }

    #[test]
    fn only_what_is_kept_is_left() {
        use LeakKind::{Cycle, Direct, Indirect};
        // 0 and 1 point to each other. 2 and 4 point to 3. 4 also points to 5. 5 and 6 point to each other, and 6 to 7.
        let edges = [(0, 1), (1, 0), (2, 3), (4, 3), (4, 5), (5, 6), (6, 5), (6, 7)];
        let mut found = report(&[[0, 0]; 8], &edges);
        let kept = [2, 3, 6, 7].map(|number: usize| found.blocks[number].address);
        found.keep(|address| kept.contains(&address));
        assert_eq!(kinds_of(&found), [Direct, Indirect, Cycle(0), Cycle(0), Indirect]);
        let addresses: Vec<_> = found.blocks.iter().map(|block| block.address.get()).collect();
        assert_eq!(addresses, [2, 3, 5, 6, 7].map(|number| 4096 + number * 32));
        assert_eq!(found.cycles.iter().map(|cycle| &cycle.blocks[..]).collect::<Vec<_>>(), [[2, 3]]);
        assert_eq!((&found.blocks[1].referrers[..], &found.blocks[3].referents[..]), (&[0][..], &[2, 4][..]));
        assert_eq!(found.leaked(), BlockCount { blocks: 5, bytes: 5 * 32 });
        assert_eq!(
            found.groups,
            [LeakGroup { block_bytes: 32, backtrace: None, direct: 1, indirect: 2, in_cycles: 2 }]
        );
        found.keep(|_| false);
        assert!(found.is_empty() && found.cycles.is_empty() && found.groups.is_empty());
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
        let is_counted = |words: &[[u64; 2]], edges: &[(u32, u32)]| report(words, edges).cycles[0].is_counted;
        assert!(is_counted(&[[1, 1], [1, 1]], &[(0, 1), (1, 0)]));
        assert!(is_counted(&[[1, 1], [0, 0]], &[(0, 1), (1, 0)]));
        assert!(!is_counted(&[[3, 1], [0, 0]], &[(0, 1), (1, 0)]));
        // Block 0 counts two pointers. One of them is not found, or comes from a leaked block outside of the cycle.
        assert!(!is_counted(&[[2, 1], [1, 1]], &[(0, 1), (1, 0)]));
        assert!(!is_counted(&[[2, 1], [1, 1], [0, 0]], &[(0, 1), (1, 0), (2, 0)]));
        // The buffer of a vector of pointers or of large numbers has no counts.
        assert!(is_counted(&[[1, 1], [1 << 40, 7]], &[(0, 1), (1, 0)]));
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
}
