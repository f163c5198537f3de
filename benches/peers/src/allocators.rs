//! Who is compared, and how their workers are built.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use versus::driver::{self, Allocator, Workers};

const PACKAGE: &str = "peers-workers";

macro_rules! allocator {
    ($name:literal) => {
        Allocator { name: $name, package: PACKAGE, binary: concat!("peers-", $name), has_report: false }
    };
}

/// What the others are measured against; always runs.
pub(crate) const BASELINE: Allocator = allocator!("system");

/// The allocator that this package is about.
pub(crate) const OURS: Allocator = allocator!("poolmalloc");

/// No general allocators, but what none can pass.
pub(crate) const FLOORS: [Allocator; 2] = [allocator!("array"), allocator!("bump")];

/// Those whose workers need more than this repository: each has a feature of its name.
const OTHERS: [Allocator; 8] = [
    allocator!("rusty_alloc"),
    allocator!("mimalloc"),
    allocator!("snmalloc"),
    allocator!("rpmalloc"),
    allocator!("tcmalloc"),
    allocator!("jemalloc"),
    allocator!("mnemosyne"),
    allocator!("pymalloc"),
];

/// Everybody, in the order of the tables.
pub(crate) fn all() -> impl Iterator<Item = Allocator> {
    [BASELINE, OURS].into_iter().chain(OTHERS).chain(FLOORS)
}

/// Builds the workers, and tells on stderr which allocators have none because they cannot be built here.
///
/// # Errors
/// If those that need no other allocator cannot be built.
pub(crate) fn build(workers: &Workers, wanted: &[Allocator]) -> Result<()> {
    let mut features: Vec<&str> =
        wanted.iter().filter(|allocator| OTHERS.contains(allocator)).map(|allocator| allocator.name).collect();
    // All in one build: packages that several of them use have the same features then, and the workloads the same code.
    if build_with(workers, &features).is_err() {
        features.retain(|feature| {
            let built = build_with(workers, &[feature]);
            if built.is_err() {
                eprintln!("peers: {feature} is left out: it cannot be built here, as cargo says above");
            }
            built.is_ok()
        });
        build_with(workers, &features)?;
    }
    Ok(())
}

fn build_with(workers: &Workers, features: &[&str]) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let features = features.join(",");
    let more = ["--bins", "--no-default-features", "--features", &features].map(OsStr::new);
    driver::build(PACKAGE, &manifest, workers.folder(), &more)
}
