//! Random programs against a shadow of the heap: which bytes are live, what each of them holds, and how many blocks of
//! each size class that makes.
//!
//! One engine, three users: the property tests `tests/random/random_program.rs`, the fuzz target in `fuzz`, and the soak, of
//! which `tests/random/soak.rs` has a short one and a long one. It knows the allocator under test only as a
//! [`GlobalAlloc`](std::alloc::GlobalAlloc) and restates the documented rules, so that the library is not its own judge.
//! A violation is a panic.
//!
//! * [`block`]: a block that knows its content;
//! * [`by_alignment`]: two allocators in one;
//! * [`mode`]: what the environment makes of a request;
//! * [`shadow`]: live blocks, the steps that a program is made of, and exact counts;
//! * [`program`]: a program whose steps name the thread that takes them, one after another: it can be repeated and
//!   shrunk;
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
