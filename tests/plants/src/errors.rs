//! Errors that a program makes on purpose, one at a time, and what the debug mode must say of each.
//!
//! `tests/errors/debug.rs` and `tests/program` use them. `tests/program` is built as programs are shipped.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;

use poolmalloc::{PoolMalloc, release_unused};

/// The allocator of the deeds. Every value of this type shares the same pools.
static ALLOC: PoolMalloc = PoolMalloc::new();

/// An error, by name.
pub struct Plant {
    /// What the error is called.
    pub name: &'static str,
    deed: fn(),
    /// The first line of the report, between `poolmalloc: ` and `; aborting`. `{}` stands for the address that the
    /// child has printed, and `{-8}` for the address 8 bytes before it.
    pub line: &'static str,
    /// Pieces of the other lines of the report.
    pub told: &'static [&'static str],
}

const fn plant(name: &'static str, deed: fn(), line: &'static str, told: &'static [&'static str]) -> Plant {
    Plant { name, deed, line, told }
}

const WHEN_FREED: &str = "seen: when it was freed\n";
const WHEN_RESIZED: &str = "seen: when it was resized\n";
const AT_EXIT: &str = "seen: at the end of the process\n";
const LATER: &str = "seen: when its memory was to be used again\n";

/// All errors. Blocks of 20 and 48 bytes come from pools, those of 5000 bytes from the backend.
pub static PLANTS: &[Plant] = &[
    plant(
        "overrun_by_a_byte",
        || free_written(20, 4, &[20]),
        "overrun of the block of 20 bytes at {}",
        &[
            "20 bytes asked for, alignment 4, ",
            WHEN_FREED,
            "1 of 12 bytes behind it no longer 0xFD, at offset 20,",
            ">41",
        ],
    ),
    plant(
        "overrun_at_the_very_end",
        || free_written(24, 8, &[31]),
        "overrun of the block of 24 bytes at {}",
        &["1 of 8 bytes behind it", "at offset 31,"],
    ),
    plant(
        "overrun_large",
        || free_written(5000, 1, &[5000, 5002]),
        "overrun of the block of 5000 bytes at {}",
        &["2 of 8 bytes behind it no longer 0xFD, at offset 5000 to 5002,"],
    ),
    plant(
        "overrun_over_aligned",
        || free_written(48, 64, &[48]),
        "overrun of the block of 48 bytes at {}",
        &["alignment 64, ", "at offset 48,"],
    ),
    plant(
        "overrun_over_aligned_large",
        || free_written(5000, 4096, &[5000]),
        "overrun of the block of 5000 bytes at {}",
        &["alignment 4096, ", "at offset 5000,"],
    ),
    plant(
        "overrun_freed_by_another_thread",
        || {
            let block = written(20, 4, &[20]).expose_provenance();
            on_thread(move || give(at(block), 20, 4));
        },
        "overrun of the block of 20 bytes at {}",
        &[WHEN_FREED],
    ),
    plant(
        "overrun_resized",
        || _ = resize(written(20, 4, &[20]), 20, 4, 40),
        "overrun of the block of 20 bytes at {}",
        &[WHEN_RESIZED],
    ),
    plant(
        "overrun_resized_large",
        || _ = resize(written(5000, 1, &[5000]), 5000, 1, 9000),
        "overrun of the block of 5000 bytes at {}",
        &[WHEN_RESIZED],
    ),
    plant(
        "underrun_by_a_byte",
        || free_written(20, 4, &[-1]),
        "underrun of the block of 20 bytes at {}",
        &["1 of 8 bytes before it no longer 0xFD, at offset -1,", ">41"],
    ),
    plant(
        "underrun_large",
        || free_written(5000, 1, &[-8]),
        "underrun of the block of 5000 bytes at {}",
        &["at offset -8,"],
    ),
    plant(
        "underrun_over_aligned",
        || free_written(48, 64, &[-60]),
        "underrun of the block of 48 bytes at {}",
        &["1 of 24 bytes before it no longer 0xFD, at offset -60,"],
    ),
    plant(
        "header_overwritten",
        || free_written(20, 4, &[-31]),
        "underrun of the block at {}: its header is overwritten",
        &[WHEN_FREED, "the header, 40 bytes before it"],
    ),
    plant(
        "header_overwritten_large",
        || free_written(5000, 8, &[-33]),
        "underrun of the block of 5000 bytes at {}: its header is overwritten",
        &[WHEN_FREED],
    ),
    plant(
        "write_after_free",
        || {
            write_after_free(20, 7);
            churn(16);
        },
        "write after free of the block of 20 bytes at {}",
        &[LATER, "1 of 20 bytes of its own no longer 0xDD, at offset 7,", ">41"],
    ),
    plant(
        "write_after_free_large",
        || {
            write_after_free(5000, 4999);
            churn(5000);
        },
        "write after free of the block of 5000 bytes at {}",
        &[LATER, "at offset 4999,"],
    ),
    plant(
        "write_after_free_before_the_block",
        || {
            write_after_free(20, -2);
            churn(16);
        },
        "write after free of the block of 20 bytes at {}",
        &["1 of 8 bytes before it no longer 0xFD, at offset -2,"],
    ),
    plant(
        "write_after_free_to_the_header",
        || {
            write_after_free(20, -30);
            churn(16);
        },
        "write after free of the block of 20 bytes at {}",
        &["the header, 40 bytes before it"],
    ),
    plant(
        "write_after_free_asked_for",
        || {
            write_after_free(20, 0);
            release_unused();
        },
        "write after free of the block of 20 bytes at {}",
        &[LATER],
    ),
    plant(
        "write_after_free_at_exit",
        || write_after_free(20, 19),
        "write after free of the block of 20 bytes at {}",
        &[AT_EXIT, "at offset 19,"],
    ),
    plant(
        "write_after_free_large_at_exit",
        || write_after_free(5000, 300),
        "write after free of the block of 5000 bytes at {}",
        &[AT_EXIT, "at offset 300,"],
    ),
    plant(
        "write_after_realloc",
        || {
            let block = accuse(take(20, 4));
            resize(block, 20, 4, 40);
            write(block, 3);
        },
        "write after free of the block of 20 bytes at {}",
        &[AT_EXIT, "at offset 3,"],
    ),
    plant("double_free", || twice(20), "double free of the block of 20 bytes at {}", &["20 bytes asked for"]),
    plant("double_free_large", || twice(5000), "double free of the block of 5000 bytes at {}", &["5000 bytes asked"]),
    plant(
        "double_free_with_many_between",
        || {
            let block = accuse(take(48, 8));
            give(block, 48, 8);
            (0..1000).for_each(|_| give(take(48, 8), 48, 8));
            give(block, 48, 8);
        },
        "double free of the block of 48 bytes at {}",
        &[],
    ),
    plant(
        "double_free_by_another_thread",
        || {
            let block = accuse(take(48, 8)).expose_provenance();
            give(at(block), 48, 8);
            on_thread(move || give(at(block), 48, 8));
        },
        "double free of the block of 48 bytes at {}",
        &[],
    ),
    plant(
        "double_free_after_the_quarantine",
        || {
            let block = accuse(take(48, 8));
            give(block, 48, 8);
            churn(16);
            give(block, 48, 8);
        },
        "double free of the block of 48 bytes at {}",
        &[],
    ),
    plant(
        "double_free_large_after_the_quarantine",
        || {
            let block = accuse(take(5000, 8));
            give(block, 5000, 8);
            churn(6000);
            give(block, 5000, 8);
        },
        "free of {}, which was not handed out, or has been freed long ago",
        &[],
    ),
    plant(
        "realloc_of_a_freed_block",
        || {
            let block = accuse(take(20, 4));
            give(block, 20, 4);
            resize(block, 20, 4, 40);
        },
        "realloc of the block of 20 bytes at {}, which is free already",
        &[WHEN_RESIZED],
    ),
    plant(
        "wrong_size",
        || give(accuse(take(20, 4)), 21, 4),
        "free of the block of 20 bytes, alignment 4, at {} by a Layout of 21 bytes, alignment 4",
        &[WHEN_FREED],
    ),
    plant(
        "wrong_size_large",
        || give(accuse(take(5000, 8)), 20, 8),
        "free of the block of 5000 bytes, alignment 8, at {} by a Layout of 20 bytes, alignment 8",
        &[],
    ),
    plant(
        "wrong_alignment",
        || give(accuse(take(20, 4)), 20, 8),
        "free of the block of 20 bytes, alignment 4, at {} by a Layout of 20 bytes, alignment 8",
        &[],
    ),
    plant(
        "wrong_size_resized",
        || _ = resize(accuse(take(20, 4)), 24, 4, 40),
        "realloc of the block of 20 bytes, alignment 4, at {} by a Layout of 24 bytes, alignment 4",
        &[WHEN_RESIZED],
    ),
    plant(
        "foreign_stack",
        || {
            let mut bytes = black_box([0_u8; 64]);
            give(accuse(bytes.as_mut_ptr().wrapping_add(40)), 20, 1);
        },
        "free of {}, which was not handed out, or has been freed long ago",
        &["seen: at once\n"],
    ),
    plant(
        "foreign_unreadable",
        // Nothing is mapped at this address, so no byte there can be read.
        || give(accuse(at(0x5000)), 20, 1),
        "free of {}, which was not handed out, or has been freed long ago",
        &[],
    ),
    plant(
        "foreign_of_malloc",
        || {
            // SAFETY: no preconditions.
            let block = unsafe { std::alloc::System.alloc(layout(20, 1)) };
            give(accuse(block), 20, 1);
        },
        "free of {}, which was not handed out, or has been freed long ago",
        &[],
    ),
    plant(
        "foreign_resized",
        || {
            let mut bytes = black_box([0_u8; 64]);
            resize(accuse(bytes.as_mut_ptr()), 20, 1, 40);
        },
        "realloc of {}, which was not handed out, or has been freed long ago",
        &[],
    ),
    plant(
        "foreign_in_the_region",
        || {
            let block = take(20, 4);
            give(accuse(block.map_addr(|address| (address & !0xFFF) + (64 << 20))), 20, 4);
        },
        "free of {}, in a pool without blocks: double, or of a wild pointer",
        &[],
    ),
    plant(
        "interior",
        || give(accuse_of(take(48, 8), 8), 40, 8),
        "free of {}, 8 bytes into the block of 48 bytes at {-8}",
        &["48 bytes asked for"],
    ),
    plant(
        "interior_unaligned",
        || give(accuse_of(take(48, 8), 3), 48, 1),
        "free of {}, 3 bytes into the block of 48 bytes at {-3}",
        &[],
    ),
    plant(
        "interior_large",
        || give(accuse_of(take(5000, 8), 4096), 48, 1),
        "free of {}, 4096 bytes into the block of 5000 bytes at {-4096}",
        &[],
    ),
    plant(
        "interior_resized",
        || _ = resize(accuse_of(take(48, 8), 16), 32, 8, 80),
        "realloc of {}, 16 bytes into the block of 48 bytes at {-16}",
        &[],
    ),
    plant(
        "before_the_block",
        || give(accuse_of(take(48, 8), -8), 48, 8),
        "free of {}, before the block of 48 bytes at {8}",
        &[],
    ),
    plant("many_at_once", many_at_once, "overrun of the block of 20 bytes at {}", &[WHEN_FREED]),
];

