//! The names of the functions in backtraces.

use crate::traces::{Quiet, SYMBOLS};
use std::collections::BTreeMap;

/// A function that an address lies in, and its place in the source.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SourceLine {
    pub(super) function: String,
    /// Empty if it is not known.
    pub(super) file: String,
    /// 0 if it is not known.
    pub(super) line: u32,
}

/// The functions at addresses. Each address is looked up once.
pub(super) struct SourceLines<'q> {
    quiet: &'q Quiet,
    known: BTreeMap<usize, Vec<SourceLine>>,
}

impl<'q> SourceLines<'q> {
    pub(super) fn new(quiet: &'q Quiet) -> Self {
        Self { quiet, known: BTreeMap::new() }
    }

    /// Returns the functions that an address of a backtrace lies in, without the allocator's own.
    ///
    /// There are several if functions were inlined: the innermost comes first. A function without a known name is named
    /// by the address.
    pub(super) fn of(&mut self, address: usize) -> &[SourceLine] {
        self.known.entry(address).or_insert_with(|| {
            let mut lines = Vec::new();
            SYMBOLS.of(self.quiet, address, &mut |symbol| {
                let name = symbol.name();
                lines.push(SourceLine {
                    // `#` leaves the hash out.
                    function: name.map_or_else(|| format!("{address:#x}"), |name| format!("{name:#}")),
                    file: symbol.filename().map_or_else(String::new, |file| file.to_string_lossy().into_owned()),
                    line: symbol.lineno().unwrap_or(0),
                });
            });
            if lines.is_empty() {
                lines.push(SourceLine { function: format!("{address:#x}"), file: String::new(), line: 0 });
            }
            lines.retain(|line| !line.is_allocators());
            lines
        })
    }
}

/// The folder of the allocator's outermost functions, `global`, as debug information spells it.
///
/// Its path begins like the path of this file, which the compiler spells in the same way.
fn door() -> String {
    let root = file!().strip_suffix("profile/symbols.rs").unwrap_or_default();
    format!("{root}global")
}

/// Whether a file lies in that folder. Its path may be the one from the folder of the build on, or the whole path.
fn is_at_door(file: &str) -> bool {
    file.rsplit_once('/').is_some_and(|(folder, _)| folder.ends_with(&door()))
}

impl SourceLine {
    /// Whether this function is the allocator's, or one that the compiler puts between the allocator and the program.
    ///
    /// If the debug information is for lines only, functions that were inlined have short names. Then the file decides.
    fn is_allocators(&self) -> bool {
        let last = self.function.rsplit("::").next().unwrap_or(&self.function);
        let is_between = ["__rust_alloc", "__rust_realloc", "__rg_"].iter().any(|start| last.starts_with(start));
        let is_short = !self.function.contains("::") || self.function.ends_with("<std::alloc::System>");
        is_between
            || self.function.trim_start_matches('<').starts_with("poolmalloc::")
            || (is_short && is_at_door(&self.file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `door` names the folder in which the backtraces of requests begin.
    #[test]
    fn the_door_is_where_it_is_said_to_be() {
        assert!(door().ends_with("src/global"), "{}", door());
        let manifest = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        for file in std::fs::read_dir(manifest.join("src/global")).unwrap() {
            assert!(is_at_door(&file.unwrap().path().to_string_lossy()));
        }
        assert!(
            !is_at_door("/elsewhere/src/globals/a.rs") && !is_at_door("src/process/serve.rs") && !is_at_door("a.rs")
        );
    }

    #[test]
    fn the_allocators_functions_are_told_from_others() {
        for (function, is_ours, is_short) in [
            ("poolmalloc::global::front_door::PoolMalloc<B>::alloc_slow", true, false),
            ("<poolmalloc::global::front_door::PoolMalloc<B> as core::alloc::global::GlobalAlloc>::alloc", true, false),
            ("__rust_alloc", true, false),
            ("__rustc::__rust_realloc", true, false),
            ("__rustc[5224e6b81cd82a8f]::__rust_alloc", true, false),
            ("__rg_alloc", true, false),
            ("alloc::alloc::alloc", false, false),
            ("poolmalloc_program::main", false, false),
            ("alloc::boxed::Box<T,poolmalloc::PoolMalloc>::new", false, false),
            ("alloc_slow<std::alloc::System>", false, true),
            ("realloc", false, true),
            ("std::sys::backtrace::__rust_begin_short_backtrace", false, false),
        ] {
            let line = SourceLine { function: function.to_owned(), file: String::from("/src/lib.rs"), line: 1 };
            assert_eq!(line.is_allocators(), is_ours, "{function}");
            let line = SourceLine { file: format!("/where/{}/front_door.rs", door()), ..line };
            assert_eq!(line.is_allocators(), is_ours || is_short, "{function}");
        }
    }
}
