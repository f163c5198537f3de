//! What is live, what can be reached, and what is left: read while all other threads are stopped.
//!
//! ```text
//!   live map     blocks of pools that are in no map and no magazine; large blocks of the index
//!   roots        what is mapped, but for the allocator's own memory, unused parts of stacks, and large blocks
//!   marks        what a root leads to, over any number of blocks
//!   leaked       what is live and not marked, with the pointers among it
//! ```
//! Any aligned word with a value inside a live block is a pointer to it. Nothing here asks the allocator for memory, takes
//! a lock or panics.
//!
//! Scan invariant 1: a live block of a pool stays readable, since pools are never unmapped. Those of the backend are read as the roots
//! are: the program may have closed a page of one.

use super::index::{Held, Large};
use super::mapped::Mapped;
use crate::debug::{self, Inside, Told};
use crate::heap::{Heap, TAG_FREE, heap_of_tag, tag_block_bytes};
use crate::magazine::{self, SLOTS, Slot, capacity, is_absent};
use crate::os::world::{self, Caller, Mapping, Memory, Refusal, Stop, World};
use crate::region::PoolId;
use crate::remote::RemoteMap;
use crate::size_class::{CLASS_STEP, POOL_BYTES, POOLS_PER_ARENA, SizeClass, WORD_BYTES, WORDS_PER_POOL};
use crate::statics::MODE;
use crate::sync::Ordering;
use crate::verify::View;
use core::cell::RefCell;
use core::sync::atomic::AtomicU64;

/// Bytes of a word that may be a pointer.
const WORD: usize = size_of::<u64>();
/// Words read at once: on the finder's own stack.
const READ_AT_ONCE: usize = 8192;
/// Marks the number of a large block.
const LARGE: u64 = 1 << 63;

/// A live block: its place in the region in steps of 8 bytes, or its number among the large ones. Ordered as addresses are
/// within each kind.
pub(super) type Node = u64;

/// A block that nothing leads to.
#[derive(Clone, Copy)]
pub(super) struct Leaked {
    /// The address with all bits turned, so that this is no pointer.
    pub(super) hidden: usize,
    pub(super) bytes: usize,
    /// Its first two words: of an `Rc` or `Arc`, the counts. A pointer is told as 0: it would come into the report, even where
    /// that says that there are no counts, and hold what it points to.
    pub(super) words: [u64; 2],
    /// What the debug mode knows of it.
    pub(super) told: Option<Told>,
}

/// A pointer from one leaked block to another, by their numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    /// Whether it points to the block's first byte.
    pub(super) is_to_start: bool,
}

/// What a scan has found.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) live_blocks: u64,
    pub(super) live_bytes: u64,
    pub(super) root_bytes: u64,
    /// Blocks that count as roots since nobody can say whether they are live.
    pub(super) undecided_blocks: u64,
}

/// What the C library has noted of a thread's stack. With its guard, where it has made one.
struct StackNote {
    start: usize,
    end: usize,
    guard: usize,
}

/// Where a word lies that is scanned.
#[derive(Clone, Copy)]
pub(super) enum Holder {
    /// In the mapping with this number.
    Root(usize),
    Block(Node),
}

/// What is reached, and what of it has not been looked into.
struct Marks {
    small: Mapped<u64>,
    large: Mapped<u64>,
    work: Mapped<Node>,
}

/// The live blocks, and what is reached of them.
pub(super) struct Scan<'a> {
    view: &'a View<'a>,
    large: Mapped<Large>,
    /// A bit for each step of 8 bytes of the region, as in the free map.
    live: Mapped<u64>,
    marks: RefCell<Marks>,
    /// Whether blocks are those of the debug layer, which says what of them is the program's.
    is_debug: bool,
    pub(super) mappings: Mapped<Mapping>,
    /// What of the mappings is not scanned, by address; they may overlap.
    holes: Mapped<(usize, usize)>,
    /// Addresses in stacks that are in use, and in one for signals: pointers that are nowhere in memory.
    stacks: Mapped<usize>,
    memory: Memory,
    /// Where the part of the calling thread's stack begins that is scanned.
    pub(super) caller_stack: usize,
    pub(super) sums: Sums,
}

