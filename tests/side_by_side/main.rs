//! Tests of figures that no other thread may disturb. They run in parallel, in the usual harness: its threads allocate
//! at the same time.
//!
//! `cargo test --test side_by_side`; for one module `cargo test --test side_by_side measure::`

mod assertions;
mod measure;

use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();
