//! The start of the process, as the library sees it: what happens once, before the first block is served.
//!
//! ```text
//!   first thread that needs a heap
//!     └► Shared::take_heap, under the lock of the shared pools
//!          └► Shared::started, once
//!               ├► prepare        reads the environment, chooses the mode, begins what was asked for
//!               ├► Region::reserve
//!               └► the key that tells of the ends of threads
//! ```
//! [`Shared`](super::shared::Shared) calls [`prepare`]. Everything else *reads* what was decided here: [`MODE`] and [`options`].

use super::mode::MODE;
use super::options::{HugePages, Options};
#[cfg(feature = "profile")]
use super::sampling::SAMPLING;
use crate::large::LARGE;
use crate::region::Region;
use crate::sync::{Lock, Once};

/// What the environment asked for. Decided by the holder of [`START`].
static OPTIONS: Once<Options> = Once::new();

/// Held while the environment is read and what it asks for begins. Under it samples take the lock of the backtraces.
static START: Lock = Lock::new();

/// What a process does before it reserves its region.
pub(crate) struct Prepared {
    /// Bytes to reserve.
    pub(crate) region_bytes: usize,
    /// Where the region is to be in huge pages.
    pub(crate) huge_pages: HugePages,
}

/// What the environment asked for; `None` before the process has started, and under memcheck, where it never does.
pub(crate) fn options() -> Option<&'static Options> {
    OPTIONS.value()
}

/// Reads the environment, and begins what it asks for. Runs once, before there is a region; and once more in the child of a fork
/// that came in the middle.
pub(crate) fn prepare() -> Prepared {
    let region_bytes = Region::bytes_wanted();
    let _guard = START.lock();
    // SAFETY: the lock, which only this function takes.
    let Some(options) = (unsafe { OPTIONS.decide(|| Some(Options::read())) }) else {
        return Prepared { region_bytes, huge_pages: HugePages::Unset };
    };
    if options.leaks || options.mode.is_debug() {
        LARGE.arm();
    }
    MODE.choose(options.mode);
    #[cfg(feature = "profile")]
    if let Some(mean_bytes) = options.sample {
        SAMPLING.start(mean_bytes);
    }
    Prepared { region_bytes, huge_pages: options.huge_pages }
}
