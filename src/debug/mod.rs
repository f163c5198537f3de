//! The debug mode, `POOLMALLOC=debug`. Each block is a larger block of the pools or the backend, with a header and
//! forbidden bytes around the bytes that the program asked for. Freed blocks are overwritten and kept for a while. The
//! model is CPython's `PYTHONMALLOC=debug`. docs/guide/debug.md says which errors the mode sees, and what it costs.
//!
//! ```text
//!   global/detoured   passes each request on to the layer, in debug mode
//!   layer             hands blocks out, takes them back
//!   find              finds a block and checks it                                    ─► report, abort
//!   block             header, forbidden bytes, fills
//!   keep, quarantine  freed blocks, oldest first                                    ─► pools, backend
//! ```
//! A block of a pool is found by its address; a large one is found in the index of the leak finder, which is armed in
//! this mode. So the layer can report a pointer that was never handed out, and reads only memory of known blocks. (The
//! child of a fork that has lost the index believes the program instead.)

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
