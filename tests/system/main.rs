//! Tests under a simulated system: it refuses calls, has larger pages, or has little memory. This binary replaces
//! functions of the C library. Its global allocator notes when a thread is inside the library.
//!
//! `cargo test --test system`; for one module `cargo test --test system faults::`

mod simulated;

mod faults;
mod machines;

use poolmalloc_support::Module;

use simulated::Watched;

#[global_allocator]
static ALLOC: Watched = Watched;

fn main() {
    poolmalloc_support::main(&[
        // Its children work before `main`, and end there.
        Module::new("faults", faults::tests),
        Module::with_children("machines", machines::tests, machines::child),
    ]);
}
