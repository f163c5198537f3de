//! The debug mode, `POOLMALLOC=debug`: each block is a larger one of the pools or the backend, with a header and forbidden bytes
//! around what the program asked for; freed blocks are overwritten and kept a while. After CPython's debug hooks
//! (`PYTHONMALLOC=debug`). docs/debug.md tells what it sees, and what that costs.
//!
//! ```text
//!   global    a request whose thread has no heap in front of it, in such a mode
//!   mod       finds the block, checks it, hands it out, takes it back        ─► report, abort
//!   block     header, forbidden bytes, fills
//!   quarantine   freed blocks, oldest first                                  ─► pools, backend
//! ```
//! A block of a pool is found by its address, a large one in the index of the leak finder, which is armed in this mode. So no byte
//! of a pointer that was never handed out is read.

mod block;
mod quarantine;
mod report;

use crate::generation::Generation;
use crate::heap::tag_block_bytes;
use crate::leaks::Lookup;
use crate::lock::Lock;
use crate::os;
use crate::size_class::{POOL_BYTES, is_block_at};
use crate::statics::{DEBUG, LARGE, MODE, SHARED};
use crate::sync::AtomicU32;
use crate::tls::{self, Entry};
use crate::traces::{self, TraceId};
use block::{Block, Fill, Known, Shape};
use core::alloc::Layout;
use core::fmt::{self, Arguments, Display, Formatter};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use quarantine::{Kept, Origin, Quarantine};
use report::{Case, report};

/// What the debug layer gets its memory from: pools, and a backend.
pub(crate) trait Below {
    /// # Safety
    /// * As for `GlobalAlloc::alloc`.
    unsafe fn take(&self, layout: Layout, content: Content) -> *mut u8;

    /// # Safety
    /// * As for `GlobalAlloc::dealloc`.
    unsafe fn give_back(&self, block: *mut u8, layout: Layout);

    /// How a large block is given back later, by any thread; `None` if the backend may be gone by then.
    fn late(&self) -> Option<unsafe fn(*mut u8, Layout)>;
}

/// What a request wants to find in its block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    Any,
    /// Zeros: only large requests.
    Zeros,
}

/// What the debug mode keeps for the whole process.
pub(crate) struct Debugger {
    quarantine: Quarantine,
    /// Blocks handed out so far. Relaxed: each is a number of its own.
    serials: AtomicU64,
    /// Frames of a backtrace; 0 for none. Written once, before the first block.
    frames: AtomicUsize,
    /// Held by the thread that reports, for ever.
    reports: Lock,
    reports_generation: Generation,
    /// Which thread that is. Relaxed: each looks for itself.
    reporter: AtomicUsize,
    /// Whether all is written. Relaxed: a report of another thread waits the longer for it.
    is_reported: AtomicBool,
}

impl Debugger {
    pub(crate) const fn new() -> Self {
        Self {
            quarantine: Quarantine::new(),
            serials: AtomicU64::new(0),
            frames: AtomicUsize::new(0),
            reports: Lock::new(AtomicU32::new(0)),
            reports_generation: Generation::new(),
            reporter: AtomicUsize::new(0),
            is_reported: AtomicBool::new(false),
        }
    }

    /// Has backtraces of so many frames recorded.
    pub(crate) fn record_backtraces(&self, frames: usize) {
        self.frames.store(frames, Ordering::Relaxed);
    }

    fn trace(&self, entry: *const u8) -> Option<TraceId> {
        match self.frames.load(Ordering::Relaxed) {
            0 => None,
            frames => traces::capture(frames, entry),
        }
    }

    fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What a pointer of the program is to be used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deed {
    Free,
    Realloc,
}

impl Display for Deed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(if *self == Self::Free { "free" } else { "realloc" })
    }
}

impl Deed {
    fn seen(self) -> &'static str {
        if self == Self::Free { "when it was freed" } else { "when it was resized" }
    }
}

/// A block that the program has told by its address.
struct Found {
    block: Block,
    known: Known,
    is_small: bool,
}

