//! The header and the forbidden bytes around the program's bytes: how they are written, and how they are checked.
//!
//! ```text
//!   0xFD ... 0xFD | header, 32 bytes | 0xFD, 8 bytes | the program's bytes | 0xFD, 8 to 15 bytes
//!   ▲ block of a pool or the backend                 ▲ the program's pointer
//! ```
//! The alignment of the program's bytes may leave a gap before the header. The first part fills this gap. With an
//! alignment of 8 or less there is none.
//!
//! Debug invariant 1: from the moment when a block is handed out until it goes back to its pool or the backend, two
//! things are in place, unless the program has overwritten them. One is the header, 40 bytes before the program's
//! bytes, with a check that depends on the block's address. The other is the forbidden bytes around the program's
//! bytes.

use crate::traces::TraceId;
use core::alloc::Layout;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use static_assertions::assert_eq_size;

/// Value of the bytes around the program's bytes, where the program may not write.
const FORBIDDEN: u8 = 0xFD;

/// Value of the bytes of a block that was just handed out.
const CLEAN: u8 = 0xCD;

/// Value of the bytes of a block that was freed.
const DEAD: u8 = 0xDD;

/// Number of forbidden bytes right before the program's bytes. Behind them there are at least as many.
const GUARD: usize = 8;

/// Bytes from the start of the header to the program's bytes.
pub(crate) const HEADER_BEFORE: usize = size_of::<DebugHeader>() + GUARD;

/// Least alignment of the program's bytes.
const LEAST_ALIGN: usize = 8;

assert_eq_size!(DebugHeader, [u8; 32]);

/// State of a live block. The lowest 8 bits of the word hold the logarithm of the block's alignment.
const LIVE: u32 = 0x00B1_0C00;

/// State of a freed block.
const FREED: u32 = 0xDEAD_B100;

/// Mask of the state.
const STATE: u32 = !0xFF;

/// The header of a block. Its fields are atomics, so that two threads that free a block at the same time cause a report
/// and no undefined behavior.
#[repr(C)]
struct DebugHeader {
    size: AtomicU64,
    serial: AtomicU64,
    /// Number of the backtrace of the allocation, or 0.
    allocated: AtomicU32,
    /// Number of the backtrace of the free, or 0.
    freed: AtomicU32,
    /// State and alignment.
    state: AtomicU32,
    /// A hash of the block's address and of the fields that do not change: size, serial, allocated, and the alignment.
    check: AtomicU32,
}

/// A block as the program asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) size: usize,
    pub(crate) align: usize,
}

impl Shape {
    pub(crate) fn of(layout: Layout) -> Self {
        Self { size: layout.size(), align: layout.align() }
    }

    /// Bytes before the program's bytes.
    pub(crate) fn before(self) -> usize {
        HEADER_BEFORE.next_multiple_of(self.align.max(LEAST_ALIGN))
    }

    /// Layout of the larger block that has room for this one. `None` if it has more bytes than an address space.
    pub(crate) fn whole(self) -> Option<Layout> {
        let end = self.before().checked_add(self.size)?.checked_add(GUARD)?;
        Layout::from_size_align(end.checked_next_multiple_of(LEAST_ALIGN)?, self.align.max(LEAST_ALIGN)).ok()
    }
}

/// The facts in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderFacts {
    pub(crate) shape: Shape,
    pub(crate) serial: u64,
    pub(crate) allocated: Option<TraceId>,
    pub(crate) freed: Option<TraceId>,
}

/// How the program's bytes are initialized when a block is handed out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InitialBytes {
    /// All bytes are [`CLEAN`].
    Clean,
    /// The bytes stay as they are: the backend has served zeros.
    AsItIs,
}

/// Damaged bytes: bytes of one part of a block that have another value than the layer wrote there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) part: Part,
    /// Offset of the first damaged byte from the program's first byte; may be negative.
    pub(crate) first: isize,
    /// Offset of the last damaged byte.
    pub(crate) last: isize,
    /// Number of damaged bytes.
    pub(crate) count: usize,
    /// Number of bytes in the part.
    pub(crate) of: usize,
}