/// Makes the error of this name. Returns whether there is one.
pub fn plant_of(name: &str) -> bool {
    let Some(plant) = PLANTS.iter().find(|plant| plant.name == name) else { return false };
    (plant.deed)();
    true
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("a layout")
}

fn at(address: usize) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(address)
}

#[inline(never)]
fn take(size: usize, align: usize) -> *mut u8 {
    // SAFETY: no size here is zero.
    let block = black_box(unsafe { ALLOC.alloc(layout(size, align)) });
    assert!(!block.is_null());
    block
}

#[inline(never)]
fn give(block: *mut u8, size: usize, align: usize) {
    // SAFETY: wrong on purpose in some calls. The debug mode reports the error before it does harm.
    unsafe { ALLOC.dealloc(black_box(block), layout(size, align)) };
}

fn resize(block: *mut u8, size: usize, align: usize, new_size: usize) -> *mut u8 {
    // SAFETY: as for `give`.
    black_box(unsafe { ALLOC.realloc(black_box(block), layout(size, align), new_size) })
}

/// Prints the address for the parent: the report must name it.
fn accuse(block: *mut u8) -> *mut u8 {
    let line = format!("{block:p}\n");
    // SAFETY: the bytes are readable for their length.
    let written = unsafe { libc_write(1, line.as_ptr(), line.len()) };
    assert_eq!(written, line.len() as isize);
    block
}