/// Hands out a block. Null without memory.
///
/// `entry` is the address of a variable of the function that came from the program: its backtrace begins there.
///
/// # Safety
/// * As for `GlobalAlloc::alloc`, but that a size of 0 is served.
pub(crate) unsafe fn alloc(below: &dyn Below, layout: Layout, content: Content, entry: *const u8) -> *mut u8 {
    let shape = Shape::of(layout);
    let Some(whole) = shape.whole() else { return ptr::null_mut() };
    let allocated = DEBUG.trace(entry);
    // SAFETY: never of 0 bytes.
    let mut memory = unsafe { below.take(whole, content) };
    if memory.is_null() && drain_for(Seen::Early) {
        // SAFETY: as above.
        memory = unsafe { below.take(whole, content) };
    }
    if memory.is_null() {
        return memory;
    }
    let is_small = is_in_region(memory);
    let fill = match content {
        Content::Any => Fill::Clean,
        // Pools are not asked for zeros: small requests are made zero where they come from.
        Content::Zeros => Fill::AsItIs,
    };
    let known = Known { shape, serial: DEBUG.next_serial(), allocated, freed: None };
    // SAFETY: just got from below by this shape.
    let block = unsafe { Block::create(memory, &known, fill) };
    if !is_small && LARGE.insert(block.address(), shape.size).is_none() {
        // A block that the index does not know would be a foreign one when it is freed.
        // SAFETY: from there, by this layout, and nobody else has it.
        unsafe { below.give_back(memory, whole) };
        return ptr::null_mut();
    }
    block.address()
}

/// Takes a block back, or reports. `entry` is as for [`alloc`].
///
/// # Safety
/// * The caller gives up what it has at `address`.
pub(crate) unsafe fn dealloc(below: &dyn Below, address: *mut u8, layout: Layout, entry: *const u8) {
    let Found { block, known, is_small } = checked(address, layout, Deed::Free);
    let freed = DEBUG.trace(entry);
    if !block.mark_freed(known.shape, freed) {
        // Another thread was faster.
        free_already(block, &block.known().map_or(known, |(known, _)| known), Deed::Free);
    }
    if !is_small {
        LARGE.remove(address);
    }
    // SAFETY: found by its header; this thread alone has marked it as freed.
    unsafe { block.fill_dead(known.shape) };
    let known = Known { freed, ..known };
    let origin = if is_small { Some(Origin::Pool) } else { below.late().map(Origin::Backend) };
    match origin {
        Some(origin) => keep(Kept::new(address, known, origin)),
        None => {
            if let Some(whole) = known.shape.whole() {
                // SAFETY: it came from there by this layout, and is nobody's any more.
                unsafe { below.give_back(address.wrapping_sub(known.shape.before()), whole) };
            }
        }
    }
}

/// Moves a block to one of another size, or reports. Null, and nothing done, without memory. `entry` is as for [`alloc`].
///
/// # Safety
/// * As for `GlobalAlloc::realloc`, but that what can be seen to be wrong is reported.
pub(crate) unsafe fn realloc(
    below: &dyn Below,
    address: *mut u8,
    layout: Layout,
    new_size: usize,
    entry: *const u8,
) -> *mut u8 {
    checked(address, layout, Deed::Realloc);
    // SAFETY: `realloc` promises that the new size at the same alignment makes a layout.
    let new_layout = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
    // SAFETY: the caller's promises.
    let new = unsafe { alloc(below, new_layout, Content::Any, entry) };
    if !new.is_null() {
        // SAFETY: both are live blocks of at least so many bytes, and distinct.
        unsafe { ptr::copy_nonoverlapping(address, new, layout.size().min(new_size)) };
        // SAFETY: the caller gives the old block up.
        unsafe { dealloc(below, address, layout, entry) };
    }
    new
}

