//! The allocators that are compared, and the build of their workers.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::Result;
use versus::driver::{Allocator, Workers};

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

/// All others are compared with this one. It always runs.
pub(crate) const BASELINE: Allocator = allocator!("system");

/// The allocator that this package is about.
pub(crate) const OURS: Allocator = allocator!("poolmalloc");

/// Our allocator with huge pages for all but the first 2 MiB. Some of the others use huge pages by default.
pub(crate) const OURS_HUGE: Allocator = allocator!("poolmalloc_huge");

/// Floors to compare with. They are not general allocators.
pub(crate) const FLOORS: [Allocator; 2] = [allocator!("array"), allocator!("bump")];

/// Allocators whose workers need more than this repository. Each has a feature of its name.
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

/// All allocators, in the order of the tables.
pub(crate) fn all() -> impl Iterator<Item = Allocator> {
    [BASELINE, OURS, OURS_HUGE].into_iter().chain(OTHERS).chain(FLOORS)
}

/// Builds the workers. Removes allocators whose worker cannot be built here, and names them on stderr.
///
/// # Errors
/// If the workers that need only this repository cannot be built.
pub(crate) fn build(workers: &Workers, allocators: &mut Vec<Allocator>) -> Result<()> {
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
    let more = ["--no-default-features", "--features", &features].map(OsStr::new);
    workers.build(PACKAGE, &manifest, allocators, &more)
}
