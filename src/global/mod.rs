//! The front door: the two fast paths, and the questions behind them.
//!
//! | question | asked by | if yes |
//! | --- | --- | --- |
//! | does the request fit a class, and has the magazine a block? | `front_door`, the fast path | done |
//! | has the thread's front a heap? | `front_door`, the slow halves | if *not*: `detoured` |
//! | is a small request due as a sample? (feature `profile`) | `front_door` | `backend`, noted as a sample |
//! | is a large, resized or detoured request due? | `sampled`, for `front_door`, `moved` and `detoured` | the same |
//! | have the pools memory for it? | `process/serve` | if *not*: `backend` |
//! | which mode is the process in? | `detoured`, once for each request | `debug`, `backend` or pools |
//! | is a watch on? Then the thread's front has no heap | `pooled`, `moved` and `detoured` | it notes the request |
//! | are large blocks noted? | `backend` | the index gets or loses the block |

pub(crate) mod backend;
pub(crate) mod pooled;
pub(crate) mod sampled;
pub(crate) mod moved;
pub(crate) mod detoured;
pub(crate) mod front_door;

pub use front_door::PoolMalloc;
