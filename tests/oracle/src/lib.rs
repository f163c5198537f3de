//! Random programs against a shadow of the heap. The shadow knows which bytes are live, what each of them holds, and
//! how many blocks of each size class are live.
//!
//! One engine has three users: the property tests `tests/random/random_program.rs`, the fuzz target in `fuzz`, and the
//! short and the long soak in `tests/random/soak.rs`. The engine knows the allocator under test only as a
//! [`GlobalAlloc`](std::alloc::GlobalAlloc). It restates the documented rules, so that the library is not its own
//! judge. A violation is a panic.
//!
//! * [`block`]: a block that knows its content;
//! * [`by_alignment`]: two allocators in one;
//! * [`mode`]: how the variable `POOLMALLOC` changes a request;
//! * [`shadow`]: live blocks, the steps of a program, and exact counts;
//! * [`program`]: a program in which each step names its thread. The threads take their steps one after another, so a
//!   program can be repeated and shrunk;
//! * [`soak`]: threads that take random steps at the same time and meet at quiet points.

pub mod block;
pub mod by_alignment;
pub mod mode;
pub mod program;
pub mod shadow;
pub mod soak;

pub use block::{Block, Global};
pub use by_alignment::ByAlignment;
pub use program::Turn;
pub use shadow::{Counts, Shadow, Step};
