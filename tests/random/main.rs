//! Tests whose figures count only the blocks of the test: they use the library directly, and the global allocator of
//! the process is the system's.
//!
//! `cargo test --test random`; for one module `cargo test --test random soak::`

mod random_program;
mod soak;

use poolmalloc_support::Module;

fn main() {
    poolmalloc_support::main(&[Module::new("random_program", random_program::tests), Module::new("soak", soak::tests)]);
}
