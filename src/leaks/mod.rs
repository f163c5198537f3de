//! Which live blocks nothing leads to any more, and who points at what: found in the program itself, while it runs.
//!
//! CPython's `gc` finds objects that only keep each other alive. In Rust a cycle of `Rc` leaks silently, and so does
//! what is forgotten. [`find`] stops all other threads, follows every pointer from what the program can reach, and
//! reports the live blocks that are left: what is held from a `static`, a stack, a thread-local or a register is no
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
//! `docs/leaks.md` tells how to find a leak in ten minutes. With `POOLMALLOC=leaks` in the environment a program arms
//! the finder before its first request ([`arm`]), and prints the report to stderr when it ends by `exit` or a return
//! from `main`.
//!
//! # What counts as a pointer
//! Any aligned word whose value lies inside a live block, its first byte or another. Roots are all memory that can be
//! read and is private to the process (data of the program and its libraries, thread-locals, stacks, the C library's
//! heap, and other mappings), and the registers of all threads. Not roots are the allocator's own tables, the part of a
//! stack that is not in use, and stacks that ended threads have left (x86-64 only).
//!
//! # What it cannot see
//! * A pointer that is not there as such: with other bits set above it, split, or encrypted; on a disk or in a device.
//!   A block held so alone is reported; [`add_root`] says that it is none. So for one that is only in a file's private
//!   mapping that has been made read-only since, in memory without rights, in `memfd_secret`, or in shared memory that
//!   is in the swap.
//! * A thread whose stack is an array on another thread's stack (a coroutine that is switched to by `swapcontext`): the
//!   frames below that array are taken for unused.
//! * A leak that some word leads to by chance: an integer that looks like its address, what a block held before it was
//!   used again and has not been written since, a variable of a function that has not returned. It is missed, not the
//!   others.
//! * Large blocks, unless the finder was armed before they were served: till then all memory of the backend is a root.
//! * Threads that block the signal: their stacks are scanned whole, their registers not. They are in the report.
//! * In the child of a `fork`: what other threads of the parent had allocated counts as reached.
//!
//! # What it does to the program
//! Other threads are stopped by a signal, and run on after: a system call that waits is restarted (`SA_RESTART`), but
//! for those that Linux never restarts, which fail with `EINTR` as at any signal: `poll`, `ppoll`, `select`, `pselect`,
//! `epoll_wait`, `epoll_pwait`, `io_uring_enter`, `pause`, `sigsuspend`, `nanosleep`, `clock_nanosleep`, `sigwaitinfo`,
//! `sigtimedwait`, `semop`, `semtimedop`, `msgrcv`, `msgsnd`, `io_getevents`, and sockets with a time limit. One that
//! has moved some bytes already may end with these: a `write` to a pipe, a `recv` with `MSG_WAITALL`. The standard
//! library takes up what it waits for again. Stacks for signals, and those of coroutines, must have room for one frame
//! more (`AT_MINSIGSTKSZ`). The signal is the third from the last real-time one (62 with glibc); [`use_signal`] chooses
//! another. Its handler stays installed.
//!
//! One search runs at a time. It works on a stack of its own, and it allocates only when the others run again.

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
