//! Tests of the requests that come to the allocator, and of the calls that it passes on. The global allocator of this
//! binary stands between two observers: one counts the requests in front of it, and the other notes the calls of its
//! backend.
//!
//! `cargo test --test observed`; for one module `cargo test --test observed statistics::`

mod backend;
mod statistics;

use poolmalloc::PoolMalloc;
use poolmalloc_support::Module;

use backend::Diary;
use statistics::Counting;

#[global_allocator]
static ALLOC: Counting<PoolMalloc<Diary>> = Counting(PoolMalloc::with_backend(Diary));

fn main() {
    poolmalloc_support::main(&[Module::new("statistics", statistics::tests), Module::new("backend", backend::tests)]);
}