/// A part of a block that the program may not write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Before,
    Behind,
    /// The program's own bytes, after it has freed them.
    Freed,
}

impl Part {
    /// Value of each undamaged byte.
    pub(crate) fn byte(self) -> u8 {
        if self == Self::Freed { DEAD } else { FORBIDDEN }
    }
}

/// A block of the debug layer: a pointer to the program's first byte.
#[derive(Clone, Copy)]
pub(crate) struct DebugBlock(*mut u8);

impl DebugBlock {
    /// The block for which the program's bytes begin at an address.
    ///
    /// # Safety
    /// * The address is a multiple of 8, and the 40 bytes before it can be read, whether they are a header or not.
    pub(crate) unsafe fn at(address: *mut u8) -> Self {
        Self(address)
    }

    /// Makes a block for the program: writes the header and the forbidden bytes into `whole`.
    ///
    /// # Safety
    /// * The caller owns `whole`, and has asked for it with the layout [`Shape::whole`] of this shape.
    pub(crate) unsafe fn create(whole: *mut u8, known: &HeaderFacts, fill: InitialBytes) -> Self {
        let (shape, before) = (known.shape, known.shape.before());
        let block = Self(whole.wrapping_add(before));
        let bytes = shape.whole().map_or(before, |whole| whole.size());
        // SAFETY: the part before the program's bytes.
        unsafe { whole.write_bytes(FORBIDDEN, before) };
        if fill == InitialBytes::Clean {
            // SAFETY: the program's bytes.
            unsafe { block.0.write_bytes(CLEAN, shape.size) };
        }
        // SAFETY: the part behind the program's bytes.
        unsafe { block.0.wrapping_add(shape.size).write_bytes(FORBIDDEN, bytes - before - shape.size) };
        let header = block.header();
        header.size.store(shape.size as u64, Ordering::Relaxed);
        header.serial.store(known.serial, Ordering::Relaxed);
        header.allocated.store(known.allocated.map_or(0, TraceId::get), Ordering::Relaxed);
        header.freed.store(0, Ordering::Relaxed);
        let align = shape.align.trailing_zeros();
        header.check.store(block.check(align), Ordering::Relaxed);
        // The state comes last: the search for leaks may stop the thread before, and must not find an unfinished block.
        header.state.store(LIVE | align, Ordering::Release);
        block
    }

    pub(crate) fn address(self) -> *mut u8 {
        self.0
    }

    fn header(&self) -> &DebugHeader {
        let header = self.0.wrapping_sub(HEADER_BEFORE).cast::<DebugHeader>();
        // SAFETY: the caller of `at` or `create` promised that the header can be read. It is aligned, and all of it is
        // atomic.
        unsafe { &*header }
    }

