//! A block freed twice ends the process, with one line that says so, before the second free can harm anyone.
//!
//! The double free is seen when the bit that it would set is set already: when the magazine is flushed, or at the remote free. Children
//! commit it in each of these ways; the parent wants SIGABRT and exactly one line on standard error. A child that does the same
//! without the second free exits with 0.
//!
//! To see it fail: set bits without looking at what they were; panic (which allocates, and may unwind) instead of writing and
//! aborting.
//!
//! `cargo test --test misuse`

mod support;

use std::alloc::{GlobalAlloc, Layout};
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;

use poolmalloc::PoolMalloc;

use support::block::{Block, layout};
use support::process::{command, role, succeed, told};
use support::raw_thread;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Enough blocks of 48 bytes to push everything freed before through magazine and depot into the pools: 960 KB.
const BLOCKS: usize = 20_000;

/// What a child does, by name, with the block that it must free only once.
type Deed = (&'static str, fn(Block));

const DEEDS: [Deed; 6] = [
    ("once", |block| block.free()),
    ("once by another thread", |block| on_thread(|| free_now(&block))),
    ("twice", |block| {
        free_now(&block);
        free_now(&block);
    }),
    ("twice by one other thread", |block| {
        on_thread(|| {
            free_now(&block);
            free_now(&block);
        });
    }),
    ("twice by one other thread, at length", |block| {
        on_thread(|| {
            free_now(&block);
            // What the thread does in between must not make it forget.
            let blocks: [Block; 200] = std::array::from_fn(|seed| Block::new(block.layout(), seed));
            blocks.into_iter().for_each(Block::free);
            free_now(&block);
        });
    }),
    ("by two other threads", |block| {
        on_thread(|| free_now(&block));
        on_thread(|| free_now(&block));
    }),
];

/// Deeds from here on are double frees.
const INNOCENT: usize = 2;

fn on_thread(body: impl FnOnce() + Send) {
    let body = Mutex::new(Some(body));
    raw_thread::run(1, &|_| {
        let body = body.lock().expect("no panic while it was held").take();
        body.expect("one thread")();
    });
}

/// Frees the block although the caller goes on holding it.
fn free_now(block: &Block) {
    // SAFETY: the first time the block is live; the second time is the misuse that this file is about, which the library promises to
    // answer by ending the process.
    unsafe { ALLOC.dealloc(block.start().as_ptr(), block.layout()) };
}

/// Frees a block by `deed` among many others, so that it goes all the way to its pool.
fn run_child(deed: fn(Block)) {
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is readable.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core) };
    let layout: Layout = layout(48, 8);
    let mut blocks: Vec<Block> = (0..BLOCKS).map(|seed| Block::new(layout, seed)).collect();
    deed(blocks.swap_remove(BLOCKS / 2));
    blocks.into_iter().for_each(Block::free);
    // The other threads' frees are seen when their owner needs blocks.
    let blocks: Vec<Block> = (0..2 * BLOCKS).map(|seed| Block::new(layout, seed)).collect();
    blocks.into_iter().for_each(Block::free);
}

fn innocent_frees_pass() {
    for (deed, _) in &DEEDS[..INNOCENT] {
        succeed(&mut command(deed));
    }
}

fn double_frees_abort() {
    for (deed, _) in &DEEDS[INNOCENT..] {
        let output = command(deed).output().expect("starting the child");
        assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{deed}: {}", told(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said.lines().collect();
        let [line] = lines[..] else { panic!("{deed}: not one line: {}", told(&output)) };
        assert!(line.starts_with("poolmalloc: ") && line.contains("double free"), "{deed}: {line:?}");
        assert!(said.ends_with('\n'), "{deed}: {said:?}");
    }
}

fn main() {
    if let Some(role) = role() {
        let deed = DEEDS.iter().find(|(name, _)| *name == role).expect("a known deed");
        return run_child(deed.1);
    }
    support::run(&[("innocent_frees_pass", innocent_frees_pass), ("double_frees_abort", double_frees_abort)]);
}
