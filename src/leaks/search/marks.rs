//! Which blocks are reached.

use super::found::Node;
use super::scan::{LARGE_NODE, Marks, Scan};

impl Scan<'_> {
    /// Marks a block as reached, and queues it to be scanned. Returns whether it was not marked before; `None` if there
    /// is no memory.
    pub(super) fn mark(&self, node: Node) -> Option<bool> {
        let mut marks = self.marks.borrow_mut();
        let Marks { small, large, work } = &mut *marks;
        let (marks, number) = if node & LARGE_NODE != 0 { (large, node & !LARGE_NODE) } else { (small, node) };
        let (word, bit) = (&mut marks[(number / 64) as usize], 1 << (number % 64));
        if *word & bit != 0 {
            return Some(false);
        }
        *word |= bit;
        work.push(node)?;
        Some(true)
    }

    pub(super) fn is_marked(&self, node: Node) -> bool {
        let marks = self.marks.borrow();
        let (marks, number) =
            if node & LARGE_NODE != 0 { (&marks.large, node & !LARGE_NODE) } else { (&marks.small, node) };
        marks[(number / 64) as usize] >> (number % 64) & 1 == 1
    }
}
