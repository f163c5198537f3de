//! The worker under a floor: plain arrays of cached pointers, without any check.
//!
//! Each thread has an array for each size class. A free writes the pointer into it, an allocation takes it out again; no
//! array is ever full or empty, and nobody asks whose block it is. It cannot be used for anything else: blocks freed by
//! another thread stay with that thread, nothing is given back, and past two million live blocks of a class the process
//! ends.
//!
//! That an array is never empty is a trick. A slot does not hold a block's address, but how far it is from the address
//! that a slot of its number stands for in a reserved range. So a slot of zeros, as the system gives it, holds a block
//! never used before. It costs a multiplication beside the load.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::ExitCode;
use std::ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::Mutex;

#[global_allocator]
static ALLOC: Arrays = Arrays;

fn main() -> ExitCode {
    versus::worker::main("array", None)
}

const CLASSES: usize = 32;
/// Slots of an array. The first block stands in the middle: a thread may free more than it allocates.
const SLOTS: usize = 1 << 22;

/// A thread's reserved range: its heap, then the slots of all classes, then their blocks, each class in as much room as
/// the largest needs.
const SLOTS_AT: usize = 4096;
const SLOTS_STRIDE: usize = SLOTS * size_of::<usize>() + SKEW;
const BLOCKS_AT: usize = SLOTS_AT + CLASSES * SLOTS_STRIDE;
const BLOCKS_STRIDE: usize = SLOTS * 256 + SKEW;
const RANGE_BYTES: usize = BLOCKS_AT + CLASSES * BLOCKS_STRIDE;
/// Without it the classes' slots would lie in the same few sets of the caches, and so would their blocks.
const SKEW: usize = 4096 + 192;

/// The front of a thread's range.
#[repr(C)]
struct Heap {
    /// For each class, the slot that the next allocation takes.
    next: [Cell<usize>; CLASSES],
    /// The next of the heaps whose threads have ended.
    next_idle: Cell<usize>,
}

thread_local! {
    /// The address of the thread's heap; 0 before its first allocation and after its end.
    static HEAP: Cell<usize> = const { Cell::new(0) };
    static END: End = const { End };
}

/// The address of the first of the heaps whose threads have ended.
static IDLE: Mutex<usize> = Mutex::new(0);

struct Arrays;

/// Class of a size, for small ones: one comparison refuses both 0 and more than 256 bytes.
fn class_of(layout: Layout) -> Option<usize> {
    let (last_byte, align) = (layout.size().wrapping_sub(1), layout.align());
    (last_byte < 256 && align <= 8).then_some(last_byte >> 3)
}

/// The slot of that number, and the address that zeros in it mean.
fn slot(heap: usize, class: usize, number: usize) -> (usize, usize) {
    let slot = heap + SLOTS_AT + class * SLOTS_STRIDE + number * size_of::<usize>();
    let block = heap + BLOCKS_AT + class * BLOCKS_STRIDE + number * (class + 1) * 8;
    (slot, block)
}

/// The slot that the next allocation of the class takes.
fn next(heap: usize, class: usize) -> &'static Cell<usize> {
    // SAFETY: heaps begin with a `Heap` of which every bit pattern is one, are never unmapped, and `HEAP` gives each to
    // one thread at a time.
    let heap: &'static Heap = unsafe { &*with_exposed_provenance::<Heap>(heap) };
    &heap.next[class]
}

// SAFETY: a block leaves its slot with an allocation and comes back into one with its free, so it is in one place. What
// `class_of` refuses is the system's both times.
unsafe impl GlobalAlloc for Arrays {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's promise, passed on.
            return unsafe { System.alloc(layout) };
        };
        let mut heap = HEAP.get();
        if heap == 0 {
            heap = begin();
        }
        let next = next(heap, class);
        let number = next.get();
        next.set(number + 1);
        let (slot, block) = slot(heap, class, number);
        // SAFETY: the slot is in the range, as long as fewer than half of `SLOTS` blocks of a class live.
        let distance = unsafe { with_exposed_provenance::<usize>(slot).read() };
        with_exposed_provenance_mut(block.wrapping_add(distance))
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        let Some(class) = class_of(layout) else {
            // SAFETY: the caller's promise; `class_of` refused at the allocation too.
            return unsafe { System.dealloc(address, layout) };
        };
        let heap = HEAP.get();
        if heap == 0 {
            // After the thread's end, or before its first allocation: the block is lost.
            return;
        }
        let next = next(heap, class);
        let number = next.get() - 1;
        next.set(number);
        let (slot, block) = slot(heap, class, number);
        let distance = address.expose_provenance().wrapping_sub(block);
        // SAFETY: the slot is in the range, as long as fewer than half of `SLOTS` more are freed here than allocated.
        unsafe { with_exposed_provenance_mut::<usize>(slot).write(distance) }
    }
}

/// Gives the thread a heap: one whose thread has ended, or a new one.
#[cold]
fn begin() -> usize {
    let mut idle = IDLE.lock().expect("no holder panics");
    let heap = if *idle == 0 {
        map()
    } else {
        let heap = *idle;
        *idle = next_idle(heap).get();
        heap
    };
    drop(idle);
    HEAP.set(heap);
    // Fails in destructors that run after the thread's end: the heap is lost then.
    let _ = END.try_with(|_| ());
    heap
}

fn next_idle(heap: usize) -> &'static Cell<usize> {
    // SAFETY: as in `next`; whoever holds the lock of `IDLE` has the heaps on its list and those just taken off.
    let heap: &'static Heap = unsafe { &*with_exposed_provenance::<Heap>(heap) };
    &heap.next_idle
}

fn map() -> usize {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping takes nobody's memory.
    let range = unsafe { libc::mmap(null_mut(), RANGE_BYTES, access, kind, -1, 0) };
    if range == libc::MAP_FAILED {
        std::process::abort();
    }
    let heap = range.expose_provenance();
    (0..CLASSES).for_each(|class| next(heap, class).set(SLOTS / 2));
    heap
}

/// Gives the heap to the next thread. It is dropped after what registered later, which is nearly everything.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let mut idle = IDLE.lock().expect("no holder panics");
        let heap = HEAP.replace(0);
        next_idle(heap).set(*idle);
        *idle = heap;
    }
}
