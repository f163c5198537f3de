//! Which live blocks nothing leads to any more, and who points at what: found in the program itself, while it runs.
//!
//! CPython's `gc` finds objects that only keep each other alive. In Rust a cycle of `Rc` leaks silently, and so does what is
//! forgotten. [`find`] stops all other threads, follows every pointer from what the program can reach, and reports the live
//! blocks that are left: what is held from a `static`, a stack, a thread-local or a register is no leak.
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
//! `docs/leaks.md` tells how to find a leak in ten minutes. With `POOLMALLOC=leaks` in the environment a program arms the finder
//! before its first request ([`arm`]), and prints the report to stderr when it ends by `exit` or a return from `main`.
//!
//! # What counts as a pointer
//! Any aligned word whose value lies inside a live block, its first byte or another. Roots are all memory that can be read
//! and is private to the process (data of the program and its libraries, thread-locals, stacks, the C library's heap, and
//! other mappings), and the registers of all threads. Not roots are the allocator's own tables, the part of a stack that is not
//! in use, and stacks that ended threads have left (x86-64 only).
//!
//! # What it cannot see
//! * A pointer that is not there as such: with other bits set above it, split, or encrypted; on a disk or in a device. A block
//!   held so alone is reported; [`add_root`] says that it is none. So for one that is only in a file's private mapping that has been made
//!   read-only since, in memory without rights, in `memfd_secret`, or in shared memory that is in the swap.
//! * A thread whose stack is an array on another thread's stack (a coroutine that is switched to by `swapcontext`): the frames below
//!   that array are taken for unused.
//! * A leak that some word leads to by chance: an integer that looks like its address, what a block held before it was
//!   used again and has not been written since, a variable of a function that has not returned. It is missed, not the others.
//! * Large blocks, unless the finder was armed before they were served: till then all memory of the backend is a root.
//! * Threads that block the signal: their stacks are scanned whole, their registers not. They are in the report.
//! * In the child of a `fork`: what other threads of the parent had allocated counts as reached.
//!
//! # What it does to the program
//! Other threads are stopped by a signal, and run on after: a system call that waits is restarted (`SA_RESTART`), but for those
//! that Linux never restarts, which fail with `EINTR` as at any signal: `poll`, `ppoll`, `select`, `pselect`, `epoll_wait`,
//! `epoll_pwait`, `io_uring_enter`, `pause`, `sigsuspend`, `nanosleep`, `clock_nanosleep`, `sigwaitinfo`, `sigtimedwait`, `semop`,
//! `semtimedop`, `msgrcv`, `msgsnd`, `io_getevents`, and sockets with a time limit. One that has moved some bytes already may
//! end with these: a `write` to a pipe, a `recv` with `MSG_WAITALL`. The standard library takes up what it waits for again. Stacks
//! for signals, and those of coroutines, must have room for one frame more (`AT_MINSIGSTKSZ`). The signal is
//! the third from the last real-time one (62 with glibc); [`use_signal`] chooses another. Its handler stays installed.
//!
//! One search runs at a time. It works on a stack of its own, and it allocates only when the others run again.

mod graph;
mod index;
mod mapped;
mod report;
mod scan;
#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod steps;

pub use report::{Address, BlockCount, Cycle, LeakGroup, LeakKind, LeakReport, LeakedBlock, RcCounts};

#[cfg(feature = "profile")]
pub(crate) use index::Large;
pub(crate) use index::{Blocks, Index, Lookup, Sample};
pub(crate) use mapped::Mapped;

use crate::generation::Generation;
use crate::lock::Lock;
use crate::os::world::{self, Name, Refusal, World};
pub(crate) use crate::os::world::{IS_SUPPORTED, clear_stack};
use crate::os::{Output, nap};
use crate::statics::{FINDER, LARGE, ROOTS, SHARED, STOP};
use crate::sync::AtomicU32;
use crate::tls;
use core::error::Error;
use core::fmt::{self, Display, Formatter};
use core::sync::atomic::{AtomicBool, Ordering};
use report::Around;
use scan::{Edge, Holder, Leaked, Node, Scan, Sums};
use std::sync::PoisonError;
use std::time::Duration;

/// Times that the others are let run on because a heap was in the middle of a change: at first for a moment, then for longer, some
/// 300 ms in all, since its thread may have to wait for a processor. After that its blocks count as reached.
const RETRIES: u32 = 32;

/// Only one search at a time; and what the environment asked for.
pub(crate) struct Finder {
    lock: Lock,
    generation: Generation,
    reports_at_exit: AtomicBool,
}

