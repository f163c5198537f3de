//! The rows of the two benchmarks: the number of operations of each, and the limit on its instructions.

use iai_callgrind::{Callgrind, EventKind, LibraryBenchmarkConfig};

/// One measured body.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Number of operations in the body. The printed count divided by this is the cost of one operation.
    pub operations: usize,
    /// Limit on the instructions of the whole body with poolmalloc.
    pub limit: u64,
}

macro_rules! rows {
    ($($name:ident $operations:literal $limit:literal $operation:literal)*) => {$(
        #[doc = concat!("One operation: ", $operation, ".")]
        pub const $name: Row = Row { operations: $operations, limit: $limit };
    )*};
}

// Limits of the optimized build on x86-64. README.md says how to change one. 1,016 is 8 magazines of 127 blocks.
rows! {
//  row                operations      limit   one operation
    HIT_8                    1000      55115   "alloc and free of 8 bytes"
    HIT_48                   1000      55115   "alloc and free of 48 bytes"
    HIT_256                  1000      55115   "alloc and free of 256 bytes"
    PRIVATE_HIT_48           1000      51035   "alloc and free of 48 bytes of a private heap"
    ZEROED_48                1000      69394   "alloc_zeroed and free of 48 bytes"
    SWAP                     1000      61424   "alloc and free of 48 bytes, in waves of 500 that reach the depot"
    FILL                     1016      49659   "alloc of 48 bytes, from pools in part used"
    FRESH                    1016      57404   "alloc of 256 bytes, from pools never used"
    FLUSH                    1016      59379   "free of 48 bytes, into pools that stay in part used"
    FLUSH_WHOLE              1016      55172   "free of 48 bytes, into pools that become empty"
    REMOTE_FREE              1016     130059   "free of another thread's 48 bytes, neighbor after neighbor"
    REMOTE_FREE_STRIDE       1016     138047   "free of another thread's 48 bytes, each in another pool than the last"
    COLLECT                  1016      49374   "alloc of 48 bytes, from blocks another thread freed"
    REALLOC_IN_PLACE         1000      31158   "realloc between 41 and 48 bytes, one size class"
    REALLOC_MOVE             1000     106639   "realloc between 48 and 64 bytes"
    REALLOC_LARGE            1000     276057   "realloc between 256 and 512 bytes, pool and backend"
    LARGE                    1000     225640   "alloc and free of 1 KiB by the backend"

    GLOBAL_HIT_8             1000      36752   "alloc and free of 8 bytes by the global allocator"
    GLOBAL_HIT_48            1000      37262   "alloc and free of 48 bytes by the global allocator"
    GLOBAL_HIT_256           1000      37262   "alloc and free of 256 bytes by the global allocator"
    GLOBAL_CALL_48           1000      61736   "alloc and free of 48 bytes by the global allocator, called as functions"
    GLOBAL_ZEROED_48         1000      53583   "alloc_zeroed and free of 48 bytes by the global allocator"
    GLOBAL_REALLOC           1000      15905   "realloc between 41 and 48 bytes by the global allocator"
    GLOBAL_LARGE             1000     217234   "alloc and free of 1 KiB by the global allocator"

    BOX_48                   1000      43376   "Box::new of 48 bytes and its drop, by the global allocator"
    POOL_48                  1000      23482   "get of 48 bytes from a TypedPool and its drop"
    POOL_OWNED_48            1000      29605   "get_owned of 48 bytes from a TypedPool and its drop"
    POOL_REUSED              1000      31642   "get_ready of a vector from a TypedPool and its drop"
    SYNC_POOL_48             1000     123446   "get of 48 bytes from a SyncTypedPool and its drop"
}

impl Row {
    /// Makes the run fail if this row takes more instructions than its limit.
    ///
    /// An unoptimized build (`cargo test --benches`) has no limit, because its counts mean nothing.
    pub fn limited(self) -> LibraryBenchmarkConfig {
        let mut config = LibraryBenchmarkConfig::default();
        if !cfg!(debug_assertions) {
            config.tool(Callgrind::default().hard_limits([(EventKind::Ir, self.limit)]));
        }
        config
    }
}

/// Configuration of all rows: count and print instructions, without the cache simulation.
pub fn instructions_only() -> LibraryBenchmarkConfig {
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(Callgrind::with_args(["--cache-sim=no"]).format([EventKind::Ir]));
    config
}
