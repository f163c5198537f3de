//! Who is compared.

use versus::driver::Allocator;

/// What the others are measured against.
pub(crate) const BASELINE: Allocator =
    Allocator { name: "system", package: "versus", binary: "versus-system", has_report: false };

/// What is compared with the baseline; the first one if nothing else is asked for.
pub(crate) const CANDIDATES: [Allocator; 1] =
    [Allocator { name: "poolmalloc", package: "versus", binary: "versus-poolmalloc", has_report: true }];
