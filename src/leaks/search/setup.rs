//! How a scan begins.

use super::found::ScanSums;
use super::scan::{Marks, Scan};
use crate::geometry::{POOLS_PER_ARENA, WORDS_PER_POOL};
use crate::large::IndexGuard;
use crate::os::world::{Caller, Mapping, Memory, Refusal, World};
use crate::os::{MappedSlice, world};
use crate::process::{MODE, View};
use core::cell::RefCell;

impl<'a> Scan<'a> {
    /// Notes what is mapped, and finds what is live.
    pub(super) fn new(
        view: &'a View<'a>,
        held: &IndexGuard<'_>,
        world: &World,
        caller: &Caller,
    ) -> Result<Self, Refusal> {
        // The mappings first, so that none of what follows is among them.
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

/// The mappings, with none of what is mapped from here on among them.
fn read_mappings() -> Result<MappedSlice<Mapping>, Refusal> {
    let mut count = 0;
    world::each_mapping(|_| {
        count += 1;
        Some(())
    })?;
    // Room for all at once, and for what this adds: an array that grows would be listed where it was, and what comes to
    // lie there be taken for a root.
    let mut mappings = MappedSlice::with_room(count + 8).ok_or(Refusal::NoMemory)?;
    world::each_mapping(|mapping| mappings.push(mapping))?;
    Ok(mappings)
}
