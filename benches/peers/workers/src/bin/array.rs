//! The worker under a floor: plain arrays of cached pointers, without any check.
//!
//! Each thread has an array for each size class. A free writes the pointer into the array, and an allocation takes it
//! out again. No array is ever full or empty, and no code looks up the owner of a block. The allocator is of no other
//! use: blocks that another thread frees stay with that thread, no memory is given back, and past two million live
//! blocks of a class the process ends.
//!
//! A trick keeps an array from being empty. Each slot stands for one address in a reserved range. The slot holds the
//! distance from that address to the address of a block. The system provides memory full of zeros. So a slot that was
//! never written holds the distance 0, and thereby a block that was never used. The trick costs a multiplication beside
//! the load.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::ExitCode;
use std::ptr::{null_mut, with_exposed_provenance, with_exposed_provenance_mut};
use std::sync::Mutex;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: Arrays = Arrays;

fn main() -> ExitCode {
    versus::worker::main("array", &chosen::WORKLOADS, None)
}

const CLASSES: usize = 32;
/// Number of slots of an array. The first block is in the middle, because a thread may free more than it allocates.
const SLOTS: usize = 1 << 22;

/// The reserved range of a thread has its heap, then the slots of all classes, then their blocks. Each class has as
/// much room as the largest needs.
const SLOTS_AT: usize = 4096;
const SLOTS_STRIDE: usize = SLOTS * size_of::<usize>() + SKEW;
const BLOCKS_AT: usize = SLOTS_AT + CLASSES * SLOTS_STRIDE;
const BLOCKS_STRIDE: usize = SLOTS * 256 + SKEW;
const RANGE_BYTES: usize = BLOCKS_AT + CLASSES * BLOCKS_STRIDE;
/// Without the skew the slots of all classes would lie in the same few sets of the caches. The same holds for their
/// blocks.
const SKEW: usize = 4096 + 192;

/// The front of a thread's range.
#[repr(C)]
struct Heap {
    /// For each class, the slot that the next allocation takes.
    next: [Cell<usize>; CLASSES],
    /// The next heap on the list of those whose threads have ended.
    next_idle: Cell<usize>,
}

thread_local! {
    /// The address of the thread's heap; 0 before its first allocation and after its end.
    static HEAP: Cell<usize> = const { Cell::new(0) };
    static END: End = const { End };
}

/// The address of the first heap on the list of those whose threads have ended.
static IDLE: Mutex<usize> = Mutex::new(0);

struct Arrays;

/// Class of a small size. One comparison refuses both 0 bytes and more than 256.
fn class_of(layout: Layout) -> Option<usize> {
    let (last_byte, align) = (layout.size().wrapping_sub(1), layout.align());
    (last_byte < 256 && align <= 8).then_some(last_byte >> 3)
}

/// The address of the slot of this number, and the address that the slot stands for.
fn slot(heap: usize, class: usize, number: usize) -> (usize, usize) {
    let slot = heap + SLOTS_AT + class * SLOTS_STRIDE + number * size_of::<usize>();
    let block = heap + BLOCKS_AT + class * BLOCKS_STRIDE + number * (class + 1) * 8;
    (slot, block)
}

/// The slot that the next allocation of the class takes.
fn next(heap: usize, class: usize) -> &'static Cell<usize> {
    // SAFETY: a range begins with a `Heap`, which may have any bit pattern. It is never unmapped, and `HEAP` gives it
    // to one thread at a time.
    let heap: &'static Heap = unsafe { &*with_exposed_provenance::<Heap>(heap) };
    &heap.next[class]
}

// SAFETY: an allocation takes a block out of its slot and the free puts it into one, so a block is in one place.
// Requests that `class_of` refuses go to the system both times.
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
            // The thread has ended, or has not allocated yet: the block is lost.
            return;
        }
        let next = next(heap, class);
        let number = next.get() - 1;
        next.set(number);
        let (slot, block) = slot(heap, class, number);
        let distance = address.expose_provenance().wrapping_sub(block);
        // SAFETY: the slot is in the range, as long as this thread's frees of a class exceed its allocations by less
        // than half of `SLOTS`.
        unsafe { with_exposed_provenance_mut::<usize>(slot).write(distance) }
    }
}

/// Gives the thread a heap: that of a thread that has ended, or a new one.
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
    // This fails in destructors that run after that of `END`. Then the heap is lost.
    let _ = END.try_with(|_| ());
    heap
}

fn next_idle(heap: usize) -> &'static Cell<usize> {
    // SAFETY: as in `next`. Only the holder of the lock of `IDLE` uses the heaps on that list, and those that it has
    // just taken off the list.
    let heap: &'static Heap = unsafe { &*with_exposed_provenance::<Heap>(heap) };
    &heap.next_idle
}

fn map() -> usize {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
    // SAFETY: a new mapping replaces no memory.
    let range = unsafe { libc::mmap(null_mut(), RANGE_BYTES, access, kind, -1, 0) };
    if range == libc::MAP_FAILED {
        std::process::abort();
    }
    let heap = range.expose_provenance();
    (0..CLASSES).for_each(|class| next(heap, class).set(SLOTS / 2));
    heap
}

/// Gives the heap to the next thread when dropped. It is dropped after all thread-locals that registered later, which
/// are nearly all.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let mut idle = IDLE.lock().expect("no holder panics");
        let heap = HEAP.replace(0);
        next_idle(heap).set(*idle);
        *idle = heap;
    }
}