    fn check(self, align: u32) -> u32 {
        let header = self.header();
        let parts = [
            self.0.addr() as u64,
            header.size.load(Ordering::Relaxed),
            header.serial.load(Ordering::Relaxed),
            u64::from(header.allocated.load(Ordering::Relaxed)),
            u64::from(align),
        ];
        let mixed = parts.iter().fold(0x6A09_E667_F3BC_C908, |mixed: u64, part| {
            (mixed.rotate_left(23) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        (mixed >> 32) as u32
    }

    /// Whether the state is live or freed. The rest of the header is not looked at.
    pub(crate) fn has_state(self) -> bool {
        matches!(self.header().state.load(Ordering::Acquire) & STATE, LIVE | FREED)
    }

    /// The facts in the header, and whether the block is live; `None` if there is no sound header.
    pub(crate) fn known(self) -> Option<(HeaderFacts, bool)> {
        let header = self.header();
        let state = header.state.load(Ordering::Acquire);
        // Acquire: a thread that sees a backtrace here sees the state "freed" below.
        let freed = TraceId::new(header.freed.load(Ordering::Acquire));
        let (is_live, align) = (state & STATE == LIVE, state & !STATE);
        // A live block has no backtrace of a free, except while another thread frees it. In that case the state has
        // changed since it was loaded above.
        let is_whole = !is_live || freed.is_none() || header.state.load(Ordering::Acquire) != state;
        let is_sound = is_whole
            && (is_live || state & STATE == FREED)
            && header.check.load(Ordering::Relaxed) == self.check(align);
        let size = usize::try_from(header.size.load(Ordering::Relaxed)).ok()?;
        let align = 1_usize.checked_shl(align)?;
        let known = HeaderFacts {
            shape: Shape { size, align },
            serial: header.serial.load(Ordering::Relaxed),
            allocated: TraceId::new(header.allocated.load(Ordering::Relaxed)),
            freed,
        };
        (is_sound && known.shape.whole().is_some()).then_some((known, is_live))
    }

    /// Marks a live block as freed. Returns false if it was not live.
    pub(crate) fn mark_freed(self, shape: Shape, freed: Option<TraceId>) -> bool {
        let (header, align) = (self.header(), shape.align.trailing_zeros());
        let exchanged = header.state.compare_exchange(LIVE | align, FREED | align, Ordering::AcqRel, Ordering::Relaxed);
        if exchanged.is_ok() {
            header.freed.store(freed.map_or(0, TraceId::get), Ordering::Release);
        }
        exchanged.is_ok()
    }

    /// Overwrites the program's bytes.
    ///
    /// # Safety
    /// * The block has this shape, and the caller owns it.
    pub(crate) unsafe fn fill_dead(self, shape: Shape) {
        // SAFETY: the caller's promise.
        unsafe { self.0.write_bytes(DEAD, shape.size) };
        // Otherwise the compiler might leave out these writes, since no code reads the bytes.
        core::hint::black_box(self.0);
    }

    /// The damage in the first damaged part around the program's bytes. Looks right before them, then behind them, then
    /// before the header.
    ///
    /// # Safety
    /// * The block has this shape, so that its bytes can be read.
    pub(crate) unsafe fn damage_around(self, shape: Shape) -> Option<Damage> {
        let (size, whole) = (shape.size as isize, shape.whole()?);
        let before = shape.before() as isize;
        let parts = [
            (Part::Before, -(GUARD as isize), 0),
            (Part::Behind, size, whole.size() as isize - before),
            (Part::Before, -before, -(HEADER_BEFORE as isize)),
        ];
        // SAFETY: the caller's promise.
        parts.into_iter().find_map(|(part, from, to)| unsafe { self.damage(part, from, to) })
    }

    /// The damage in the program's bytes: those that were written to after the block was freed.
    ///
    /// # Safety
    /// * The block has this shape, so that its bytes can be read.
    pub(crate) unsafe fn damage_inside(self, shape: Shape) -> Option<Damage> {
        // SAFETY: the caller's promise.
        unsafe { self.damage(Part::Freed, 0, shape.size as isize) }
    }

    /// The damage between two offsets from the program's first byte.
    ///
    /// # Safety
    /// * The bytes between these offsets are part of the block.
    unsafe fn damage(self, part: Part, from: isize, to: isize) -> Option<Damage> {
        /// Number of bytes compared at once.
        const STEP: usize = 256;
        let (byte, of) = (part.byte(), (to - from) as usize);
        let whole = [byte; STEP];
        // SAFETY: the caller's promise.
        let bytes = unsafe { core::slice::from_raw_parts(self.0.wrapping_offset(from), of) };
        let mut damage: Option<Damage> = None;
        for (step, bytes) in bytes.chunks(STEP).enumerate() {
            if *bytes == whole[..bytes.len()] {
                continue;
            }
            for (place, _) in bytes.iter().enumerate().filter(|(_, found)| **found != byte) {
                let at = from + (step * STEP + place) as isize;
                let damage = damage.get_or_insert(Damage { part, first: at, last: at, count: 0, of });
                damage.last = at;
                damage.count += 1;
            }
        }
        damage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_block(size: usize, align: usize, fill: InitialBytes, body: impl FnOnce(DebugBlock, HeaderFacts)) {
        let shape = Shape { size, align };
        let whole = shape.whole().unwrap();
        let memory = unsafe_alloc(whole);
        let known = HeaderFacts { shape, serial: 7, allocated: TraceId::new(3), freed: None };
        // SAFETY: the memory was just allocated with this layout.
        let block = unsafe { DebugBlock::create(memory, &known, fill) };
        assert!(block.address().addr().is_multiple_of(align));
        body(block, known);
        // SAFETY: from `unsafe_alloc`, with this layout.
        unsafe { std::alloc::dealloc(memory, whole) };
    }

    fn unsafe_alloc(whole: Layout) -> *mut u8 {
        // SAFETY: never of 0 bytes.
        let memory = unsafe { std::alloc::alloc_zeroed(whole) };
        assert!(!memory.is_null());
        memory
    }

    #[test]
    fn every_byte_around_a_block_is_watched() {
        for (size, align) in [(1, 1), (20, 4), (24, 8), (5, 16), (16, 64), (0, 8), (700, 256), (3, 4096)] {
            with_block(size, align, InitialBytes::Clean, |block, known| {
                let (shape, whole) = (known.shape, known.shape.whole().unwrap().size() as isize);
                let before = shape.before() as isize;
                for at in -before..whole - before {
                    let byte = block.address().wrapping_offset(at);
                    // SAFETY: inside the block.
                    let old = unsafe { byte.read() };
                    // SAFETY: as above.
                    unsafe { byte.write(!old) };
                    // SAFETY: it has this shape.
                    let damage = unsafe { block.damage_around(shape) };
                    let is_header = (-40..-8).contains(&at);
                    if is_header {
                        assert_eq!(block.known().filter(|(_, is_live)| *is_live), None, "{at}");
                    } else if (0..size as isize).contains(&at) {
                        assert_eq!((damage, old), (None, CLEAN));
                    } else {
                        let part = if at < 0 { Part::Before } else { Part::Behind };
                        let damage = damage.unwrap();
                        assert_eq!((damage.part, damage.first, damage.last, damage.count), (part, at, at, 1));
                    }
                    // SAFETY: as above.
                    unsafe { byte.write(old) };
                    assert_eq!(block.known(), Some((known, true)));
                }
            });
        }
    }

    #[test]
    fn a_freed_block_is_freed_once_and_its_bytes_are_watched() {
        with_block(1000, 8, InitialBytes::AsItIs, |block, known| {
            let shape = known.shape;
            // SAFETY: its first byte.
            assert_eq!(unsafe { block.address().read() }, 0);
            assert!(block.mark_freed(shape, TraceId::new(9)));
            assert!(!block.mark_freed(shape, None));
            assert_eq!(block.known(), Some((HeaderFacts { freed: TraceId::new(9), ..known }, false)));
            // SAFETY: it has this shape and is the test's.
            unsafe { block.fill_dead(shape) };
            // SAFETY: as above.
            assert_eq!(unsafe { block.damage_inside(shape) }, None);
            for at in [300, 301, 999] {
                // SAFETY: inside the block.
                unsafe { block.address().wrapping_add(at).write(1) };
            }
            let damage = Damage { part: Part::Freed, first: 300, last: 999, count: 3, of: 1000 };
            // SAFETY: as above.
            assert_eq!(unsafe { block.damage_inside(shape) }, Some(damage));
        });
    }

    #[test]
    fn sizes_that_no_address_space_has_are_none() {
        for (size, align) in [(isize::MAX as usize, 1), (isize::MAX as usize - 47, 8), (8, 1 << 62), (usize::MAX, 1)] {
            assert_eq!(Shape { size, align }.whole(), None, "{size} {align}");
        }
        let whole = Shape { size: 1, align: 1 }.whole().unwrap();
        assert_eq!((whole.size(), whole.align()), (56, 8));
    }
}
