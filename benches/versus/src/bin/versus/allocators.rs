//! Who is compared.

/// An allocator, and where its worker comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allocator {
    /// The name on the command line, in the table and in the worker's samples.
    pub(crate) name: &'static str,
    /// The package of this workspace whose binaries include the worker.
    pub(crate) package: &'static str,
    /// The worker's file name.
    pub(crate) binary: &'static str,
    /// Whether the worker knows `--report`.
    pub(crate) has_report: bool,
}

/// What the others are measured against.
pub(crate) const BASELINE: Allocator =
    Allocator { name: "system", package: "versus", binary: "versus-system", has_report: false };

/// What is compared with the baseline; the first one if nothing else is asked for.
pub(crate) const CANDIDATES: [Allocator; 1] =
    [Allocator { name: "poolmalloc", package: "versus", binary: "versus-poolmalloc", has_report: true }];
