//! Which block a pointer of the program means, and what is wrong with it.

use super::block::{Damage, DebugBlock, HeaderFacts, Shape};
use super::quarantine::QUARANTINE;
use super::report::{ProgramError, report};
use crate::geometry::{POOL_BYTES, is_block_at};
use crate::large::{LARGE, Lookup};
use crate::process::SHARED;
use core::alloc::Layout;
use core::fmt::{self, Arguments, Display, Formatter};

/// What a pointer of the program is to be used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Free,
    Realloc,
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Free { "free" } else { "realloc" })
    }
}

impl Operation {
    fn seen(self) -> &'static str {
        if self == Self::Free { "when it was freed" } else { "when it was resized" }
    }
}

/// The block that an address of the program means.
pub(super) struct FoundBlock {
    pub(super) block: DebugBlock,
    pub(super) known: HeaderFacts,
    pub(super) is_small: bool,
}

/// The live block at an address, whole, and asked for by this layout. Reports if there is no such.
pub(super) fn checked(address: *mut u8, layout: Layout, operation: Operation) -> FoundBlock {
    let found = find(address, operation);
    let HeaderFacts { shape, .. } = found.known;
    // SAFETY: found by its header, and live.
    if let Some(damage) = unsafe { found.block.damage_around(shape) } {
        let name = if damage.first < 0 { "underrun" } else { "overrun" };
        fail(
            format_args!("{name} of the block of {} bytes at {address:p}", shape.size),
            operation.seen(),
            Some((found.block, &found.known)),
            Some(damage),
        );
    }
    if shape != Shape::of(layout) {
        let (size, align) = (layout.size(), layout.align());
        fail(
            format_args!(
                "{operation} of the block of {} bytes, alignment {}, at {address:p} by a Layout of {size} bytes, alignment {align}",
                shape.size, shape.align
            ),
            operation.seen(),
            Some((found.block, &found.known)),
            None,
        );
    }
    found
}

/// The live block at an address. Reports if there is none.
fn find(address: *mut u8, operation: Operation) -> FoundBlock {
    match SHARED.locate(address.addr()) {
        Some((offset, tag)) => find_small(address, offset, tag.block_bytes(), operation),
        None => find_large(address, operation),
    }
}

/// The block of a pool at an offset of the region; the pool has blocks of `bytes`.
fn find_small(address: *mut u8, offset: usize, bytes: usize, operation: Operation) -> FoundBlock {
    let nowhere = |reason| fail(format_args!("{operation} of {address:p}, {reason}"), "at once", None, None);
    if bytes == 0 {
        nowhere("in a pool without blocks: double, or of a wild pointer");
    }
    match small_around(address, offset, bytes) {
        Some((block, known, is_live)) if block.address() == address => {
            if !is_live {
                free_already(block, &known, operation);
            }
            FoundBlock { block, known, is_small: true }
        }
        Some((block, known, _)) => interior(address, block, &known, operation),
        None if headers(address, offset, bytes).any(|block| block.address() == address && block.has_state()) => {
            overwritten(address, None, operation)
        }
        None => nowhere("where no block begins, or whose header is overwritten"),
    }
}

/// The places in a block of a pool, around an address, where a header may be that says what it is.
fn headers(address: *mut u8, offset: usize, bytes: usize) -> impl Iterator<Item = DebugBlock> {
    let within = offset % POOL_BYTES % bytes;
    let start = is_block_at(offset - within, bytes).then(|| address.wrapping_sub(within));
    let aligns = [8, 16, 64, 128];
    let before = aligns.into_iter().map(|align| Shape { size: 0, align }.before()).filter(move |it| *it <= bytes);
    // SAFETY: inside a block of a pool that has a class, so readable, and at a multiple of 8.
    start
        .into_iter()
        .flat_map(move |start| before.clone().map(move |it| unsafe { DebugBlock::at(start.wrapping_add(it)) }))
}

