//! Who is compared.

use versus::driver::Allocator;

/// What the others are measured against.
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

/// An allocator, and what it is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) allocator: Allocator,
    pub(crate) baseline: Allocator,
}

/// Who can be compared; the first one is if nothing else is asked for. The debug mode is measured against the same program
/// without it.
pub(crate) const CANDIDATES: [Candidate; 2] = [
    Candidate { allocator: POOLMALLOC, baseline: SYSTEM },
    Candidate { allocator: Allocator { name: "poolmalloc-debug", words: "debug", ..POOLMALLOC }, baseline: POOLMALLOC },
];