impl Finder {
    pub(crate) const fn new() -> Self {
        Self {
            lock: Lock::new(AtomicU32::new(0)),
            generation: Generation::new(),
            reports_at_exit: AtomicBool::new(false),
        }
    }

    /// Arms the finder, and has it report when the process ends.
    pub(crate) fn report_at_exit(&self) {
        LARGE.arm();
        self.reports_at_exit.store(true, Ordering::Relaxed);
    }
}

/// Why nothing was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeakError {
    /// The finder works on Linux on x86-64 and aarch64, and this is another system.
    Unsupported,
    /// There are no pools: the process runs under memcheck, no memory could be reserved, or nothing was allocated yet.
    NoPools,
    /// The program has a handler of its own for this signal, by which threads were to be stopped: see [`use_signal`].
    SignalInUse(i32),
    /// A file below `/proc/self` cannot be read: `maps`, `mem` or `task`. Or `/proc` belongs to another PID namespace, and numbers
    /// threads otherwise.
    NoProc,
    /// The system gave no memory for the search.
    NoMemory,
    /// The pointer leads to no live block that is known: of pools, or indexed.
    NoBlock,
}

impl Error for LeakError {}

impl Display for LeakError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => f.write_str("leaks are found on Linux on x86-64 and aarch64 only"),
            Self::NoPools => f.write_str("there are no pools to search for leaks"),
            Self::SignalInUse(signal) => {
                write!(f, "signal {signal}, by which threads are stopped, is the program's own or cannot be handled")
            }
            Self::NoProc => f.write_str("a file below /proc/self that the search for leaks needs cannot be read"),
            Self::NoMemory => f.write_str("there is no memory for a search for leaks"),
            Self::NoBlock => f.write_str("the pointer leads to no live block that is known"),
        }
    }
}

impl From<Refusal> for LeakError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SignalInUse(signal) => Self::SignalInUse(signal),
            Refusal::NoProc => Self::NoProc,
            Refusal::NoMemory => Self::NoMemory,
            Refusal::Unsupported => Self::Unsupported,
        }
    }
}

/// A live block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct LiveBlock {
    /// Where it begins.
    pub address: Address,
    /// Its bytes: of a small block those of its size class, of a large one as requested. In debug mode, those requested of
    /// any block.
    pub bytes: u64,
    /// In debug mode, its number: the first block of the process is 1. A block that was resized has a new one.
    pub serial: Option<u64>,
}

/// A word that points into a block.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Referrer {
    /// Where the word lies.
    pub address: Address,
    /// What it is part of.
    pub holder: Holds,
}

/// What a word that points into a block is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Holds {
    /// A live block.
    Block(LiveBlock),
    /// The stack of the thread with this number, or its registers, or what lies in the same mapping: its thread-locals.
    Thread(u32),
    /// A mapping: the end of its name, as in `/proc/self/maps`; empty if it has none.
    Mapping(String),
}

impl Display for Referrer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} in ", self.address)?;
        match &self.holder {
            Holds::Block(block) => write!(f, "<{} bytes at {}>", block.bytes, block.address),
            Holds::Thread(number) => write!(f, "thread {number}"),
            Holds::Mapping(name) if name.is_empty() => f.write_str("memory without a name"),
            Holds::Mapping(name) => f.write_str(name),
        }
    }
}

/// Searches for live blocks that nothing leads to.
///
/// All other threads are stopped meanwhile; the [module](self) says how, and what is not seen. The report's own memory is not in
/// it, and does not make what it lists look held: addresses are kept in a form that is no pointer.
///
/// A block of a thread that is just in the middle of an operation of the allocator could look leaked: then the threads run
/// on for a moment, and the search begins again.
///
/// # Errors
/// A [`LeakError`], if the search is not possible.
pub fn find() -> Result<LeakReport, LeakError> {
    clear_stack();
    find_below()
}

/// As [`find`], on a clear stack.
#[inline(never)]
fn find_below() -> Result<LeakReport, LeakError> {
    struct Found {
        leaked: Mapped<Leaked>,
        edges: Mapped<Edge>,
        running: Mapped<u32>,
        stopped: u64,
        sums: Sums,
        time: Duration,
    }
    let report = look(
        |scan, world| {
            let none = || Refusal::NoMemory;
            scan.mark_from_roots().ok_or_else(none)?;
            let (leaked, edges) = scan.leaked().ok_or_else(none)?;
            let (mut running, mut stopped) = (Mapped::new(), 0);
            for thread in world.threads() {
                if thread.stack.is_some() {
                    stopped += 1;
                } else {
                    running.push(thread.thread).ok_or_else(none)?;
                }
            }
            Ok(Found { leaked, edges, running, stopped, sums: scan.sums, time: world.stopped_for() })
        },
        |found| {
            let around = Around {
                sums: found.sums,
                is_armed: LARGE.is_armed(),
                stopped_threads: found.stopped,
                running_threads: found.running.to_vec(),
                stopped_for: found.time,
            };
            Ok(LeakReport::new(&found.leaked, &found.edges, around))
        },
    );
    report.map(|report| *report)
}

