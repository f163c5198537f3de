//! The process's one set of pools, and the fronts of threads without a heap. With `tls`, the only statics there are.

use crate::debug::{self, Debugger};
use crate::heap::Front;
use crate::leaks::{Finder, Index};
use crate::mode::ChosenMode;
use crate::os::world::Stop;
use crate::os::{ThreadExitKey, name_exit_entry};
#[cfg(feature = "profile")]
use crate::profile::Profiler;
use crate::region::Region;
use crate::settings::{self, HugePages};
use crate::shared::Shared;
use crate::sync::AtomicU64;
use crate::tls;
#[cfg(feature = "backtrace")]
use crate::traces::{Depot, Symbols};
use crate::typed::Registry;
use crate::watched::WatchedPtr;
use std::sync::Mutex;

/// The pools that every [`PoolMalloc`](crate::PoolMalloc) serves from.
pub(crate) static SHARED: Shared = Shared::new(prepare, start);

/// What the environment has chosen for the whole process.
pub(crate) static MODE: ChosenMode = ChosenMode::new();

/// The debug mode.
pub(crate) static DEBUG: Debugger = Debugger::new();

/// The front of a thread that has not needed a heap yet. Never written.
pub(crate) static NO_HEAP: Front = Front::without_heap();

/// The front of all threads with a heap, in a process whose mode has every request take the slow paths. Never written.
pub(crate) static BYPASS: Front = Front::bypass();

/// The front of a thread that has ended but for late destructors: it takes no heap any more. Never written.
pub(crate) static ENDED: Front = Front::without_heap();

/// Lists of private heaps' large blocks that there have been.
pub(crate) static LARGE_LISTS: AtomicU64 = AtomicU64::new(0);

/// A slot without a block, below an empty shelf. Never written.
pub(crate) static NO_BLOCK: WatchedPtr<u8> = WatchedPtr::null();

/// The named typed pools.
pub(crate) static TYPED: Registry = Registry::new();

/// Threads that asked for their number.
pub(crate) static THREADS: AtomicU64 = AtomicU64::new(0);

/// The large blocks, while the leak finder is armed.
pub(crate) static LARGE: Index = Index::new();

/// The search for leaks.
pub(crate) static FINDER: Finder = Finder::new();

/// What the threads that are stopped for it share with it.
pub(crate) static STOP: Stop = Stop::new();

/// Addresses that count as pointers for it. They need only lie here.
pub(crate) static ROOTS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// The backtraces.
#[cfg(feature = "backtrace")]
pub(crate) static TRACES: Depot = Depot::new();

/// The search for their names.
#[cfg(feature = "backtrace")]
pub(crate) static SYMBOLS: Symbols = Symbols::new();

/// Whether requests are sampled.
#[cfg(feature = "profile")]
pub(crate) static PROFILER: Profiler = Profiler::new();

/// Runs once, under the lock of [`SHARED`], before there is a region; returns the bytes to reserve for it.
fn prepare() -> usize {
    let words = settings::words();
    if words.leaks {
        FINDER.report_at_exit();
    }
    if let Some(frames) = words.backtrace {
        debug::warn_without_backtraces();
        DEBUG.record_backtraces(usize::from(frames));
    }
    let mode = words.mode();
    if mode.is_debug() {
        LARGE.arm();
    }
    MODE.choose(mode);
    settings::profile(&words);
    Region::bytes_wanted()
}

/// Runs once, under the lock of [`SHARED`], when it has got its region.
fn start(region: &Region) -> Option<ThreadExitKey> {
    match settings::huge_pages() {
        HugePages::Unset => {}
        HugePages::Never => region.prefer_small_pages(),
        HugePages::Beyond(small) => region.prefer_huge_pages(small),
    }
    name_exit_entry();
    ThreadExitKey::new(tls::thread_exit)
}