unsafe extern "C" {
    #[link_name = "write"]
    unsafe fn libc_write(descriptor: i32, bytes: *const u8, count: usize) -> isize;
}

/// Returns a pointer `offset` bytes from a block, after it has printed the pointer for the parent.
fn accuse_of(block: *mut u8, offset: isize) -> *mut u8 {
    accuse(block.wrapping_offset(offset))
}

/// Writes a byte where the program may not.
fn write(block: *mut u8, offset: isize) {
    // SAFETY: beside or in a block whose memory the allocator has not given back.
    unsafe { block.wrapping_offset(offset).write_volatile(0x41) };
}

fn written(size: usize, align: usize, offsets: &[isize]) -> *mut u8 {
    let block = accuse(take(size, align));
    offsets.iter().for_each(|offset| write(block, *offset));
    block
}

fn free_written(size: usize, align: usize, offsets: &[isize]) {
    give(written(size, align, offsets), size, align);
}

fn write_after_free(size: usize, offset: isize) {
    let block = accuse(take(size, 8));
    give(block, size, 8);
    write(block, offset);
}

fn twice(size: usize) {
    let block = accuse(take(size, 8));
    give(block, size, 8);
    give(block, size, 8);
}

/// Frees so many blocks that everything freed before leaves the quarantine.
fn churn(size: usize) {
    let blocks: Vec<_> = (0..20_000).map(|_| take(size, 8)).collect();
    blocks.into_iter().for_each(|block| give(block, size, 8));
}

fn on_thread(deed: impl FnOnce() + Send + 'static) {
    thread::spawn(deed).join().expect("the thread");
}

/// Eight threads free the same overrun block at the same time.
fn many_at_once() {
    let block = written(20, 4, &[20]).expose_provenance();
    let barrier = Barrier::new(8);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                barrier.wait();
                give(at(block), 20, 4);
            });
        }
    });
}