/// As [`find`], but tells only of these blocks, and of those in a cycle with one.
#[inline(always)]
pub(crate) fn find_among(blocks: &Blocks) -> Result<LeakReport, LeakError> {
    clear_stack();
    find_among_below(blocks)
}

/// As [`find_among`], on a clear stack.
#[inline(never)]
fn find_among_below(blocks: &Blocks) -> Result<LeakReport, LeakError> {
    let mut report = find()?;
    report.keep(|address| blocks.has_hidden(address.hidden()));
    Ok(report)
}

/// The words that point into the block at `pointer`, or that it points into: in live blocks, and in all roots.
///
/// As CPython's `gc.get_referrers`. Variables of the calling function are among them, and so may be copies of the pointer
/// that they no longer need.
///
/// # Errors
/// [`LeakError::NoBlock`], or that the search is not possible.
pub fn referrers<T: ?Sized>(pointer: *const T) -> Result<Vec<Referrer>, LeakError> {
    clear_stack();
    referrers_of_hidden(!pointer.addr())
}

/// As [`referrers`], of the complement of an address, on a clear stack.
#[inline(never)]
fn referrers_of_hidden(hidden: usize) -> Result<Vec<Referrer>, LeakError> {
    #[derive(Clone, Copy)]
    struct Found {
        /// As in [`Address`].
        hidden: usize,
        block: Option<LiveBlock>,
        thread: Option<u32>,
        name: Option<Name>,
    }
    let found = look(
        |scan, world| {
            let Some(node) = scan.node_of(!hidden) else { return Ok(None) };
            let mut all = Mapped::new();
            let mut is_whole = true;
            let whole = scan.each_pointer_to(node, |holder, address| {
                let (block, thread, name) = match holder {
                    Holder::Block(node) => (Some(live_block(scan, node)), None, None),
                    Holder::Root(mapping) => (None, thread_in(scan, world, mapping), Some(scan.mappings[mapping].name)),
                };
                is_whole &= all.push(Found { hidden: !address, block, thread, name }).is_some();
            });
            whole.filter(|()| is_whole).ok_or(Refusal::NoMemory)?;
            Ok(Some(all))
        },
        |all| {
            let all = all.ok_or(LeakError::NoBlock)?;
            let name = |name: Option<Name>| {
                String::from_utf8_lossy(name.as_ref().map_or(b"", |name| name.bytes())).into_owned()
            };
            let referrer = |found: &Found| Referrer {
                address: Address::of_hidden(found.hidden),
                holder: match (found.block, found.thread) {
                    (Some(block), _) => Holds::Block(block),
                    (None, Some(thread)) => Holds::Thread(thread),
                    (None, None) => Holds::Mapping(name(found.name)),
                },
            };
            Ok(all.iter().map(referrer).collect::<Vec<_>>())
        },
    );
    found.map(|found| *found)
}

/// The live blocks that the block at `pointer`, or that it points into, points to: each once, by address.
///
/// As CPython's `gc.get_referents`.
///
/// # Errors
/// [`LeakError::NoBlock`], or that the search is not possible.
pub fn referents<T: ?Sized>(pointer: *const T) -> Result<Vec<LiveBlock>, LeakError> {
    let hidden = !pointer.addr();
    let found = look(
        |scan, _| {
            let Some(node) = scan.node_of(!hidden) else { return Ok(None) };
            let (mut all, mut is_whole) = (Mapped::new(), true);
            scan.each_pointer_from(node, |target| is_whole &= all.push(live_block(scan, target)).is_some());
            if is_whole { Ok(Some(all)) } else { Err(Refusal::NoMemory) }
        },
        |all| {
            let mut all = all.ok_or(LeakError::NoBlock)?.to_vec();
            all.sort_unstable_by_key(|block| block.address);
            all.dedup();
            Ok(all)
        },
    );
    found.map(|found| *found)
}

/// All live blocks, by size and then by address: those of pools, and the large ones that are indexed.
///
/// As they were at one moment, with all other threads stopped. The vector's own memory is not among them.
///
/// # Errors
/// That the search is not possible.
pub fn live_blocks() -> Result<Vec<LiveBlock>, LeakError> {
    let found = look(
        |scan, _| {
            let mut all = Mapped::new();
            scan.each_live(|node| all.push(live_block(scan, node))).ok_or(Refusal::NoMemory)?;
            Ok(all)
        },
        |all| {
            let mut all = all.to_vec();
            all.sort_unstable_by_key(|block| (block.bytes, block.address));
            Ok(all)
        },
    );
    found.map(|found| *found)
}

