//! The code that the tests share: blocks that know their content, the rules the statistics obey, processes and threads.
//!
//! Nothing here installs an allocator; each test binary does that itself.

pub mod block;
pub mod cargo;
pub mod chain;
pub mod oracle;
pub mod matrix;
pub mod private;
pub mod process;
pub mod raw_thread;
pub mod reported;
pub mod ring;
pub mod runner;
pub mod words;

pub use runner::{Module, Test, main, not_in_debug, run};

use std::sync::atomic::{AtomicBool, Ordering};

/// Sets its flag when it is dropped, also by a panic. A scope that waits for threads needs it if the threads run until
/// the flag is set.
#[derive(Debug)]
pub struct SetAtEnd<'a>(pub &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Returns `full` in an optimized build. Returns `full / divisor` in a debug build, where everything is many times
/// slower, and if `POOLMALLOC_TEST_SHORT` is in the environment of the compiler.
pub const fn scaled(full: usize, divisor: usize) -> usize {
    if cfg!(debug_assertions) || option_env!("POOLMALLOC_TEST_SHORT").is_some() { full / divisor } else { full }
}
