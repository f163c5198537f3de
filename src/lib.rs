//! CPython's small-object allocator for Rust programs, made for threads.
//!
//! ```
//! use poolmalloc::PoolMalloc;
//!
//! #[global_allocator]
//! static ALLOC: PoolMalloc = PoolMalloc::new();
//! # fn main() { drop(Box::new(1)); }
//! ```
//!
//! Requests of up to 256 bytes are served from pools of 4 KiB, each of one of 32 size classes, inside arenas of 256
//! KiB; larger ones go to the system's malloc. Freed memory stays pooled. [`stats()`] says at any time, exactly when
//! other threads are quiet, what the heap holds.
//!
//! # What serves a request
//! ```text
//!   alloc / dealloc                                                       one a
//!   ┌───────────────┐ over 256 bytes    ┌─────────────────────────────┐
//!   │ PoolMalloc    │ ────────────────► │ backend: malloc             │    process
//!   └──────┬────────┘                   └─────────────────────────────┘
//!          │ thread-local pointer
//!   ┌──────▼────────┐ empty or full     ┌─────────────────────────────┐
//!   │ magazine      │ ◄───────────────► │ depot of full magazines     │    class and thread
//!   └──────┬────────┘                   └─────────────────────────────┘
//!          │ fill, flush                  remote frees of other threads
//!   ┌──────▼────────┐                   ┌─────────────────────────────┐
//!   │ pool, 4 KiB   │ ◄──────────────── │ remote map, pending list    │    thread
//!   ├───────────────┤      collect      └─────────────────────────────┘
//!   │ arena, 256 KiB│
//!   ├───────────────┤
//!   │ region        │  one reserved range of addresses; tables beside it    process
//!   └───────────────┘
//! ```
//! A request goes from `global` to `process` (which heap is mine?), `heap` with its magazines, `region` and `os`;
//! [Layers](#layers) has the whole list.
//!
//! # The strategy, and its drawback
//! A free block costs no header, and a pool has no header either: all that is known of blocks lies in dense tables
//! beside the arenas, found by a shift of the address. So no overrun of the program can damage the allocator, a block
//! of 24 bytes costs 24.6, and a free finds its block's class and owner without trusting the `Layout`. The drawback is
//! that memory once used for small blocks is kept: it serves other classes when 4 KiB of it are wholly free, other
//! threads when 256 KiB are, but goes back to the system only when the program calls [`release_unused`]. A program with
//! one short phase of many small blocks keeps that phase's memory until then. And a thread that waits does not collect
//! what others free of its blocks, and keeps up to 32 blocks of each class (what its magazines hold if such blocks go
//! round) that it freed of others: that memory serves nobody until the thread allocates again or ends.
//!
//! # Layers
//! Each folder imports only folders and files below it in this list, and each file of a folder only files before it in
//! its `mod.rs`. `tests/layers.rs` checks that. The process starts in `process/startup.rs`.
//!
//! | layer | what it is |
//! | --- | --- |
//! | `tests` | unit tests that need several layers |
//! | `global` | the front door: fast paths, and the questions behind them |
//! | `private` | heaps of the program's own |
//! | `at_exit` | what is written at the end of the process |
//! | `assert` | assertions for tests |
//! | `leaks` | the search for leaks |
//! | `observe` | what users ask: statistics, measurements, maps, releases, the check of the heap |
//! | `debug` | the debug layer, between a request and what serves it |
//! | `typed` | typed pools |
//! | `profile` | samples and profiles |
//! | `process` | what there is once: start, mode, shared pools, each thread's way to its heap |
//! | `heap` | a thread's heap: magazines, fills, flushes, remote frees |
//! | `large` | the index of large blocks |
//! | `region` | addresses, the tables beside them, pools and arenas, the protocol of remote frees |
//! | `traces` | backtraces |
//! | `figures` | plain data for users, and its texts |
//! | `sync` | counters, locks, lists, generations |
//! | `check` | one line on stderr, then abort |
//! | `geometry` | sizes |
//! | `os` | the system |
//!
//! # Words
//! | word | means |
//! | --- | --- |
//! | block | the unit handed to the program |
//! | size class | index of a block size: 8, 16, ... 256 bytes |
//! | magazine | one class's cached block pointers in a thread's heap |
//! | foreign magazine | those of blocks of other heaps, freed by this thread |
//! | depot | a class's full magazines behind the loaded one |
//! | free map, remote map | one bit for every 8 bytes of the region: free blocks; blocks freed by other threads |
//! | heap | a thread's pools, arenas and magazines |
//! | private heap | one that belongs to a handle of the program, a [`PrivateHeap`] or [`SharedPrivateHeap`], and to no thread |
//! | pool | 4 KiB of blocks of one class |
//! | record | what is known of a pool or an arena, beside the arenas |
//! | tag | size class and owner of a pool, in a dense table |
//! | arena | 256 KiB of pools, owned by one heap |
//! | region | the reserved range of addresses |
//! | backend | what serves requests over 256 bytes |
//! | remote free | a free by a thread that does not own the block's pool |
//! | fill, flush | from pools to a magazine, from a magazine to pools |
//! | collect | the owner takes its remote frees |
//! | watch | notes each request of a thread, for `measure_peak` |
//! | release | give memory back to the system |
//! | typed pool | ready blocks for values of one type |
//! | shelf | where they lie |
//! | park, take over | what happens to a heap when its thread ends, and after |
//! | live, cached, free | held by the program; in a magazine or waiting as remote frees; in a pool |
//!
//! # Threads, forks, exits
//! A thread gets a heap at its first request and gives it back at its end, after the destructors of its
//! thread-locals; destructors that come later still are served, more slowly. A child of `fork` goes on with the heap of
//! the thread that forked. Allocating in a signal handler is no more allowed than with malloc.
//!
//! A shared library that has this allocator inside stays loaded after `dlclose`, since each thread that used it calls
//! it once more at its end: it takes a handle of itself when it is loaded (glibc, Android and FreeBSD; musl unloads
//! nothing anyway, and elsewhere it must not be unloaded while threads that used it run). Opened again it is the same
//! one, with what it had; a copy of its file is another one, with pools of its own.
//!
//! # Huge pages
//! The variable `POOLMALLOC_HUGE_PAGES` of the environment, read at the first small request, has the region's memory
//! asked for in huge pages on Linux: `always` (all but the first 2 MiB), beyond a number of MiB, or `never`. Unset, the
//! system decides. Another value is warned about once on stderr and ignored; a program that runs with rights which its
//! caller may lack ignores the variable. Huge pages make memory faster, and are for programs with few threads and much
//! of it: the first block of each 2 MiB takes all of them, each thread begins with an arena of its own, and the kernel
//! may fill up again what [`release_unused`] gave back next to what is live.
//!
//! # Under valgrind
//! Memcheck knows the blocks of malloc, but not those of pools. So in a process that it executes there are no pools:
//! every request goes to the backend, and leaks, uses of undefined memory, of freed blocks and of what lies around them
//! are reported as with malloc, without a rebuild. [`stats()`] then has no region, arenas or heaps, and counts all
//! requests as large ones. Valgrind's other tools, such as callgrind, see the pools. Valgrind is asked once, on Linux
//! on x86-64 and aarch64; elsewhere memcheck sees the pools and is blind inside them. A backend other than malloc is as
//! visible to memcheck as it makes itself.

