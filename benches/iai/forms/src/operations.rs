//! The operations of the programs, in the order in which the programs call them.

/// One operation.
#[derive(Debug)]
pub(crate) struct Operation {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// Its function in the program.
    pub(crate) function: &'static str,
    /// Number of operations between the first counted call and the second, which has twice as many rounds.
    pub(crate) operations: u64,
    /// How much larger than the count a new limit is. The backend's instructions depend on the C library.
    pub(crate) leeway: f64,
}

/// Rounds of the first counted call, as in the program's `lib.rs`. So are the factors below.
const ROUNDS: u64 = 200;

/// For operations that the pools serve.
const POOLS: f64 = 1.02;

/// For operations of which the backend serves a part.
const BACKEND: f64 = 1.2;

const fn operation(name: &'static str, function: &'static str, of_round: u64, leeway: f64) -> Operation {
    Operation { name, function, operations: ROUNDS * of_round, leeway }
}

pub(crate) const OPERATIONS: [Operation; 7] = [
    operation("pair 48", "form_pair", 1, POOLS),
    operation("batch 1000", "form_batch", 1000, POOLS),
    operation("mix 8-256", "form_mix", 64, POOLS),
    operation("realloc", "form_realloc", 2, POOLS),
    operation("zeroed 48", "form_zeroed", 1, POOLS),
    operation("grow 256", "form_grow_256", 1, POOLS),
    operation("grow 4096", "form_grow_4096", 1, BACKEND),
];

/// Instructions of one operation, or limits on them, in the order of [`OPERATIONS`].
pub(crate) type Counts = [f64; OPERATIONS.len()];