/// The live block at an address, whole, and asked for by this layout. Reports if there is no such.
fn checked(address: *mut u8, layout: Layout, deed: Deed) -> Found {
    let found = find(address, deed);
    let Known { shape, .. } = found.known;
    // SAFETY: found by its header, and live.
    if let Some(damage) = unsafe { found.block.damage_around(shape) } {
        let name = if damage.first < 0 { "underrun" } else { "overrun" };
        fail(
            format_args!("{name} of the block of {} bytes at {address:p}", shape.size),
            deed.seen(),
            Some((found.block, &found.known)),
            Some(damage),
        );
    }
    if shape != Shape::of(layout) {
        let (size, align) = (layout.size(), layout.align());
        fail(
            format_args!(
                "{deed} of the block of {} bytes, alignment {}, at {address:p} by a Layout of {size} bytes, alignment {align}",
                shape.size, shape.align
            ),
            deed.seen(),
            Some((found.block, &found.known)),
            None,
        );
    }
    found
}

/// The live block at an address. Reports if there is none.
fn find(address: *mut u8, deed: Deed) -> Found {
    match SHARED.locate(address.addr()) {
        Some((offset, tag)) => find_small(address, offset, tag_block_bytes(tag), deed),
        None => find_large(address, deed),
    }
}

/// The block of a pool at an offset of the region; the pool has blocks of `bytes`.
fn find_small(address: *mut u8, offset: usize, bytes: usize, deed: Deed) -> Found {
    let nowhere = |reason| fail(format_args!("{deed} of {address:p}, {reason}"), "at once", None, None);
    if bytes == 0 {
        nowhere("in a pool without blocks: double, or of a wild pointer");
    }
    match small_around(address, offset, bytes) {
        Some((block, known, is_live)) if block.address() == address => {
            if !is_live {
                free_already(block, &known, deed);
            }
            Found { block, known, is_small: true }
        }
        Some((block, known, _)) => interior(address, block, &known, deed),
        None if headers(address, offset, bytes).any(|block| block.address() == address && block.has_state()) => {
            overwritten(address, None, deed)
        }
        None => nowhere("where no block begins, or whose header is overwritten"),
    }
}

/// The places in a block of a pool, around an address, where a header may be that says what it is.
fn headers(address: *mut u8, offset: usize, bytes: usize) -> impl Iterator<Item = Block> {
    let within = offset % POOL_BYTES % bytes;
    let start = is_block_at(offset - within, bytes).then(|| address.wrapping_sub(within));
    let aligns = [8, 16, 64, 128];
    let before = aligns.into_iter().map(|align| Shape { size: 0, align }.before()).filter(move |it| *it <= bytes);
    // SAFETY: inside a block of a pool that has a class, so readable, and at a multiple of 8.
    start.into_iter().flat_map(move |start| before.clone().map(move |it| unsafe { Block::at(start.wrapping_add(it)) }))
}

/// What the header in the block of a pool says, around an address inside it.
fn small_around(address: *mut u8, offset: usize, bytes: usize) -> Option<(Block, Known, bool)> {
    let start = address.wrapping_sub(offset % POOL_BYTES % bytes);
    headers(address, offset, bytes).find_map(|block| {
        let (known, is_live) = block.known()?;
        let is_here = block.address().addr() - start.addr() == known.shape.before();
        (is_here && known.shape.whole()?.size() <= bytes).then_some((block, known, is_live))
    })
}

fn find_large(address: *mut u8, deed: Deed) -> Found {
    let bytes = match LARGE.look_up(address.addr()) {
        Lookup::Block(bytes) => Some(bytes),
        // The child of a fork may have lost the index.
        Lookup::Lost if address.addr() % align_of::<u64>() == 0 && !address.is_null() => None,
        Lookup::Lost | Lookup::None => nowhere_large(address, deed),
        Lookup::Inside(start) => {
            // SAFETY: the index has a block there.
            let block = unsafe { Block::at(address.with_addr(start)) };
            match block.known() {
                Some((known, _)) => interior(address, block, &known, deed),
                None => overwritten(block.address(), None, deed),
            }
        }
    };
    // SAFETY: the index has a block there; or nobody can say, and the program's word is all there is.
    let block = unsafe { Block::at(address) };
    match block.known() {
        Some((known, true)) if bytes.is_none_or(|bytes| bytes == known.shape.size) => {
            Found { block, known, is_small: false }
        }
        Some((known, false)) => free_already(block, &known, deed),
        _ => overwritten(address, bytes, deed),
    }
}

