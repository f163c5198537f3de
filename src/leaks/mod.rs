//! Finds leaks in the running program: live blocks that nothing leads to any more. Also finds the words that point to a
//! block.
//!
//! CPython's `gc` finds objects that only keep each other alive. In Rust, cycles of `Rc` and forgotten values leak
//! silently. [`find`] stops all other threads, follows every pointer from the memory that the program can reach, and
//! reports the live blocks that are left. A block that a `static`, a stack, a thread-local or a register leads to is no
//! leak.
//!
//! ```
//! # #[global_allocator]
//! # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
//! use std::cell::RefCell;
//! use std::rc::Rc;
//!
//! struct Node {
//!     next: RefCell<Option<Rc<Node>>>,
//! }
//!
//! #[inline(never)]
//! fn leak_a_cycle() {
//!     let first = Rc::new(Node { next: RefCell::new(None) });
//!     let second = Rc::new(Node { next: RefCell::new(Some(first.clone())) });
//!     *first.next.borrow_mut() = Some(second);
//! }
//!
//! leak_a_cycle();
//! # if cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
//! let report = poolmalloc::leaks::find()?;
//! assert_eq!(report.cycles.len(), 1, "{report}");
//! println!("{report}");
//! # }
//! # Ok::<(), poolmalloc::leaks::LeakError>(())
//! ```
//! The guide on leaks in docs/guide/leaks.md shows how to find a leak in ten minutes. It also explains how the search
//! works, and lists more limits than this page. With `POOLMALLOC=leaks` in the environment, a program arms the finder
//! before its first request ([`arm`]), and prints the report to stderr when it ends by `exit` or a return from `main`.
//!
//! # What counts as a pointer
//! A pointer is any aligned word whose value is an address inside a live block, of its first byte or another. The
//! search begins at the roots:
//! * the registers of all threads;
//! * all readable memory that is private to the process: data of the program and its libraries, thread-locals, stacks,
//!   the C library's heap, and other mappings;
//! * shared mappings that have no file on a disk, such as `memfd` and `/dev/shm`.
//!
//! These are not roots: the allocator's own tables, private mappings of files without write permission, shared mappings
//! of files on a disk and of devices, the unused parts of stacks, and the stacks that ended threads have left (these on
//! x86-64 only).
//!
//! # What it cannot see
//! These blocks are reported although the program can still reach them; [`add_root`] prevents that:
//! * A block whose only pointer is not stored as a plain address: the pointer has other bits set above the address, is
//!   split or encrypted, or is on a disk or in a device.
//! * A block whose only pointer is in memory that is not read: a file's private mapping that has been made read-only
//!   since, memory without rights, `memfd_secret`, shared memory in the swap.
//! * A block whose only pointer is in a thread's frames below a coroutine's stack (`swapcontext`), if that stack is an
//!   array on the thread's own stack: while the coroutine runs, these frames look unused.
//!
//! These leaks are missed. Each hides only itself and the blocks that it leads to:
//! * A leak that some word points to by chance: an integer that looks like its address, old content of a block that is
//!   in use again but was not overwritten, or a variable of a function that has not returned.
//! * A large block that was served before the finder was armed. Until then all memory of the backend is a root.
//! * In the child of a `fork`, a block from the heap of another thread of the parent: it counts as reached.
//!
//! Threads that block the signal are named in the report. Their stacks are scanned whole, their registers are not.
//!
//! # What it does to the program
//! Other threads are stopped by a signal, and run on after the search. A system call that waits is restarted
//! (`SA_RESTART`), except for the calls that Linux never restarts after a handler, such as `poll`, `epoll_wait` and
//! `nanosleep`. They fail with `EINTR`, as after any signal. A call that has already moved some bytes may return with
//! only these. The standard library goes on with its own waits. The guide lists all these calls.
//!
//! The stack that a thread is stopped on must have room for one more frame (`AT_MINSIGSTKSZ`), also if it is a signal
//! stack or the stack of a coroutine. The signal is the third from the last real-time signal (62 with glibc);
//! [`use_signal`] chooses another. Its handler stays installed.
//!
//! One search runs at a time. It works on a stack of its own, and allocates only when the other threads run again.

pub(crate) mod error;
pub(crate) mod answers;
pub(crate) mod report;
pub(crate) mod text;
#[cfg(can_stop_threads)]
pub(crate) mod search;
#[cfg(not(can_stop_threads))]
pub(crate) mod unsupported;
pub(crate) mod api;

pub use crate::figures::Address;
pub use answers::{Holder, LiveBlock, Referrer};
pub use api::{add_root, arm, find, live_blocks, referents, referrers, remove_root, use_signal};
pub(crate) use api::{find_among, report_at_exit};
pub use error::LeakError;
pub use report::{BlockCount, Cycle, LeakGroup, LeakKind, LeakReport, LeakedBlock, RcCounts};
pub(crate) use search::{IS_SUPPORTED, clear_stack};
#[cfg(not(can_stop_threads))]
pub(crate) use unsupported as search;
