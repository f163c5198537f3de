//! The setup of a scan.

use super::found::ScanSums;
use super::scan::{Marks, Scan};
use crate::geometry::{POOLS_PER_ARENA, WORDS_PER_POOL};
use crate::large::IndexGuard;
use crate::os::world::{Caller, Mapping, Memory, Refusal, World};
use crate::os::{MappedSlice, world};
use crate::process::{MODE, View};
use core::cell::RefCell;

impl<'a> Scan<'a> {
    /// Makes a scan: reads the mappings, and finds the holes in them and the live blocks.
    pub(super) fn new(
        view: &'a View<'a>,
        held: &IndexGuard<'_>,
        world: &World,
        caller: &Caller,
    ) -> Result<Self, Refusal> {
        // The mappings are read first, so that the memory that is mapped below is not among them.
        let mappings = read_mappings()?;
        let none = || Refusal::NoMemory;
        let large = held.sorted().ok_or_else(none)?;
        let words = view.carved * POOLS_PER_ARENA * WORDS_PER_POOL;
        let mut scan = Self {
            view,
            live: MappedSlice::zeros(words).ok_or_else(none)?,
            marks: RefCell::new(Marks {
                small: MappedSlice::zeros(words).ok_or_else(none)?,
                large: MappedSlice::zeros(large.len().div_ceil(64)).ok_or_else(none)?,
                work: MappedSlice::new(),
            }),
            large,
            is_debug: MODE.get().is_debug(),
            holes: MappedSlice::new(),
            stacks: MappedSlice::new(),
            memory: Memory::open()?,
            caller_stack: caller.stack,
            mappings,
            sums: ScanSums::default(),
        };
        scan.find_holes(held, world, caller).ok_or_else(none)?;
        scan.find_live().ok_or_else(none)?;
        Ok(scan)
    }
}

/// Returns the mappings. The memory of the returned array is among them, but no memory that is mapped after it.
fn read_mappings() -> Result<MappedSlice<Mapping>, Refusal> {
    let mut count = 0;
    world::each_mapping(|_| {
        count += 1;
        Some(())
    })?;
    // The array has room for all mappings, and for those that it adds itself. If it grew, its old place would be in the
    // list, and memory that is mapped there later would count as a root.
    let mut mappings = MappedSlice::with_room(count + 8).ok_or(Refusal::NoMemory)?;
    world::each_mapping(|mapping| mappings.push(mapping))?;
    Ok(mappings)
}
