//! `bytes_SIZE`: the resident memory of a million live blocks of SIZE bytes, divided by their number. `phases`: the
//! same figure for a program that fills memory with blocks of 32 bytes, frees nine in ten of them at random, and goes
//! on with blocks of 48 bytes.
//!
//! The memory that counts belongs to no file, and is not a table of pointers to the blocks. It includes the allocator's
//! own tables, and pages that the allocator had ready before. `phases` has three marks: `filled` with a million blocks,
//! `holed` with a tenth of them, and `refilled` with that tenth and 600,000 blocks of 48 bytes, which are as many bytes
//! as were freed. The figure is that of the last mark, for each of its 700,000 blocks.
//!
//! Caveat: some 0.2 MB of the process itself count too, which is 0.2 bytes for each block. Only the first byte of each
//! block is written, so blocks of more than a page would look smaller than they are.

use std::cell::RefCell;
use std::hint::black_box;

use rand::seq::SliceRandom;
use versus::clock;
use versus::workload::{Group, Run, Scale, Workload, random};

use super::super::block::Fixed;

const FULL_BLOCKS: usize = 1_000_000;

pub(super) const fn of<const SIZE: usize>(name: &'static str) -> Workload {
    let about = "a million live blocks of the named size: resident memory for each";
    let operations = |scale: Scale| scale.live(FULL_BLOCKS);
    Workload { name, group: Group::Block, about, operations: Some(operations), prepare: prepare::<SIZE> }
}

fn prepare<const SIZE: usize>(scale: Scale) -> Run {
    let places = places::<SIZE>(scale.live(FULL_BLOCKS));
    Box::new(move || {
        let mut places = places.borrow_mut();
        fill(&mut places);
        clock::mark("full", size_of_val(&places[..]));
        places.iter_mut().map(free).sum()
    })
}

pub(super) const PHASES: Workload = Workload {
    name: "phases",
    group: Group::Block,
    about: "a million blocks of 32 bytes, nine in ten freed at random, 600 k of 48: resident memory for each",
    operations: Some(|scale| {
        let Phases { first, freed, second } = Phases::new(scale);
        first - freed + second
    }),
    prepare: |scale| {
        let Phases { first, freed, second } = Phases::new(scale);
        let mut order: Vec<usize> = (0..first).collect();
        order.shuffle(&mut random(23));
        let (of_32, of_48) = (places::<32>(first), places::<48>(second));
        Box::new(move || {
            let (mut of_32, mut of_48) = (of_32.borrow_mut(), of_48.borrow_mut());
            let table_bytes = size_of_val(&order[..]) + size_of_val(&of_32[..]) + size_of_val(&of_48[..]);
            fill(&mut of_32);
            clock::mark("filled", table_bytes);
            let early: u64 = order[..freed].iter().map(|&at| free(&mut of_32[at])).sum();
            clock::mark("holed", table_bytes);
            fill(&mut of_48);
            clock::mark("refilled", table_bytes);
            early + of_32.iter_mut().map(free).sum::<u64>() + of_48.iter_mut().map(free).sum::<u64>()
        })
    },
};

/// Numbers of blocks in the phases.
struct Phases {
    first: usize,
    freed: usize,
    second: usize,
}

impl Phases {
    fn new(scale: Scale) -> Self {
        let first = scale.live(FULL_BLOCKS);
        let freed = first * 9 / 10;
        Self { first, freed, second: freed * 32 / 48 }
    }
}

type Place<const SIZE: usize> = Option<Fixed<SIZE>>;

fn places<const SIZE: usize>(count: usize) -> RefCell<Vec<Place<SIZE>>> {
    let mut places: Vec<Place<SIZE>> = (0..count).map(|_| None).collect();
    // A table of null pointers might be zeroed pages of the system, which are not in memory before they are written.
    places.iter_mut().for_each(|place| *black_box(place) = None);
    RefCell::new(places)
}

fn fill<const SIZE: usize>(places: &mut [Place<SIZE>]) {
    for (at, place) in places.iter_mut().enumerate() {
        *place = Some(Fixed::new(at as u8));
    }
}

/// Frees the block, if there is one. Returns its content.
fn free<const SIZE: usize>(place: &mut Place<SIZE>) -> u64 {
    place.take().map_or(0, |block| block.mark())
}
