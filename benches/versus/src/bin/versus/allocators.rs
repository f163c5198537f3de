//! The allocators that can be compared.

use versus::driver::Allocator;

/// System malloc, the baseline of poolmalloc.
const SYSTEM: Allocator = Allocator {
    name: "system",
    worker: "system",
    words: "",
    package: "versus",
    binary: "versus-system",
    has_report: false,
};

const POOLMALLOC: Allocator =
    Allocator { name: "poolmalloc", worker: "poolmalloc", binary: "versus-poolmalloc", has_report: true, ..SYSTEM };

/// An allocator, and the baseline that it is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) allocator: Allocator,
    pub(crate) baseline: Allocator,
}

/// All candidates. If the options name none, the first one is measured. The debug mode is compared with the same
/// program without it.
pub(crate) const CANDIDATES: [Candidate; 2] = [
    Candidate { allocator: POOLMALLOC, baseline: SYSTEM },
    Candidate { allocator: Allocator { name: "poolmalloc-debug", words: "debug", ..POOLMALLOC }, baseline: POOLMALLOC },
];
