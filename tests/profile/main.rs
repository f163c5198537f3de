//! Sampled allocations: the estimates are right for each place, what is live is what has not been freed, and the files say so.
//!
//! The profiler is there with the feature `profile`, so this binary without it only checks that the environment is answered with a
//! warning, and runs itself again with it. Each test runs in a child of its own: what was sampled before would be counted.
//!
//! # The bounds of estimates
//! A request of `s` bytes is sampled with the chance `p = 1 - exp(-s / mean)`, independently of others. Of `n` requests `K` are
//! sampled, and `K / p` is the estimate. By Chernoff's bound `P(|K - np| >= d np) <= 2 exp(-d d np / 3)` for `d <= 1`. Each place
//! makes so many requests that `np >= 2000`: with `d = 0.2` that is less than `6e-12`, and below `1e-9` for all the estimates here
//! together. The random numbers of a heap are the same in each run, so that a failure comes again.
//!
//! To see it fail: see the rows of `tests/mutants.txt` for this file.
//!
//! `cargo test --test profile`

#[cfg(feature = "profile")]
mod with_feature;

use poolmalloc::PoolMalloc;
use poolmalloc_support::process::{command, role, told};

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

#[cfg(not(feature = "profile"))]
fn main() {
    if role().is_some() {
        return;
    }
    for (name, value) in [("POOLMALLOC", "sample=1000"), ("POOLMALLOC_PROFILE", "/nowhere/file")] {
        // Without a mode that is set for the tests.
        let output = command("end").env_remove("POOLMALLOC").env(name, value).output().expect("starting the child");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.lines().count() == 1, "{}", told(&output));
        assert!(said.contains("without the feature `profile`"), "{said}");
    }
    poolmalloc_support::cargo::test_with_feature("profile", "profile");
}

#[cfg(feature = "profile")]
fn main() {
    with_feature::main();
}
