//! Tests that build a program or a shared library with cargo, and run it. The allocator of this process is the
//! system's.
//!
//! `cargo test --test builds`; for one module `cargo test --test builds unload::`

mod own_crate;
mod program;
mod unload;

use poolmalloc_support::Module;

fn main() {
    poolmalloc_support::main(&[
        Module::new("own_crate", own_crate::tests),
        Module::new("program", program::tests),
        Module::with_children("unload", unload::tests, unload::child),
    ]);
}
