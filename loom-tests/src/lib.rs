//! Models of the protocols that threads share. This crate compiles the library's own protocol files against an `atoms`
//! made of loom's types, so loom explores the code that ships; nothing is compiled out. Plain `cargo test` runs the
//! models.
//!
//! Each execution of a model asserts what must hold in every interleaving. At its end a model asserts that its
//! executions had exactly the possible outcomes, so a model that explores too few interleavings fails too. The doc of a
//! model names the mutants of the library that make it fail. `tests/mutants/run` applies each mutant and checks that
//! exactly this happens.
//!
//! loom 0.7 skips interleavings in which both a push and a take-all begin with a load (tokio-rs/loom, issues 166 and
//! 392). Here a take-all is a bare swap, and a skipped interleaving would show as a missing outcome. loom does not
//! know: real memory, blocks that share bytes, more than four threads besides the first, a compare-exchange that fails
//! for no reason.

#![allow(dead_code, reason = "each model uses a part of the files that it includes")]

#[path = "../../src/region/remote.rs"]
mod remote;
mod sync;

#[cfg(test)]
mod models;
