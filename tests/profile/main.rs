//! Sampled allocations: the estimates are right for each place, the live figures count what has not been freed, and the
//! files say the same.
//!
//! The profiler needs the feature `profile`. Without it this binary only checks that the variables of the environment
//! get a warning, and then builds and runs itself again with the feature. Each test runs in a child of its own, since
//! samples of earlier tests would be counted.
//!
//! # The bounds of estimates
//! A request of `s` bytes is sampled with the chance `p = 1 - exp(-s / mean)`, independently of others. `K` of `n`
//! requests are sampled, and `K / p` is the estimate. By Chernoff's bound `P(|K - np| >= d np) <= 2 exp(-d d np / 3)`
//! for `d <= 1`. Each place makes enough requests for `np >= 2000`. With `d = 0.2` the bound is less than `6e-12`, and
//! less than `1e-9` for all the estimates here together. The random numbers of a heap are the same in each run, so a
//! failure repeats.
//!
//! To see it fail: see the rows of `tests/mutants` for this file.
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
        // The tests themselves may run in a mode of `POOLMALLOC`; the child must not.
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