#![cfg_attr(poolmalloc_nightly, feature(allocator_api))]
#![cfg_attr(
    not(can_stop_threads),
    allow(
        dead_code,
        unused_imports,
        reason = "there is no search for leaks, and some of this is for the search alone"
    )
)]

mod os;
mod geometry;
mod check;
mod sync;
mod figures;
mod traces;
mod region;
mod large;
mod heap;
mod process;
#[cfg(feature = "profile")]
pub mod profile;
mod typed;
mod debug;
mod observe;
pub mod leaks;
mod assert;
mod at_exit;
mod private;
mod global;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use assert::__assert_count;
pub use assert::{assert_no_alloc, assert_no_leaks};
pub use figures::{
    ArenaStats, ClassDelta, ClassStats, Delta, HeapStats, LargeDelta, LargeStats, Name, NamedFigures,
    NamedPrivateHeaps, NamedTypedPools, PrivateHeapFigures, PrivateHeapReport, PrivateHeapStats, RegionStats,
    ReleaseStats, SmallDelta, SmallStats, Stats, ThreadClassStats, ThreadLargeStats, ThreadSmallStats, ThreadStats,
    TypedPoolFigures, TypedPoolStats,
};
pub use global::PoolMalloc;
pub use observe::{
    ArenaMap, Peak, PoolMap, Violation, arenas, check_heap, heap_map, measure, measure_peak, pinned, release_unused,
    stats, thread_stats,
};
pub use private::{PrivateHeap, SharedPrivateHeap};
pub use typed::{
    ArcTypedBox, Fresh, Home, HomeBox, RcTypedBox, Reusable, Reuse, SyncTypedBox, SyncTypedPool, TypedBox, TypedKind,
    TypedPool,
};
