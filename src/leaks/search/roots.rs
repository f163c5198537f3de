//! The roots: mappings that are scanned, except for the holes in them.

use super::scan::{LARGE_NODE, Scan};
use crate::large::IndexGuard;
use crate::os::world;
use crate::os::world::{Caller, Mapping, Stop, World};

impl Scan<'_> {
    /// Finds the holes, which are the parts of mappings that are no roots, and notes the stacks in use.
    pub(super) fn find_holes(&mut self, held: &IndexGuard<'_>, world: &World, caller: &Caller) -> Option<()> {
        for hole in
            [self.view.region.reservation(), held.range(), Stop::table_range(), caller.own, self.mappings.range()]
        {
            self.holes.push(hole)?;
        }
        for number in 0..self.large.len() {
            let large = self.large[number];
            self.holes.push((large.start, large.start + large.bytes))?;
        }
        // A block may be the stack of a coroutine, or a signal stack. The thread that runs on it holds it, even if no
        // word leads to it.
        self.stacks.push(caller.stack)?;
        self.stacks.push(caller.signal_stack)?;
        world.threads().filter_map(|thread| thread.stack).try_for_each(|stack| self.stacks.push(stack))?;
        if !caller.on_signal_stack {
            self.hide_unused_stack(caller.stack, world::thread_pointer())?;
        }
        for thread in world.threads().filter(|thread| !thread.on_signal_stack) {
            if let Some(stack) = thread.stack {
                self.hide_unused_stack(stack, thread.pointer)?;
            }
        }
        self.hide_dead_stacks(world)?;
        self.holes.sort_unstable();
        Some(())
    }

    /// Calls `each` with every word of the roots: number of the mapping, address, and value.
    pub(super) fn each_root_word(&self, mut each: impl FnMut(usize, usize, u64)) {
        self.each_root_range(|number, from, to| {
            self.read_used(from, to, Some(number), &mut |address, value| each(number, address, value));
        });
    }

    /// Whether a word in the C library's memory is glibc's own pointer to the chunk behind a large block. Such a
    /// pointer looks like a pointer to the block's last word: each chunk of malloc begins 8 bytes before the end of the
    /// block in front of it.
    pub(super) fn is_mallocs_own(&self, mapping: usize, address: usize) -> bool {
        /// Bytes of a chunk in front of its block.
        const HEADER: usize = 16;
        let Some(node) = self.large_of(address) else { return false };
        let large = self.large[(node & !LARGE_NODE) as usize];
        let chunk_bytes = (large.bytes + HEADER / 2).next_multiple_of(HEADER);
        if self.view.region.offset_of(address).is_some() || address != large.start - HEADER + chunk_bytes {
            return false;
        }
        let Mapping { start, end, name, .. } = &self.mappings[mapping];
        let name = name.bytes();
        let has_blocks = || {
            let first = self.large.partition_point(|large| large.start < *start);
            self.large.get(first).is_some_and(|large| large.start < *end)
        };
        name == b"[heap]" || name.windows(7).any(|part| part == b"libc.so") || (name.is_empty() && has_blocks())
    }

    /// Calls `each` with each part of a mapping that is a root: number of the mapping, start, and end.
    fn each_root_range(&self, mut each: impl FnMut(usize, usize, usize)) {
        let mut next_hole = 0;
        for (number, mapping) in self.mappings.iter().enumerate().filter(|(_, mapping)| mapping.is_root) {
            let mut at = mapping.start;
            while next_hole < self.holes.len() && self.holes[next_hole].1 <= at {
                next_hole += 1;
            }
            for &(start, end) in self.holes[next_hole..].iter().take_while(|hole| hole.0 < mapping.end) {
                if start > at {
                    each(number, at, start);
                }
                at = at.max(end);
            }
            if at < mapping.end {
                each(number, at, mapping.end);
            }
        }
    }
}
