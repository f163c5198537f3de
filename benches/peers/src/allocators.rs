//! Who is compared, and how their workers are built.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use versus::driver::{self, Allocator, Workers};

const PACKAGE: &str = "peers-workers";

macro_rules! allocator {
    ($name:literal) => {
        Allocator {
            name: $name,
            worker: $name,
            words: "",
            package: PACKAGE,
            binary: concat!("peers-", $name),
            has_report: false,
        }
    };
}

/// What the others are measured against; always runs.
pub(crate) const BASELINE: Allocator = allocator!("system");

/// The allocator that this package is about.
pub(crate) const OURS: Allocator = allocator!("poolmalloc");

/// The same with huge pages from the first 2 MiB on, as some of the others have them by default.
pub(crate) const OURS_HUGE: Allocator = allocator!("poolmalloc_huge");

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
    [BASELINE, OURS, OURS_HUGE].into_iter().chain(OTHERS).chain(FLOORS)
}

/// Builds the workers, and tells on stderr which allocators have none because they cannot be built here: those are taken
/// out.
///
/// # Errors
/// If those that need no other allocator cannot be built.
pub(crate) fn build(workers: &Workers, allocators: &mut Vec<Allocator>) -> Result<()> {
    // All in one build: packages that several of them use have the same features then, and the workloads the same code.
    if build_with(workers, allocators).is_ok() {
        return Ok(());
    }
    allocators.retain(|allocator| {
        let is_built = !OTHERS.contains(allocator) || build_with(workers, &[*allocator]).is_ok();
        if !is_built {
            eprintln!("peers: {} is left out: it cannot be built here, as cargo says above", allocator.name);
        }
        is_built
    });
    build_with(workers, allocators)
}

fn build_with(workers: &Workers, allocators: &[Allocator]) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let others = allocators.iter().filter(|allocator| OTHERS.contains(allocator));
    let features = others.map(|allocator| allocator.name).collect::<Vec<_>>().join(",");
    let more = ["--bins", "--no-default-features", "--features", &features].map(OsStr::new);
    driver::build(PACKAGE, &manifest, workers.folder(), &more)
}