/// Reports a pointer that is not in the region and that the index does not know.
#[cold]
fn nowhere_large(address: *mut u8, deed: Deed) -> ! {
    if let Some(known) = DEBUG.quarantine.find(address.addr()) {
        // SAFETY: Quarantine invariant 2: the block is still there.
        free_already(unsafe { Block::at(address) }, &known, deed)
    }
    fail(
        format_args!("{deed} of {address:p}, which was not handed out, or has been freed long ago"),
        "at once",
        None,
        None,
    )
}

#[cold]
fn interior(address: *mut u8, block: Block, known: &Known, deed: Deed) -> ! {
    let (start, bytes) = (block.address(), known.shape.size);
    match address.addr().checked_sub(start.addr()) {
        Some(offset) => fail(
            format_args!("{deed} of {address:p}, {offset} bytes into the block of {bytes} bytes at {start:p}"),
            "at once",
            Some((block, known)),
            None,
        ),
        None => fail(
            format_args!("{deed} of {address:p}, before the block of {bytes} bytes at {start:p}"),
            "at once",
            Some((block, known)),
            None,
        ),
    }
}

#[cold]
fn free_already(block: Block, known: &Known, deed: Deed) -> ! {
    let (address, bytes) = (block.address(), known.shape.size);
    match deed {
        Deed::Free => fail(
            format_args!("double free of the block of {bytes} bytes at {address:p}"),
            "when it was freed again",
            Some((block, known)),
            None,
        ),
        Deed::Realloc => fail(
            format_args!("realloc of the block of {bytes} bytes at {address:p}, which is free already"),
            "when it was resized",
            Some((block, known)),
            None,
        ),
    }
}

/// Reports a block whose header makes no sense.
#[cold]
fn overwritten(address: *mut u8, bytes: Option<usize>, deed: Deed) -> ! {
    address.expose_provenance();
    let case = |line: Arguments<'_>| {
        let header = Some(address.addr());
        report(&Case { line, seen: deed.seen(), block: None, damage: None, header })
    };
    match bytes {
        Some(bytes) => {
            case(format_args!("underrun of the block of {bytes} bytes at {address:p}: its header is overwritten"))
        }
        None => case(format_args!("underrun of the block at {address:p}: its header is overwritten")),
    }
}

#[cold]
fn fail(line: Arguments<'_>, seen: &str, block: Option<(Block, &Known)>, damage: Option<block::Damage>) -> ! {
    let block = block.map(|(block, known)| (block.address().expose_provenance(), *known));
    report(&Case { line, seen, block, damage, header: None })
}

/// Keeps a freed block, and lets go of those that there is no more room for.
fn keep(kept: Kept) {
    count(&kept, 1);
    let mut gone = DEBUG.quarantine.push(kept);
    while let Some(kept) = gone {
        let_go(&kept, Seen::Early);
        gone = DEBUG.quarantine.pop_beyond();
    }
}

/// When a freed block is looked at the last time.
#[derive(Clone, Copy)]
enum Seen {
    /// When others needed the room, or the program asked.
    Early,
    AtEnd,
}