/// What the header in the block of a pool says, around an address inside it.
pub(super) fn small_around(address: *mut u8, offset: usize, bytes: usize) -> Option<(DebugBlock, HeaderFacts, bool)> {
    let start = address.wrapping_sub(offset % POOL_BYTES % bytes);
    headers(address, offset, bytes).find_map(|block| {
        let (known, is_live) = block.known()?;
        let is_here = block.address().addr() - start.addr() == known.shape.before();
        (is_here && known.shape.whole()?.size() <= bytes).then_some((block, known, is_live))
    })
}

fn find_large(address: *mut u8, operation: Operation) -> FoundBlock {
    let bytes = match LARGE.look_up(address.addr()) {
        Lookup::Block(bytes) => Some(bytes),
        // The child of a fork may have lost the index.
        Lookup::Lost if address.addr() % align_of::<u64>() == 0 && !address.is_null() => None,
        Lookup::Lost | Lookup::None => nowhere_large(address, operation),
        Lookup::Inside(start) => {
            // SAFETY: the index has a block there.
            let block = unsafe { DebugBlock::at(address.with_addr(start)) };
            match block.known() {
                Some((known, _)) => interior(address, block, &known, operation),
                None => overwritten(block.address(), None, operation),
            }
        }
    };
    // SAFETY: the index has a block there; or nobody can say, and the program's word is all there is.
    let block = unsafe { DebugBlock::at(address) };
    match block.known() {
        Some((known, true)) if bytes.is_none_or(|bytes| bytes == known.shape.size) => {
            FoundBlock { block, known, is_small: false }
        }
        Some((known, false)) => free_already(block, &known, operation),
        _ => overwritten(address, bytes, operation),
    }
}

/// Reports a pointer that is not in the region and that the index does not know.
#[cold]
fn nowhere_large(address: *mut u8, operation: Operation) -> ! {
    if let Some(known) = QUARANTINE.find(address.addr()) {
        // SAFETY: Quarantine invariant 2: the block is still there.
        free_already(unsafe { DebugBlock::at(address) }, &known, operation)
    }
    fail(
        format_args!("{operation} of {address:p}, which was not handed out, or has been freed long ago"),
        "at once",
        None,
        None,
    )
}

#[cold]
fn interior(address: *mut u8, block: DebugBlock, known: &HeaderFacts, operation: Operation) -> ! {
    let (start, bytes) = (block.address(), known.shape.size);
    match address.addr().checked_sub(start.addr()) {
        Some(offset) => fail(
            format_args!("{operation} of {address:p}, {offset} bytes into the block of {bytes} bytes at {start:p}"),
            "at once",
            Some((block, known)),
            None,
        ),
        None => fail(
            format_args!("{operation} of {address:p}, before the block of {bytes} bytes at {start:p}"),
            "at once",
            Some((block, known)),
            None,
        ),
    }
}

#[cold]
pub(super) fn free_already(block: DebugBlock, known: &HeaderFacts, operation: Operation) -> ! {
    let (address, bytes) = (block.address(), known.shape.size);
    match operation {
        Operation::Free => fail(
            format_args!("double free of the block of {bytes} bytes at {address:p}"),
            "when it was freed again",
            Some((block, known)),
            None,
        ),
        Operation::Realloc => fail(
            format_args!("realloc of the block of {bytes} bytes at {address:p}, which is free already"),
            "when it was resized",
            Some((block, known)),
            None,
        ),
    }
}

/// Reports a block whose header makes no sense.
#[cold]
fn overwritten(address: *mut u8, bytes: Option<usize>, operation: Operation) -> ! {
    address.expose_provenance();
    let case = |line: Arguments<'_>| {
        let header = Some(address.addr());
        report(&ProgramError { line, seen: operation.seen(), block: None, damage: None, header })
    };
    match bytes {
        Some(bytes) => {
            case(format_args!("underrun of the block of {bytes} bytes at {address:p}: its header is overwritten"))
        }
        None => case(format_args!("underrun of the block at {address:p}: its header is overwritten")),
    }
}

#[cold]
fn fail(line: Arguments<'_>, seen: &str, block: Option<(DebugBlock, &HeaderFacts)>, damage: Option<Damage>) -> ! {
    let block = block.map(|(block, known)| (block.address().expose_provenance(), *known));
    report(&ProgramError { line, seen, block, damage, header: None })
}
