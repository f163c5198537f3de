//! Tests that read the files of the repository. They need nothing of the process, and run in the usual harness.
//!
//! `cargo test --test source`; for one module `cargo test --test source layers::`

mod layers;
mod markdown;