/// Checks a block that was taken out of the quarantine, and gives it back below.
fn let_go(kept: &Kept, seen: Seen) {
    let (address, shape) = (kept.address(), kept.known.shape);
    // SAFETY: Quarantine invariant 2.
    let block = unsafe { Block::at(address) };
    // SAFETY: as above; the shape is that of the block when it was freed.
    let damage = unsafe { block.damage_inside(shape) }.or_else(|| unsafe { block.damage_around(shape) });
    let is_header_sound = block.known() == Some((kept.known, false));
    if damage.is_some() || !is_header_sound {
        let seen = match seen {
            Seen::Early => "when its memory was to be used again",
            Seen::AtEnd => "at the end of the process",
        };
        let line = format_args!("write after free of the block of {} bytes at {address:p}", shape.size);
        let header = (!is_header_sound).then(|| address.expose_provenance());
        let block = Some((address.expose_provenance(), kept.known));
        report(&Case { line, seen, block, damage, header });
    }
    let Some(whole) = shape.whole() else { return };
    let memory = address.wrapping_sub(shape.before());
    // Before it goes: then its pool may become one of another class.
    count(kept, -1);
    match kept.origin {
        Origin::Pool => crate::global::free_to_pool(memory),
        // SAFETY: it came from there by this layout, and is nobody's any more.
        Origin::Backend(late) => unsafe { late(memory, whole) },
    }
}

/// Counts a block as freed by this thread though the heap still has it as live; by -1, when that is over.
fn count(kept: &Kept, change: i64) {
    let entry = tls::enter();
    if let Origin::Backend(_) = kept.origin {
        let large = match &entry {
            Entry::Heap(heap) => &heap.large,
            _ => &SHARED.large,
        };
        let bytes = kept.known.shape.whole().map_or(0, |whole| whole.size());
        return large.kept.add(change, bytes);
    }
    let Some((_, tag)) = SHARED.locate(kept.address().addr()) else { return };
    match entry {
        Entry::Heap(heap) => heap.count_kept(tag, change),
        _ => _ = SHARED.with_stragglers(|heap| heap.count_kept(tag, change)),
    }
}

fn is_in_region(memory: *mut u8) -> bool {
    SHARED.locate(memory.addr()).is_some()
}

/// Gives back what the quarantine holds; each block is checked. Nothing in other modes.
pub(crate) fn drain() {
    if MODE.get().is_debug() {
        drain_for(Seen::Early);
    }
}

/// As [`drain`], when the process ends.
pub(crate) fn drain_at_exit() {
    if MODE.get().is_debug() {
        drain_for(Seen::AtEnd);
    }
}

/// Whether there was anything to give back.
fn drain_for(seen: Seen) -> bool {
    // No more than there are now: others may go on freeing.
    let blocks = DEBUG.quarantine.blocks();
    for _ in 0..blocks {
        let Some(kept) = DEBUG.quarantine.pop() else { break };
        let_go(&kept, seen);
    }
    blocks > 0
}

/// What the program knows of a block of a pool.
pub(crate) enum Inside {
    /// It is live there, and begins at this address.
    Live { start: usize, told: Told },
    /// It is free for the program.
    Free,
    /// It is on its way to or from the program.
    Unknown,
}

/// What the search for leaks tells of a block.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) bytes: usize,
    pub(crate) serial: u64,
    pub(crate) allocated: Option<TraceId>,
}

impl Told {
    fn of(known: &Known) -> Self {
        Self { bytes: known.shape.size, serial: known.serial, allocated: known.allocated }
    }
}

/// What the program has in the block of a pool that begins at `memory`, an offset of the region, and has `bytes`.
pub(crate) fn inside(memory: *mut u8, offset: usize, bytes: usize) -> Inside {
    match small_around(memory, offset, bytes) {
        Some((block, known, true)) => {
            Inside::Live { start: block.address().expose_provenance(), told: Told::of(&known) }
        }
        Some((_, _, false)) => Inside::Free,
        None => Inside::Unknown,
    }
}

/// What the header of a large block says that is in the index.
///
/// # Safety
/// * The index has a block of this mode there, and is held.
pub(crate) unsafe fn told_of_large(address: *mut u8) -> Option<Told> {
    // SAFETY: the caller's promise.
    unsafe { Block::at(address) }.known().map(|(known, _)| Told::of(&known))
}

/// Warns that this build records no backtraces, if it does not.
pub(crate) fn warn_without_backtraces() {
    if !cfg!(feature = "backtrace") {
        os::write_stderr(
            b"poolmalloc: `backtrace=N` in POOLMALLOC is ignored: this build is without the cargo feature `backtrace`\n",
        );
    }
}