impl<'a> Scan<'a> {
    /// Whether blocks of some heap are under way.
    pub(super) fn is_moving(view: &View<'_>) -> bool {
        (0..view.heaps).filter_map(|index| view.heap(index)).any(Heap::is_moving)
    }

    pub(super) fn new(view: &'a View<'a>, held: &Held<'_>, world: &World, caller: &Caller) -> Result<Self, Refusal> {
        // The mappings first, so that none of what follows is among them.
        let mappings = read_mappings()?;
        let none = || Refusal::NoMemory;
        let large = held.sorted().ok_or_else(none)?;
        let words = view.carved * POOLS_PER_ARENA * WORDS_PER_POOL;
        let mut scan = Self {
            view,
            live: Mapped::zeros(words).ok_or_else(none)?,
            marks: RefCell::new(Marks {
                small: Mapped::zeros(words).ok_or_else(none)?,
                large: Mapped::zeros(large.len().div_ceil(64)).ok_or_else(none)?,
                work: Mapped::new(),
            }),
            large,
            is_debug: MODE.get().is_debug(),
            holes: Mapped::new(),
            stacks: Mapped::new(),
            memory: Memory::open()?,
            caller_stack: caller.stack,
            mappings,
            sums: Sums::default(),
        };
        scan.find_holes(held, world, caller).ok_or_else(none)?;
        scan.find_live().ok_or_else(none)?;
        Ok(scan)
    }

    /// Fills the live map. Blocks of heaps in the middle of a change count as live, and as reached.
    fn find_live(&mut self) -> Option<()> {
        let (view, region) = (self.view, self.view.region);
        for pool in (0..(view.carved * POOLS_PER_ARENA) as u32).map(PoolId) {
            let tag = region.tag(pool).load(Ordering::Relaxed);
            if tag == TAG_FREE {
                continue;
            }
            let mask = SizeClass::of_block(tag_block_bytes(tag)).block_mask();
            let is_changing = view.heap(heap_of_tag(tag)).is_none_or(Heap::is_moving);
            for (word, mask) in (pool.first_word()..).zip(mask) {
                let free = region.free_word(word).get() | region.word(word).load(Ordering::Relaxed);
                self.live[word as usize] = mask & !free;
                if is_changing {
                    self.mark_bits(word, mask & !free)?;
                }
            }
        }
        for heap in (0..view.heaps).filter_map(|index| view.heap(index)) {
            for class in SizeClass::all() {
                for top in heap.magazines(class).filter(|top| !is_absent(*top) && view.is_magazine(*top)) {
                    if heap.is_moving() {
                        // Others may have got what is in it.
                        continue;
                    }
                    for block in magazine::held(top, magazine::count(top, class).min(capacity(class))) {
                        if let Some(offset) = region.offset_of(block.addr()) {
                            let word = &mut self.live[offset / WORD_BYTES];
                            *word &= !(1 << (offset / CLASS_STEP % 64));
                        }
                    }
                }
            }
        }
        if Self::is_moving(view) {
            for magazine in 0..view.magazines {
                self.mark_slots(region.magazine(magazine))?;
            }
        }
        for index in (0..view.heaps).filter(|index| view.is_beyond_us(*index)) {
            // SAFETY: so many are open, for ever; only atomics are read, and what never changes.
            let Some(heap) = (unsafe { Heap::in_place(region.heap(index)) }) else { continue };
            for top in SizeClass::all().flat_map(|class| heap.magazines(class)) {
                if !is_absent(top) && view.is_magazine(top) {
                    self.mark_slots(magazine::start(top))?;
                }
            }
        }
        for word in 0..self.live.len() {
            let mut bits = self.live[word];
            while bits != 0 {
                let offset = (word * 64 + bits.trailing_zeros() as usize) * CLASS_STEP;
                if matches!(self.inside(offset), Some(Inside::Free)) {
                    // In the quarantine, or on its way from there.
                    self.live[word] &= !(bits & bits.wrapping_neg());
                } else {
                    self.sums.live_blocks += 1;
                    self.sums.live_bytes += self.block((offset / CLASS_STEP) as Node).1 as u64;
                }
                bits &= bits - 1;
            }
        }
        self.sums.live_blocks += self.large.len() as u64;
        self.sums.live_bytes += self.large.iter().map(|large| large.bytes as u64).sum::<u64>();
        Some(())
    }

