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
//! Define the static in the crate of the program. There the compiler inlines the fast paths into the program's code. If
//! a library crate defines it, an allocation and its free take 19 instructions more, because the compiler prepares the
//! code for a shared library.
//!
//! Requests of up to 256 bytes are served from pools of 4 KiB, each of one of 32 size classes, inside arenas of 256
//! KiB. Larger requests go to the system's malloc. Freed memory stays pooled. [`stats()`] says what the allocator
//! holds, at any time; its figures are exact while other threads are quiet.
//!
//! # What serves a request
//! ```text
//!   alloc / dealloc                                                   one for each
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
//! A request goes from `global` to `process` (which heap is mine?), then to `heap` with its magazines, to `region`, and
//! to `os`. [Layers](#layers) has the whole list.
//!
//! # The strategy, and its drawback
//! Neither blocks nor pools have headers. The allocator keeps all that it knows of them in dense tables beside the
//! arenas, and finds an entry by a shift of the address. So no overrun of the program can damage the allocator, a block
//! of 24 bytes costs 24.6, and a free finds its block's class and owner without trusting the `Layout`.
//!
//! The drawback: memory that was once used for small blocks is kept. It serves other classes when 4 KiB of it are
//! wholly free, and other threads when 256 KiB are. It goes back to the system only when the program calls
//! [`release_unused`]. So a program with one short phase of many small blocks keeps that phase's memory until then.
//!
//! An idle thread also pins memory, in two ways. Blocks of its heap that other threads have freed wait until it
//! collects them. And blocks of other heaps that it has freed stay in its magazines: up to 32 of each class. If threads
//! hand blocks of a class round, the limit of 32 does not hold for that class: as many of its blocks stay as the idle
//! thread's magazines of the class have room for. This memory is of no use until the thread allocates again or ends.
//!
//! # Layers
//! Each folder imports only folders and files below it in this list, and each file of a folder only files before it in
//! its `mod.rs`. `tests/source/layers.rs` checks that. The process starts in `process/startup.rs`.
//!
//! | layer | what it is |
//! | --- | --- |
//! | `tests` | unit tests that need several layers |
//! | `global` | the front door: fast paths, and the questions behind them |
//! | `private` | private heaps |
//! | `at_exit` | the reports at the end of the process |
//! | `assert` | assertions for tests |
//! | `leaks` | the search for leaks |
//! | `observe` | the answers to users: statistics, measurements, maps, releases, the check of the heap |
//! | `debug` | the debug layer, between a request and the pools or the backend |
//! | `typed` | typed pools |
//! | `profile` | samples and profiles |
//! | `process` | everything that a process has once: start, mode, shared pools; and each thread's way to its heap |
//! | `heap` | a thread's heap: magazines, fills, flushes, remote frees |
//! | `large` | the index of large blocks |
//! | `region` | addresses, the tables beside them, pools and arenas, the protocol of remote frees |
//! | `traces` | backtraces |
//! | `figures` | plain data for users, and the texts that it prints as |
//! | `sync` | counters, locks, lists, generations |
//! | `check` | one line on stderr, then abort |
//! | `geometry` | sizes |
//! | `os` | the system |
//!
//! # Words
//! | word | means |
//! | --- | --- |
//! | block | the unit handed to the program |
//! | small request | one whose size, rounded up to a multiple of 8 and of its alignment, is at most 256 bytes |
//! | large block | a block that the backend has served |
//! | size class | index of a block size: 8, 16, ... 256 bytes |
//! | magazine | cached pointers to blocks of one class, in a thread's heap |
//! | foreign magazine | a class's magazine for blocks of other heaps that this heap's thread has freed |
//! | depot | a class's full magazines behind the loaded and the previous one |
//! | free map | one bit for every 8 bytes of the region; set where a free block begins |
//! | remote map | the same, for blocks that other threads have freed |
//! | heap | a thread's pools, arenas and magazines |
//! | private heap | a heap that belongs to a handle, and to no thread |
//! | handle | a value by which the program uses a private heap: a [`PrivateHeap`] or [`SharedPrivateHeap`] |
//! | owner | of pools and arenas: their heap; of a heap: the one thread that may change it now |
//! | pool | 4 KiB of blocks of one class; without a class as long as it is free |
//! | record | the table entry of a pool or an arena, beside the arenas |
//! | tag | size class and owner of a pool, in a dense table |
//! | arena | 256 KiB of pools, owned by one heap or by none |
//! | region | the reserved range of addresses that holds all arenas |
//! | open | readable and writable, said of a part of the region or of a table; never undone |
//! | backend | the allocator that serves large requests: the system's malloc, or another of the program's choice |
//! | remote free | a free by a thread whose heap does not own the block's pool |
//! | waiting | freed by another thread, and not collected yet |
//! | fill, flush | move blocks from pools to a magazine; move them back |
//! | post, collect | mark blocks as free in the remote map, for their owner; the owner moves them to the free map |
//! | park | keep a heap for later when its thread ends |
//! | take over | make a parked heap the heap of a new thread |
//! | release | give memory back to the system |
//! | wholly free | a pool without a block that is live, cached or waiting; an arena with free pools only |
//! | live, cached, free | held by the program; in a magazine or waiting as a remote free; in a pool |
//! | watch | notes each request of a thread, for [`measure_peak`] and [`assert_no_leaks`] |
//! | sample | a request that stands for many others in a profile |
//! | quarantine | freed blocks that the debug mode keeps for a while |
//! | finder | the search for leaks; *armed* when it notes large blocks |
//! | root | memory where the finder begins: statics, stacks, registers, and all other memory that it does not judge |
//! | lead to | said of a word: its value is an address inside a block; said of a block: it holds such a word |
//! | typed pool | ready blocks for values of one type: a [`TypedPool`] or [`SyncTypedPool`] |
//! | ready | dropped by the program, and kept by a typed pool for the next value |
//! | shelf | a stack of a typed pool's ready blocks |
//!
//! # Words of the inside
//! | word | means |
//! | --- | --- |
//! | front | all that the two fast paths read; each heap has one, and a thread-local pointer leads to it |
//! | head | a class's entry in a front: the top of its loaded magazine, and its count of frees |
//! | loaded, previous magazine | the magazine that the fast paths use; a full or empty one to swap it with |
//! | spare magazine | an empty magazine that no class of its heap uses |
//! | top, bottom | the slot of a magazine's newest block; the slot behind its oldest, which holds null |
//! | adopt | make the foreign magazine the loaded or the previous one, so that the heap serves blocks of other heaps |
//! | go round | threads hand blocks of a class to each other, so that foreign magazines are adopted |
//! | word of a map | 64 bits of it, for 512 bytes of the region |
//! | link, pending list | the next word on a list; the words with blocks that wait for one owner |
//! | under way | said of blocks that a thread is moving: they may be in no map and no magazine now |
//! | carve | take an arena from the region for the first time |
//! | shared list | the wholly free arenas without an owner |
//! | settle | flush a parked heap, collect remote frees of it, and give up its wholly free arenas |
//! | stragglers' heap | the heap that threads without one share, under a lock |
//! | mode | the environment's choice: pools with the backend, the backend alone, or the debug layer over one of these |
//! | detour | a front without a heap, put before the thread's own: each request takes a slow path |
//! | row of fronts | a thread's own front and the detours before it, the topmost first |
//! | sampling front | a heap's second front: allocations take a slow path, frees do not |
//! | turn | number of a period between two starts or stops of the profiler; odd while requests are sampled |
//! | due | said of a request that the sampler has chosen to be a sample |
//! | index | the table of large blocks: of all while the finder is armed, else of samples only |
//! | stock | a typed pool's shelves, and the counts of its blocks |
//! | generation | number that tells copies of a process's memory apart: the child of a fork has another |
//! | mend | in the child of a fork: give up all that another thread may have been changing |
//! | hidden | said of an address that is kept with all its bits inverted, so that it leads to nothing |
//!
//! # Threads, forks, exits
//! A thread gets a heap at its first request. It gives the heap back at its end, after the destructors of its
//! thread-locals. Destructors that run even later are served too, but more slowly. A child of `fork` goes on with the
//! heap of the thread that forked. A signal handler must not allocate, just as with malloc.
//!
//! A shared library that contains this allocator stays loaded after `dlclose`. It has to: each thread that used the
//! library calls it once more at the thread's end. So the library opens itself once more when it is loaded (glibc,
//! Android and FreeBSD). musl unloads nothing anyway. On other systems the library must not be unloaded while threads
//! that used it run. If the program opens the library again, it gets the same copy with the same pools. A copy of the
//! library's file is another library, with pools of its own.
//!
//! # Huge pages
//! On Linux, on machines with pages of 4 KiB, a heap that has 2 MiB of arenas or more gets huge pages for new
//! arenas, if the system has any to give. The first touch of memory is then about three times as fast, and programs
//! with much memory run faster. A heap gets a huge page only if at most a quarter of its memory is wasted by it at
//! that moment. Light heaps have small pages: a program below 2 MiB, and threads that hold little. The kernel makes
//! no huge page by itself there, so memory that [`release_unused`] gave back stays with the system until blocks
//! need it again. An allocation that has a huge page made takes up to a millisecond. In the child of a fork a heap
//! counts only the arenas that it got there.
//!
//! The environment variable `POOLMALLOC_HUGE_PAGES` overrides this. `never` asks for none. `always` asks for huge pages
//! in the whole region but its first 2 MiB, and a number N in all but the first N MiB. Then the first block in each
//! 2 MiB makes all 2 MiB resident. That suits programs with few threads and much memory: each thread begins with an
//! arena of its own. With these two values, the kernel may make memory resident again that [`release_unused`] gave
//! back, if it lies next to live blocks.
//!
//! The variable is read at the first request. The allocator ignores any other value, and warns once about it on stderr.
//! A program with rights that its caller may lack (set-user-ID) ignores the variable.
//!
//! # Under valgrind
//! Memcheck knows the blocks of malloc, but not those of pools. So there are no pools in a process that memcheck
//! executes: every request goes to the backend. Memcheck then reports the same errors as with malloc, without a
//! rebuild: leaks, uses of undefined memory, uses of freed blocks, and uses of the bytes around a block. [`stats()`]
//! then has no region, arenas or heaps, and counts all requests as large ones. Valgrind's other tools, such as
//! callgrind, see the pools.
//!
//! The allocator can find out about memcheck on Linux on x86-64 and aarch64; it does so before it serves the first
//! request. Elsewhere a process under memcheck has pools, and memcheck finds no errors inside them. If the backend is
//! not malloc, memcheck sees its blocks only as far as the backend announces them.

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