/// From now on each large block is noted when it is served and when it is freed, so that a search looks at it as at a small one.
///
/// Costs a search in a table, under a lock, for each large request; small ones cost nothing more. A freed large block is
/// overwritten, and one that grows is moved, so that what it held does not look held. It cannot be undone.
/// `POOLMALLOC=leaks` arms the finder before the first request.
pub fn arm() {
    LARGE.arm();
}

/// Has the block at `pointer`, or that it points into, count as reached, and what it leads to: for one that is held by a
/// pointer which the finder cannot see.
///
/// Not for the child of a `fork` in which another thread was just here: it may wait for ever. [`remove_root`] ends it. A block that is freed meanwhile needs no root any more; what is served at its address counts as
/// reached then.
pub fn add_root<T: ?Sized>(pointer: *const T) {
    // A pointer in a static is all that it takes.
    ROOTS.lock().unwrap_or_else(PoisonError::into_inner).push(pointer.addr());
}

/// Ends one [`add_root`] of the same pointer. Whether there was one.
pub fn remove_root<T: ?Sized>(pointer: *const T) -> bool {
    let mut roots = ROOTS.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(place) = roots.iter().position(|root| *root == pointer.addr()) else { return false };
    roots.swap_remove(place);
    // What was there last lies behind the end now.
    roots.shrink_to_fit();
    true
}

/// Has other threads stopped by this signal from now on, for a program that uses the usual one itself: the third from the last
/// real-time signal.
///
/// The program must not send it, wait for it, or change its action from the first search on. A search refuses a signal that has
/// an action already.
pub fn use_signal(signal: i32) {
    STOP.choose_signal(signal);
}

/// What the process prints at its end if the environment asked for it.
pub(crate) fn report_at_exit() {
    if FINDER.reports_at_exit.load(Ordering::Relaxed) {
        clear_stack();
        report_below();
    }
}

/// Prints the report, on a clear stack.
#[inline(never)]
fn report_below() {
    let text = match find() {
        Ok(report) => report.to_string(),
        Err(error) => format!("poolmalloc: {error}\n"),
    };
    Output::stderr().write(text.as_bytes());
}

fn live_block(scan: &Scan<'_>, node: Node) -> LiveBlock {
    let (start, bytes) = scan.block(node);
    let serial = scan.told(node).map(|told| told.serial);
    LiveBlock { address: Address::from(start), bytes: bytes as u64, serial }
}

/// The thread whose stack lies in a mapping.
fn thread_in(scan: &Scan<'_>, world: &World, mapping: usize) -> Option<u32> {
    let is_in = |address: usize| scan.mapping_of(address) == Some(mapping);
    let own = is_in(scan.caller_stack).then(world::this_thread);
    own.or_else(|| world.threads().find(|thread| thread.stack.is_some_and(is_in)).map(|thread| thread.thread))
}

/// Runs `read` while all other threads are stopped and all heaps can be looked at, then `tell` when they run again.
fn look<T, R>(
    read: impl Fn(&mut Scan<'_>, &World) -> Result<T, Refusal>,
    tell: impl FnOnce(T) -> Result<R, LeakError>,
) -> Result<Box<R>, LeakError> {
    if !IS_SUPPORTED {
        return Err(LeakError::Unsupported);
    }
    // Before signals are blocked: whoever waits here can be stopped.
    let _only_one = FINDER.lock.lock(|| FINDER.generation.number());
    let told = world::on_own_stack(|caller| {
        let read_once = |is_last: bool| {
            SHARED.with_view(tls::current(), |view| {
                let held = LARGE.hold();
                let world = STOP.stop()?;
                if !is_last && Scan::is_moving(view) && !world.is_held_up() {
                    return Ok(None);
                }
                let mut scan = Scan::new(view, &held, &world, caller)?;
                read(&mut scan, &world).map(Some)
            })
        };
        let mut tries = 0;
        let found = loop {
            match read_once(tries == RETRIES).ok_or(LeakError::NoPools)?? {
                Some(found) => break found,
                None => (0..1_u32 << tries.min(8)).for_each(|_| nap()),
            }
            tries += 1;
        };
        // What the report takes belongs to no place of the program.
        #[cfg(feature = "profile")]
        let _quiet = crate::traces::Quiet::begin();
        tell(found).map(Box::new)
    });
    told.unwrap_or(Err(LeakError::NoMemory))
}
