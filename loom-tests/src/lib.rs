//! Models of the protocols that threads share. The library's own files are compiled here with a `sync` made of loom's
//! types, so what loom explores is what ships; nothing is compiled out. Plain `cargo test` runs the models.
//!
//! Each model asserts what every interleaving must keep, and at its end that the interleavings it is about have been
//! seen: a model that explores nothing fails. `tests/mutants` weakens the files one ordering at a time and demands
//! that a model fails for each.

#![allow(dead_code, reason = "each model uses a part of the files that it includes")]

#[path = "../../src/lock.rs"]
mod lock;
#[path = "../../src/remote.rs"]
mod remote;
mod sync;

#[cfg(test)]
mod models;