    /// Marks what any slot of a magazine points to, in use or not: blocks under way were in one.
    fn mark_slots(&mut self, first: *mut Slot) -> Option<()> {
        for block in magazine::held(first, SLOTS) {
            if let Some(node) = self.node_of(block.addr()) {
                self.sums.undecided_blocks += u64::from(self.mark(node)?);
            }
        }
        Some(())
    }

    fn mark_bits(&mut self, word: u32, mut bits: u64) -> Option<()> {
        while bits != 0 {
            self.sums.undecided_blocks +=
                u64::from(self.mark(u64::from(word) * 64 + u64::from(bits.trailing_zeros()))?);
            bits &= bits - 1;
        }
        Some(())
    }

    /// The live block that an address lies in.
    pub(super) fn node_of(&self, address: usize) -> Option<Node> {
        let region = &self.view.region;
        let Some(offset) = region.offset_of(address) else { return self.large_of(address) };
        if offset / WORD_BYTES >= self.live.len() {
            return None;
        }
        let bytes = tag_block_bytes(region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed)) as u32;
        if bytes == 0 {
            return None;
        }
        let within = (offset % POOL_BYTES) as u32;
        let start = offset - (within % bytes) as usize;
        let is_live = self.live[start / WORD_BYTES] >> (start / CLASS_STEP % 64) & 1 == 1;
        let node = is_live.then_some((start / CLASS_STEP) as Node)?;
        if self.is_debug {
            // What lies around the program's bytes is no part of its block.
            let (start, bytes) = self.block(node);
            return (address.wrapping_sub(start) < bytes.max(1)).then_some(node);
        }
        Some(node)
    }

    /// What the debug layer says of the block of a pool at an offset; `None` without it.
    fn inside(&self, offset: usize) -> Option<Inside> {
        let region = &self.view.region;
        let bytes = || tag_block_bytes(region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed));
        self.is_debug.then(|| debug::inside(region.block(offset), offset, bytes()))
    }

    /// What the debug mode knows of a block.
    pub(super) fn told(&self, node: Node) -> Option<Told> {
        if !self.is_debug {
            return None;
        }
        if node & LARGE != 0 {
            let start = self.large[(node & !LARGE) as usize].start;
            // SAFETY: the index has it, and is held.
            return unsafe { debug::told_of_large(core::ptr::with_exposed_provenance_mut(start)) };
        }
        match self.inside(node as usize * CLASS_STEP) {
            Some(Inside::Live { told, .. }) => Some(told),
            _ => None,
        }
    }

    fn large_of(&self, address: usize) -> Option<Node> {
        let (first, last) = (self.large.first()?, self.large.last()?);
        if address < first.start || address >= last.start + last.bytes {
            return None;
        }
        let number = self.large.partition_point(|large| large.start <= address).checked_sub(1)?;
        let large = self.large[number];
        (address - large.start < large.bytes).then_some(LARGE | number as u64)
    }

    /// Where a block begins, and its bytes.
    pub(super) fn block(&self, node: Node) -> (usize, usize) {
        if node & LARGE != 0 {
            let large = self.large[(node & !LARGE) as usize];
            return (large.start, large.bytes);
        }
        let offset = node as usize * CLASS_STEP;
        if let Some(Inside::Live { start, told }) = self.inside(offset) {
            return (start, told.bytes);
        }
        let tag = self.view.region.tag(PoolId::of_offset(offset)).load(Ordering::Relaxed);
        (self.view.region.block(offset).expose_provenance(), tag_block_bytes(tag))
    }

    /// Marks a block, to be looked into. Returns whether it was not marked yet; `None` without memory.
    fn mark(&self, node: Node) -> Option<bool> {
        let mut marks = self.marks.borrow_mut();
        let Marks { small, large, work } = &mut *marks;
        let (marks, number) = if node & LARGE != 0 { (large, node & !LARGE) } else { (small, node) };
        let (word, bit) = (&mut marks[(number / 64) as usize], 1 << (number % 64));
        if *word & bit != 0 {
            return Some(false);
        }
        *word |= bit;
        work.push(node)?;
        Some(true)
    }

    fn is_marked(&self, node: Node) -> bool {
        let marks = self.marks.borrow();
        let (marks, number) = if node & LARGE != 0 { (&marks.large, node & !LARGE) } else { (&marks.small, node) };
        marks[(number / 64) as usize] >> (number % 64) & 1 == 1
    }

    /// Calls `each` with the address and the value of each word of a block.
    fn words(&self, node: Node, mut each: impl FnMut(usize, u64)) {
        let (start, bytes) = self.block(node);
        let (from, to) = (start.next_multiple_of(WORD), start + bytes);
        if node & LARGE != 0 {
            // The program may have closed a page of it, or never touched one.
            return self.read_used(from, to, self.mapping_of(start), &mut each);
        }
        for address in (from..).step_by(WORD).take_while(|at| at + WORD <= to) {
            each(address, read_word(address));
        }
    }

    /// Marks all that the roots lead to.
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

    /// Whether a word of the C library's memory is glibc's pointer to what follows a large block, rather than one to its last
    /// word: a chunk of malloc begins 8 bytes before the one in front of it ends.
    fn is_mallocs_own(&self, mapping: usize, address: usize) -> bool {
        /// Bytes before a block in its chunk.
        const HEADER: usize = 16;
        let Some(node) = self.large_of(address) else { return false };
        let large = self.large[(node & !LARGE) as usize];
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

    /// Calls `each` with each live block, small ones first, by address.
    pub(super) fn each_live(&self, mut each: impl FnMut(Node) -> Option<()>) -> Option<()> {
        for (word, bits) in self.live.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                each(word as u64 * 64 + u64::from(bits.trailing_zeros()))?;
                bits &= bits - 1;
            }
        }
        (0..self.large.len() as u64).try_for_each(|number| each(LARGE | number))
    }

    /// The blocks that nothing leads to, and the pointers among them.
    pub(super) fn leaked(&self) -> Option<(Mapped<Leaked>, Mapped<Edge>)> {
        let (mut nodes, mut leaked, mut edges) = (Mapped::<Node>::new(), Mapped::new(), Mapped::new());
        self.each_live(|node| if self.is_marked(node) { Some(()) } else { nodes.push(node) })?;
        for (from, node) in nodes.iter().enumerate() {
            let (start, bytes) = self.block(*node);
            let mut block = Leaked { hidden: !start, bytes, words: [0; 2], told: self.told(*node) };
            let mut is_whole = true;
            self.words(*node, |address, value| {
                let Some(target) = self.node_of(value as usize) else {
                    if let Some(word) = block.words.get_mut((address - start) / WORD) {
                        *word = value;
                    }
                    return;
                };
                // What a leaked block points to is leaked too, or reached from elsewhere.
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

    /// Calls `each` with every word that points into a block, and where that lies.
    pub(super) fn each_pointer_to(&self, node: Node, mut each: impl FnMut(Holder, usize)) -> Option<()> {
        self.each_root_word(|mapping, address, value| {
            if self.node_of(value as usize) == Some(node) {
                each(Holder::Root(mapping), address);
            }
        });
        self.each_live(|from| {
            self.words(from, |address, value| {
                if self.node_of(value as usize) == Some(node) {
                    each(Holder::Block(from), address);
                }
            });
            Some(())
        })
    }

    /// Calls `each` with every live block that a block points to, as often as it does.
    pub(super) fn each_pointer_from(&self, node: Node, mut each: impl FnMut(Node)) {
        self.words(node, |_, value| {
            if let Some(target) = self.node_of(value as usize) {
                each(target);
            }
        });
    }

    /// Finds what of the mappings is no root.
    fn find_holes(&mut self, held: &Held<'_>, world: &World, caller: &Caller) -> Option<()> {
        for hole in
            [self.view.region.reservation(), held.range(), Stop::table_range(), caller.own, self.mappings.range()]
        {
            self.holes.push(hole)?;
        }
        for number in 0..self.large.len() {
            let large = self.large[number];
            self.holes.push((large.start, large.start + large.bytes))?;
        }
        // A coroutine's stack, or one for signals, may be a block: what runs there holds it, though no word may lead to it.
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

    /// Hides what lies below the stack pointer, down to where the thread's stack ends: as the kernel says of the first
    /// thread's, and the C library of others. Of stacks that nobody knows all is scanned, and so where a stack for signals is in use, which may
    /// lie in the middle of another.
    fn hide_unused_stack(&mut self, stack: usize, pointer: usize) -> Option<()> {
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

    /// Hides the stacks of threads that are gone, which the C library keeps for later ones.
    fn hide_dead_stacks(&mut self, world: &World) -> Option<()> {
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

    /// Whether a mapping without rights lies right below.
    fn has_guard(&self, number: usize) -> bool {
        let below = number.checked_sub(1).map(|below| &self.mappings[below]);
        below.is_some_and(|below| below.is_closed && below.end == self.mappings[number].start)
    }

    pub(super) fn mapping_of(&self, address: usize) -> Option<usize> {
        let number = self.mappings.partition_point(|mapping| mapping.start <= address).checked_sub(1)?;
        (address < self.mappings[number].end).then_some(number)
    }

    /// Calls `each` with the parts of the mappings that are roots.
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

    /// Calls `each` with number of mapping, address and value of every word of the roots.
    fn each_root_word(&self, mut each: impl FnMut(usize, usize, u64)) {
        self.each_root_range(|number, from, to| {
            self.read_used(from, to, Some(number), &mut |address, value| each(number, address, value));
        });
    }

    /// Calls `each` with address and value of the words in a range of a mapping, but for pages that hold nothing.
    fn read_used(&self, from: usize, to: usize, mapping: Option<usize>, each: &mut impl FnMut(usize, u64)) {
        /// Below so many bytes, reading is less work than asking.
        const WORTH_ASKING: usize = 16 * 4096;
        if to.saturating_sub(from) < WORTH_ASKING {
            return self.read_words(from, to, each);
        }
        let read = |from: usize, to: usize| self.read_words(from, to, each);
        if mapping.is_none_or(|number| self.mappings[number].is_private) {
            self.memory.each_used((from, to), read);
        } else {
            self.memory.each_used_shared((from, to), read);
        }
    }

    /// Calls `each` with address and value of the words in a range, but for pages that cannot be read.
    fn read_words(&self, from: usize, to: usize, each: &mut impl FnMut(usize, u64)) {
        /// So many at once are enough for most blocks. To clear room for all of the others takes longer than to read these.
        const FEW: usize = 512;
        if to.saturating_sub(from) <= FEW * WORD {
            self.read_words_by(&mut [0; FEW], (from, to), each);
        } else {
            self.read_words_by(&mut [0; READ_AT_ONCE], (from, to), each);
        }
    }

    /// As [`read_words`](Self::read_words), as many at once as there is room for.
    fn read_words_by(&self, words: &mut [u64], (from, to): (usize, usize), each: &mut impl FnMut(usize, u64)) {
        let mut at = from.next_multiple_of(WORD);
        while at + WORD <= to {
            let wanted = ((to - at) / WORD).min(words.len());
            let count = self.memory.read(at, &mut words[..wanted]);
            for (value, address) in words[..count].iter().zip((at..).step_by(WORD)) {
                each(address, *value);
            }
            if count == 0 {
                // Closed, or beyond the end of a file: the next page may be readable.
                at = (at + 1).next_multiple_of(crate::os::page_bytes());
            } else {
                at += count * WORD;
            }
        }
    }
}

/// The mappings, with none of what is mapped from here on among them.
fn read_mappings() -> Result<Mapped<Mapping>, Refusal> {
    let mut count = 0;
    world::each_mapping(|_| {
        count += 1;
        Some(())
    })?;
    // Room for all at once, and for what this adds: an array that grows would be listed where it was, and what comes to lie
    // there be taken for a root.
    let mut mappings = Mapped::with_room(count + 8).ok_or(Refusal::NoMemory)?;
    world::each_mapping(|mapping| mappings.push(mapping))?;
    Ok(mappings)
}

/// Reads a word of a live block.
fn read_word(address: usize) -> u64 {
    let word = core::ptr::with_exposed_provenance_mut(address);
    // An atomic, since a thread that could not be stopped may write there: any value will do.
    // SAFETY: an aligned word inside a live block, which stays readable (Scan invariant 1).
    let word = unsafe { AtomicU64::from_ptr(word) };
    word.load(Ordering::Relaxed)
}
