//! The debug mode, `POOLMALLOC=debug`: each block is a larger one of the pools or the backend, with a header and
//! forbidden bytes around what the program asked for; freed blocks are overwritten and kept a while. After CPython's
//! debug hooks (`PYTHONMALLOC=debug`). docs/debug.md tells what it sees, and what that costs.
//!
//! ```text
//!   global/detoured   a request whose thread has no heap in front of it, in such a mode
//!   layer             hands blocks out, takes them back
//!   find              finds a block and checks it                                    ─► report, abort
//!   block             header, forbidden bytes, fills
//!   keep, quarantine  freed blocks, oldest first                                    ─► pools, backend
//! ```
//! A block of a pool is found by its address, a large one in the index of the leak finder, which is armed in this mode.
//! So no byte of a pointer that was never handed out is read.

pub(crate) mod below;
pub(crate) mod block;
pub(crate) mod quarantine;
pub(crate) mod report;
pub(crate) mod find;
pub(crate) mod keep;
pub(crate) mod layer;
pub(crate) mod facts;

pub(crate) use below::{Below, Content};
pub(crate) use facts::{BlockFacts, PoolBlockState, facts_of_large, inside};
pub(crate) use keep::{drain, drain_at_exit};
pub(crate) use layer::{alloc, dealloc, realloc};
