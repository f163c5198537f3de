//! Follows pointers: marks the blocks that the roots lead to, and finds the leaked blocks and the pointers to a block.

use super::found::{Edge, Node, ScanPlace, UnreachableBlock};
use super::scan::{Scan, WORD};
use crate::figures::Address;
use crate::os::MappedSlice;

impl Scan<'_> {
    /// Marks all blocks that the roots lead to. `None` if there is no memory.
    pub(super) fn mark_from_roots(&mut self) -> Option<()> {
        let mut is_whole = true;
        let mut look = |value: u64| {
            if let Some(node) = self.node_of(value as usize) {
                is_whole &= self.mark(node).is_some();
            }
        };
        let mut words = 0;
        self.each_root_word(|mapping, _, value| {
            words += 1;
            if !self.is_mallocs_own(mapping, value as usize) {
                look(value);
            }
        });
        self.stacks.iter().for_each(|stack| look(*stack as u64));
        let next = || self.marks.borrow_mut().work.pop();
        while let Some(node) = next() {
            self.words(node, |_, value| look(value));
        }
        self.sums.root_bytes = words * WORD as u64;
        is_whole.then_some(())
    }

    /// Returns the blocks that nothing leads to, and the pointers among them. `None` if there is no memory.
    pub(super) fn leaked(&self) -> Option<(MappedSlice<UnreachableBlock>, MappedSlice<Edge>)> {
        let (mut nodes, mut leaked, mut edges) = (MappedSlice::<Node>::new(), MappedSlice::new(), MappedSlice::new());
        self.each_live(|node| if self.is_marked(node) { Some(()) } else { nodes.push(node) })?;
        for (from, node) in nodes.iter().enumerate() {
            let (start, bytes) = self.block(*node);
            let mut block =
                UnreachableBlock { address: Address::from(start), bytes, words: [0; 2], facts: self.facts(*node) };
            let mut is_whole = true;
            self.words(*node, |address, value| {
                let Some(target) = self.node_of(value as usize) else {
                    if let Some(word) = block.words.get_mut((address - start) / WORD) {
                        *word = value;
                    }
                    return;
                };
                // The target is leaked, too, or something else leads to it.
                if let Ok(to) = nodes.binary_search(&target) {
                    let is_to_start = value as usize == self.block(target).0;
                    is_whole &= edges.push(Edge { from: from as u32, to: to as u32, is_to_start }).is_some();
                }
            });
            is_whole.then_some(())?;
            leaked.push(block)?;
        }
        Some((leaked, edges))
    }

    /// Calls `each` with the place and the address of every word that points into a block.
    pub(super) fn each_pointer_to(&self, node: Node, mut each: impl FnMut(ScanPlace, usize)) -> Option<()> {
        self.each_root_word(|mapping, address, value| {
            if self.node_of(value as usize) == Some(node) {
                each(ScanPlace::Root(mapping), address);
            }
        });
        self.each_live(|from| {
            self.words(from, |address, value| {
                if self.node_of(value as usize) == Some(node) {
                    each(ScanPlace::Block(from), address);
                }
            });
            Some(())
        })
    }

    /// Calls `each` with every live block that a block points to, once for each pointer.
    pub(super) fn each_pointer_from(&self, node: Node, mut each: impl FnMut(Node)) {
        self.words(node, |_, value| {
            if let Some(target) = self.node_of(value as usize) {
                each(target);
            }
        });
    }
}
