//! Tests that start children. The allocator has served no request of a child before, and each child has its own
//! environment and limits.
//!
//! `cargo test --test processes`; for one module `cargo test --test processes exit::`

mod exit;
mod exit_report;
mod modes;
mod huge_pages;
mod limits;
mod resident;
/// The module `unload` of tests/builds, in a program that has this allocator too: two or more copies of the allocator
/// live side by side.
#[path = "../builds/unload.rs"]
mod unload_among_pools;

use poolmalloc::PoolMalloc;
use poolmalloc_support::Module;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

fn main() {
    poolmalloc_support::main(&[
        Module::with_children("exit", exit::tests, exit::child),
        Module::with_children("exit_report", exit_report::tests, exit_report::child),
        Module::with_children("modes", modes::tests, modes::child),
        Module::with_children("huge_pages", huge_pages::tests, huge_pages::child),
        Module::with_children("limits", limits::tests, limits::child),
        Module::with_children("resident", resident::tests, resident::child),
        Module::with_children("unload_among_pools", unload_among_pools::tests, unload_among_pools::child),
    ]);
}
