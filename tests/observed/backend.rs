//! Requests of over 256 bytes, rounded up to their alignment, go to the backend with the very `Layout` of the request.
//! Small requests never go there. And `errno` stays the program's own.
//!
//! The backend here is [`Diary`]: the system's allocator with a note of each call. It can also refuse every request.
//!
//! To see it fail: round a large layout up; serve `alloc_zeroed` by `alloc` and zeroing; resize a large block by a new
//! one, a copy and a free; take metadata from the backend; let a system call change `errno`.
//!
//! `cargo test --test observed backend::`

use std::alloc::{GlobalAlloc, Layout, System, alloc, alloc_zeroed, dealloc, realloc};
use std::cell::Cell;
use std::hint::black_box;
use std::io::Error;
use std::ptr::{self, NonNull};

#[cfg(target_os = "linux")]
use libc::__errno_location as errno_place;
#[cfg(not(target_os = "linux"))]
use libc::__error as errno_place;
use poolmalloc::stats;

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{CLASSES, block_bytes, class_of, consistent_stats};
use poolmalloc_support::{Test, not_in_debug, raw_thread, tests};

/// A call of the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Alloc(Layout),
    AllocZeroed(Layout),
    Dealloc(*mut u8, Layout),
    Realloc(*mut u8, Layout, usize),
}

thread_local! {
    static LAST_CALL: Cell<Option<Call>> = const { Cell::new(None) };
    static IS_EMPTY: Cell<bool> = const { Cell::new(false) };
}

/// The system's allocator. It notes the last call of each thread, and returns null while `IS_EMPTY`.
pub(crate) struct Diary;

impl Diary {
    fn note(call: Call) {
        LAST_CALL.set(Some(call));
    }
}

