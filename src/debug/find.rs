//! Finds the block that a pointer of the program means, and reports errors in its use.

use super::block::{Damage, DebugBlock, HeaderFacts, Shape};
use super::quarantine::QUARANTINE;
use super::report::{ProgramError, report};
use crate::geometry::{POOL_BYTES, is_block_at};
use crate::large::{LARGE, Lookup};
use crate::process::SHARED;
use core::alloc::Layout;
use core::fmt::{self, Arguments, Display, Formatter};

/// The use that the program makes of a pointer.
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

/// The live block at an address. Reports if there is none, if bytes around it are damaged, or if the program asked for
/// it with another layout.
pub(super) fn checked(address: *mut u8, layout: Layout, operation: Operation) -> FoundBlock {
    let found = find(address, operation);
    let HeaderFacts { shape, .. } = found.known;
    // SAFETY: the block was found by its header, and is live.
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
                "{operation} of the block of {} bytes, alignment {}, at {address:p} by a Layout of \
                 {size} bytes, alignment {align}",
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

/// The live block of a pool at `offset` of the region. The pool has blocks of `bytes`. Reports if there is none.
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

/// The places in the pool's block around `address` where the program's first byte may lie. Its offset in the pool's
/// block depends only on the alignment, so there is one place for each offset that an alignment can give. Most have no
/// sound header.
fn headers(address: *mut u8, offset: usize, bytes: usize) -> impl Iterator<Item = DebugBlock> {
    let within = offset % POOL_BYTES % bytes;
    let start = is_block_at(offset - within, bytes).then(|| address.wrapping_sub(within));
    let aligns = [8, 16, 64, 128];
    let before = aligns.into_iter().map(|align| Shape { size: 0, align }.before()).filter(move |it| *it <= bytes);
    // SAFETY: each place is a multiple of 8, and lies at least 40 bytes into a block of a pool that has a class. So the
    // 40 bytes before it can be read.
    start
        .into_iter()
        .flat_map(move |start| before.clone().map(move |it| unsafe { DebugBlock::at(start.wrapping_add(it)) }))
}

/// The block of the program in the pool's block around `address`, the facts in its header, and whether it is live.
/// `None` if there is no sound header.
pub(super) fn small_around(address: *mut u8, offset: usize, bytes: usize) -> Option<(DebugBlock, HeaderFacts, bool)> {
    let start = address.wrapping_sub(offset % POOL_BYTES % bytes);
    headers(address, offset, bytes).find_map(|block| {
        let (known, is_live) = block.known()?;
        let is_here = block.address().addr() - start.addr() == known.shape.before();
        (is_here && known.shape.whole()?.size() <= bytes).then_some((block, known, is_live))
    })
}

/// The live large block at an address. Reports if there is none.
fn find_large(address: *mut u8, operation: Operation) -> FoundBlock {
    let bytes = match LARGE.look_up(address.addr()) {
        Lookup::Block(bytes) => Some(bytes),
        // The child of a fork may have lost the index. Then it believes the program.
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
    // SAFETY: the index has a block there; or the index is lost, and the program claims that there is a block.
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
        // SAFETY: Quarantine invariant 2: the block was still in the quarantine.
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
