//! Models of the protocols that threads share. The library's own files are compiled here with `atoms` made of loom's
//! types, so what loom explores is what ships; nothing is compiled out. Plain `cargo test` runs the models.
//!
//! Each model asserts what every interleaving must keep, and at its end that its executions have shown exactly the
//! outcomes that can be: a model that explores too little fails too. Its doc names the mutants of the library under which
//! it was seen to fail, and `tests/mutants` applies each and demands just that.
//!
//! loom 0.7 skips interleavings where both a push and a take-all begin with a load (tokio-rs/loom, issues 166 and 392).
//! Here a take-all is a bare swap, and the outcomes would tell. What loom does not know: real memory, blocks that share
//! bytes, more than four threads besides the first, a compare-exchange that fails for no reason.

#![allow(dead_code, reason = "each model uses a part of the files that it includes")]

#[path = "../../src/region/remote.rs"]
mod remote;
mod sync;

#[cfg(test)]
mod models;