// SAFETY: every call goes on to `System` unchanged, or fails as an allocator may.
unsafe impl GlobalAlloc for Diary {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::note(Call::Alloc(layout));
        if IS_EMPTY.get() {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::note(Call::AllocZeroed(layout));
        if IS_EMPTY.get() {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        Self::note(Call::Dealloc(block, layout));
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::note(Call::Realloc(block, layout, size));
        if IS_EMPTY.get() {
            return ptr::null_mut();
        }
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Runs `act`. Returns its result, and the last call of the backend that it made, if any.
fn call_of<R>(act: impl FnOnce() -> R) -> (R, Option<Call>) {
    LAST_CALL.set(None);
    let result = act();
    (result, LAST_CALL.take())
}

/// Layouts that the backend serves, by size or by alignment.
fn large_layouts() -> impl Iterator<Item = Layout> {
    let by_size = [257, 300, 511, 1000, 4095, 4096, 100_001, 1 << 20];
    let by_size = by_size.into_iter().flat_map(|size| [1, 8, 32, 4096].map(|align| layout(size, align)));
    let by_align = [1, 8, 100, 255, 256].into_iter().flat_map(|size| [512, 4096].map(|align| layout(size, align)));
    by_size
        .chain(by_align)
        .chain([layout(250, 128), layout(193, 256)].into_iter().filter(|layout| class_of(*layout).is_none()))
}

fn large_requests_arrive_unchanged() {
    for large in large_layouts() {
        // SAFETY: the size is not zero.
        let (block, call) = call_of(|| black_box(unsafe { alloc(large) }));
        assert_eq!(call, Some(Call::Alloc(large)));
        // SAFETY: the block is live with this layout.
        let ((), call) = call_of(|| unsafe { dealloc(block, large) });
        assert_eq!(call, Some(Call::Dealloc(block, large)));

        // SAFETY: the size is not zero.
        let (block, call) = call_of(|| black_box(unsafe { alloc_zeroed(large) }));
        assert_eq!(call, Some(Call::AllocZeroed(large)));
        let size = 300 + large.size() / 2;
        // SAFETY: the block is live with this layout; the size is not zero and far below `isize::MAX`.
        let (resized, call) = call_of(|| black_box(unsafe { realloc(block, large, size) }));
        assert_eq!(call, Some(Call::Realloc(block, large, size)));
        let large = layout(size, large.align());
        // SAFETY: the block is live with this layout.
        let ((), call) = call_of(|| unsafe { dealloc(resized, large) });
        assert_eq!(call, Some(Call::Dealloc(resized, large)));
    }
}

/// A `realloc` across the limit moves the block. The backend gets a call for the large one of the two blocks only.
fn realloc_across_the_limit() {
    for size in [1, 100, 256] {
        let mut block = Block::new(layout(size, 8), size);
        let ((), call) = call_of(|| block.resize(1000));
        assert_eq!(call, Some(Call::Alloc(layout(1000, 8))));
        let large = block.start().as_ptr();
        let ((), call) = call_of(|| block.resize(size));
        assert_eq!(call, Some(Call::Dealloc(large, layout(1000, 8))));
        let ((), call) = call_of(|| block.free());
        assert_eq!(call, None);
    }
}

/// No small request reaches the backend, however many there are: neither for blocks nor for the library's own needs.
fn small_requests_stay_away() {
    const BLOCKS: usize = 2000;
    let mut blocks: Vec<Option<Block>> = (0..BLOCKS).map(|_| None).collect();
    for class in 0..CLASSES {
        let small = layout(block_bytes(class), 8);
        let ((), call) = call_of(|| {
            for (seed, place) in blocks.iter_mut().enumerate() {
                let block = if seed % 2 == 0 { Block::new(small, seed) } else { Block::zeroed(small, seed) };
                *place = Some(block);
            }
            for (seed, place) in blocks.iter_mut().enumerate() {
                place.as_mut().expect("a block").resize(1 + (seed * 31) % 256);
            }
            blocks.iter_mut().filter_map(Option::take).for_each(Block::free);
        });
        assert_eq!(call, None, "class {class}");
    }
}

/// While the backend has no memory, large requests return null and change no figure, the old block stays as it was, and
/// small requests go on.
fn empty_backend() {
    let mut victims = [1, 100, 256, 300, 5000].map(|size| Block::new(layout(size, 8), size));
    let before = consistent_stats();
    IS_EMPTY.set(true);
    // SAFETY: the size is not zero.
    let block = black_box(unsafe { alloc(layout(1000, 8)) });
    // SAFETY: the size is not zero.
    let zeroed = black_box(unsafe { alloc_zeroed(layout(1000, 8)) });
    let has_resized = victims.each_mut().map(|victim| victim.try_resize(10_000));
    let after = stats();
    IS_EMPTY.set(false);
    assert!(block.is_null() && zeroed.is_null());
    assert_eq!(has_resized, [false; 5]);
    assert_eq!(after, before);

    IS_EMPTY.set(true);
    let blocks: [Block; 256] = std::array::from_fn(|i| Block::new(layout(1 + i, 1), i));
    blocks.into_iter().for_each(Block::free);
    IS_EMPTY.set(false);
    for victim in &mut victims {
        victim.resize(10_000);
    }
    victims.into_iter().for_each(Block::free);
}

const MARK: i32 = 4321;

fn set_errno(value: i32) {
    // SAFETY: no preconditions; the place is this thread's own.
    let place = unsafe { errno_place() };
    // SAFETY: the place is writable for the thread's life.
    unsafe { place.write(value) };
}

/// Programs read `errno` after they have dropped the values that the failed call needed. So no free and no small
/// allocation may change it. The test covers all paths: first use in a thread, fills, flushes, new arenas, remote
/// frees.
fn errno_is_preserved() {
    const BLOCKS: usize = 20_000;
    let keeps = |what: &str, act: &mut dyn FnMut()| {
        set_errno(MARK);
        act();
        assert_eq!(Error::last_os_error().raw_os_error(), Some(MARK), "{what}");
    };
    let mut blocks: Vec<Option<NonNull<u8>>> = vec![None; BLOCKS];
    for size in [8, 48, 200, 256] {
        let small = layout(size, 8);
        for place in &mut blocks {
            keeps("alloc", &mut || {
                // SAFETY: the size is not zero.
                *place = NonNull::new(unsafe { alloc(small) });
            });
        }
        for place in blocks.iter_mut().step_by(2) {
            let block = place.take().expect("a block");
            // SAFETY: the block is live with this layout.
            keeps("dealloc", &mut || unsafe { dealloc(block.as_ptr(), small) });
        }
        let others: Vec<usize> =
            blocks.iter_mut().filter_map(Option::take).map(|block| block.as_ptr().expose_provenance()).collect();
        raw_thread::run(1, &|_| {
            for address in &others {
                let block = ptr::with_exposed_provenance_mut(*address);
                // SAFETY: the block is live with this layout, and this thread alone frees it.
                keeps("dealloc by another thread", &mut || unsafe { dealloc(block, small) });
            }
            // SAFETY: the size is not zero.
            let block = unsafe { alloc(small) };
            // SAFETY: the block is live with this layout.
            keeps("dealloc", &mut || unsafe { dealloc(block, small) });
        });
    }
    for large in large_layouts() {
        // SAFETY: the size is not zero.
        let block = black_box(unsafe { alloc(large) });
        // SAFETY: the block is live with this layout.
        keeps("dealloc of a large block", &mut || unsafe { dealloc(block, large) });
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let tests = tests![
        large_requests_arrive_unchanged,
        realloc_across_the_limit,
        small_requests_stay_away,
        empty_backend,
        errno_is_preserved,
    ];
    let names =
        ["large_requests_arrive_unchanged", "realloc_across_the_limit", "small_requests_stay_away", "empty_backend"];
    not_in_debug(tests, &names, "the backend is asked for larger blocks, and every realloc moves")
}
