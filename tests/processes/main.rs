//! Tests that start children: the allocator has not served a child before, and each has an environment and limits of its own.
//!
//! `cargo test --test processes`; of one module `cargo test --test processes exit::`

mod exit;
mod report_at_exit;
mod modes;
mod huge_pages;
mod limits;
mod resident;
/// As in tests/builds, but in a program that has this allocator too: two copies of it, or many, live side by side.
#[path = "../builds/unload.rs"]
mod unload_among_pools;

use poolmalloc::PoolMalloc;
use poolmalloc_support::Module;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    poolmalloc_support::main(&[
        Module::with_children("exit", exit::tests, exit::child),
        Module::with_children("report_at_exit", report_at_exit::tests, report_at_exit::child),
        Module::with_children("modes", modes::tests, modes::child),
        Module::with_children("huge_pages", huge_pages::tests, huge_pages::child),
        Module::with_children("limits", limits::tests, limits::child),
        Module::with_children("resident", resident::tests, resident::child),
        Module::with_children("unload_among_pools", unload_among_pools::tests, unload_among_pools::child),
    ]);
}
