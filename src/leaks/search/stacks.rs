//! Which parts of stacks are in use.

use super::scan::{READ_AT_ONCE, Scan, WORD};
use crate::os::world;
use crate::os::world::World;

/// The C library's note of a thread's stack, with the bytes of the guard that the library made, if it made one.
struct StackNote {
    start: usize,
    end: usize,
    guard: usize,
}

impl Scan<'_> {
    /// Hides the unused part of a thread's stack: from the stack's start to the stack pointer. The mapping gives the
    /// start for the first thread, the C library's note for other threads. If the start is not known, the whole stack
    /// is scanned. Callers leave out a thread that uses a signal stack, which may lie in the middle of another stack.
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

    /// Hides the stacks of ended threads, which the C library keeps for later threads.
    pub(super) fn hide_dead_stacks(&mut self, world: &World) -> Option<()> {
        /// Number of words that are looked at together.
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
            // Only a stack that the C library made is hidden; it has a guard. The program may have lent its own memory
            // as a stack, and may use that memory again.
            let is_own = |note: &StackNote| note.guard > 0 && note.start.checked_add(note.guard) == Some(mapping.start);
            if let Some(pointer) = pointer.filter(|pointer| self.stack_of(*pointer).is_some_and(|note| is_own(&note))) {
                self.holes.push((mapping.start, pointer))?;
            }
        }
        Some(())
    }

    /// Returns the stack that a thread's descriptor names, given the thread pointer; `None` if there is none.
    fn stack_of(&self, pointer: usize) -> Option<StackNote> {
        /// More bytes than lie above the thread pointer on any stack.
        const ABOVE: usize = 1024 * 1024;
        let (from, to) = world::thread_descriptor(pointer);
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

    /// Whether a mapping without rights lies right below this one.
    fn has_guard(&self, number: usize) -> bool {
        let below = number.checked_sub(1).map(|below| &self.mappings[below]);
        below.is_some_and(|below| below.is_closed && below.end == self.mappings[number].start)
    }
}
