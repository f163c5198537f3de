//! Tests under another system than there is: one that refuses, one with larger pages, one with little memory. This
//! binary replaces functions of the C library, and its global allocator notes when the library is at work.
//!
//! `cargo test --test system`; of one module `cargo test --test system faults::`

mod simulated;

mod faults;
mod machines;

use poolmalloc_support::Module;

use simulated::Watched;

#[global_allocator]
static ALLOC: Watched = Watched;

fn main() {
    poolmalloc_support::main(&[
        // Its children end before `main`.
        Module::new("faults", faults::tests),
        Module::with_children("machines", machines::tests, machines::child),
    ]);
}
