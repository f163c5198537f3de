//! The start of the process, as the library sees it: the steps that run once, before the first block is served.
//!
//! ```text
//!   the first request for a heap: take_heap, take_private or with_stragglers
//!     └► SharedState::started, under the lock of the shared pools; the following runs once:
//!          ├► is this memcheck? Then there are no pools, and no options
//!          ├► prepare            reads the environment, chooses the mode, arms the finder, starts sampling
//!          ├► Region::reserve    and the place of the stragglers' heap; then huge pages
//!          └► the key whose destructor runs at the end of each thread
//! ```
//! [`SharedState`](super::shared::SharedState) calls [`prepare`]. All other code only *reads* the decisions: [`MODE`]
//! and [`options`].

use super::mode::MODE;
use super::options::{HugePages, Options};
#[cfg(feature = "profile")]
use super::sampling::SAMPLING;
use crate::large::LARGE;
use crate::region::Region;
use crate::sync::{Lock, Once};

/// The options. Decided once, by the holder of [`START`].
static OPTIONS: Once<Options> = Once::new();

/// Held by [`prepare`]. While it is held, the start of sampling takes the lock of the backtraces.
static START: Lock = Lock::new();

/// Size and huge pages of the region that is to be reserved.
pub(crate) struct RegionSetup {
    /// Bytes to reserve.
    pub(crate) region_bytes: usize,
    /// The part of the region for which the allocator asks for huge pages.
    pub(crate) huge_pages: HugePages,
}

/// The options that the environment gave. `None` before [`prepare`] has run; under memcheck it never runs.
pub(crate) fn options() -> Option<&'static Options> {
    OPTIONS.value()
}

/// Reads the environment and chooses the mode. Arms the leak finder and starts sampling, each if the options ask for
/// it. Runs once, before the region is reserved; once more in a child if the fork came in the middle.
pub(crate) fn prepare() -> RegionSetup {
    let region_bytes = Region::bytes_wanted();
    let _guard = START.lock();
    // SAFETY: the lock, which only this function takes.
    let Some(options) = (unsafe { OPTIONS.decide(|| Some(Options::read())) }) else {
        return RegionSetup { region_bytes, huge_pages: HugePages::Unset };
    };
    if options.leaks || options.mode.is_debug() {
        LARGE.arm();
    }
    MODE.choose(options.mode);
    #[cfg(feature = "profile")]
    if let Some(mean_bytes) = options.sample {
        SAMPLING.start(mean_bytes);
    }
    RegionSetup { region_bytes, huge_pages: options.huge_pages }
}
