//! Which parts of stacks are in use.

use super::scan::{READ_AT_ONCE, Scan, WORD};
use crate::os::world;
use crate::os::world::World;

/// What the C library has noted of a thread's stack. With its guard, where it has made one.
struct StackNote {
    start: usize,
    end: usize,
    guard: usize,
}

impl Scan<'_> {
    /// Hides what lies below the stack pointer, down to where the thread's stack ends: as the kernel says of the first
    /// thread's, and the C library of others. Of stacks that nobody knows all is scanned, and so where a stack for
    /// signals is in use, which may lie in the middle of another.
    pub(super) fn hide_unused_stack(&mut self, stack: usize, pointer: usize) -> Option<()> {
        let Some(number) = self.mapping_of(stack) else { return Some(()) };
        let mapping = self.mappings[number];
        if mapping.name.bytes() == b"[stack]" {
            return self.holes.push((mapping.start, stack));
        }
        match self.stack_of(pointer) {
            Some(known) if known.start <= stack && stack < known.end => {
                self.holes.push((known.start.max(mapping.start), stack))
            }
            _ => Some(()),
        }
    }

    /// Hides the stacks of threads that are gone, which the C library keeps for later ones.
    pub(super) fn hide_dead_stacks(&mut self, world: &World) -> Option<()> {
        /// Words looked at together.
        const STEP: usize = 8;
        let Some(is_thread_pointer) = world::is_thread_pointer() else { return Some(()) };
        for number in 0..self.mappings.len() {
            let mapping = self.mappings[number];
            let range = mapping.start..mapping.end;
            let is_alive = |pointer: &usize| range.contains(pointer);
            if !mapping.is_root
                || !self.has_guard(number)
                || is_alive(&world::thread_pointer())
                || world.threads().any(|thread| thread.stack.is_none() || is_alive(&thread.pointer))
            {
                continue;
            }
            let mut pointer = None;
            let mut words = [0; READ_AT_ONCE];
            self.memory.each_used((mapping.start, mapping.end), |from, to| {
                for from in (from..to).step_by(READ_AT_ONCE * WORD) {
                    let wanted = ((to - from) / WORD).min(READ_AT_ONCE);
                    let read = self.memory.read(from, &mut words[..wanted]);
                    for (step, words) in words[..read].chunks_exact(STEP).enumerate() {
                        let address = from + step * STEP * WORD;
                        if is_thread_pointer(address, words) {
                            pointer = Some(address);
                        }
                    }
                }
            });
            // Made by the C library, with its guard: memory that the program has lent it is the program's again.
            let is_own = |note: &StackNote| note.guard > 0 && note.start.checked_add(note.guard) == Some(mapping.start);
            if let Some(pointer) = pointer.filter(|pointer| self.stack_of(*pointer).is_some_and(|note| is_own(&note))) {
                self.holes.push((mapping.start, pointer))?;
            }
        }
        Some(())
    }

    /// The stack that the C library notes in a thread's record.
    fn stack_of(&self, pointer: usize) -> Option<StackNote> {
        /// More than lies above a thread's record on its stack.
        const ABOVE: usize = 1024 * 1024;
        let (from, to) = world::thread_record(pointer);
        let mut words = [0; 512];
        let wanted = ((to - from) / WORD).min(words.len());
        let read = self.memory.read(from, &mut words[..wanted]);
        words[..read].windows(3).find_map(|words| {
            let (start, bytes, guard) = (words[0] as usize, words[1] as usize, words[2] as usize);
            let end = start.checked_add(bytes)?;
            let is_stack = start % crate::os::page_bytes() == 0 && start > 0 && start < pointer;
            (is_stack && end > pointer && end - pointer <= ABOVE).then_some(StackNote { start, end, guard })
        })
    }

    /// Whether a mapping without rights lies right below.
    fn has_guard(&self, number: usize) -> bool {
        let below = number.checked_sub(1).map(|below| &self.mappings[below]);
        below.is_some_and(|below| below.is_closed && below.end == self.mappings[number].start)
    }
}
