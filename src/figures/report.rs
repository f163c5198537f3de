//! The report that `Display` prints of the statistics, in the order of CPython's `sys._debugmallocstats()`: classes,
//! arenas, and where every byte of them is.

use super::heaps::{NamedPrivateHeaps, PrivateHeapFigures};
use super::pools::{NamedTypedPools, TypedPoolFigures};
use super::stats::Stats;
use crate::geometry::{ARENA_BYTES, CLASSES, POOL_BYTES, SMALL_MAX};
use crate::os::Text;
use core::fmt::{self, Display, Formatter};

/// Width of the label before a figure, in characters.
const LABEL: usize = 44;

impl Display for Stats {
    /// Prints one line for each class that has pools or was used (`{:#}`: for each class), then the sums. Does not
    /// allocate.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Small block threshold = {SMALL_MAX}, in {CLASSES} size classes.\n")?;
        self.write_classes(f)?;
        self.write_counts(f)?;
        self.write_arenas(f)?;
        self.write_private_heaps(f)?;
        self.write_typed_pools(f)
    }
}

impl Stats {
    fn write_classes(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "class  size    pools   live blocks        cached          free   allocations         frees")?;
        writeln!(f, "-----  ----  -------  ------------  ------------  ------------  ------------  ------------")?;
        for (index, class) in self.classes.iter().enumerate() {
            if !f.alternate() && class.pools == 0 && class.frees == 0 {
                continue;
            }
            writeln!(
                f,
                "{index:5}  {:4}  {:7}  {:12}  {:12}  {:12}  {:12}  {:12}",
                class.block_bytes,
                class.pools,
                class.live_blocks,
                class.cached_blocks,
                class.free_blocks,
                class.allocations,
                class.frees,
            )?;
        }
        writeln!(f)
    }

    fn write_counts(&self, f: &mut Formatter<'_>) -> fmt::Result {
        line(f, "small allocations", self.small.allocations)?;
        line(f, "small frees", self.small.frees)?;
        line(f, "  of these by another thread", self.small.remote_frees)?;
        line(f, "  of these not collected yet", self.small.waiting_blocks)?;
        line(f, "large allocations (backend)", self.large.allocations)?;
        line(f, "large frees", self.large.frees)?;
        line(f, "large reallocations", self.large.reallocations)?;
        line(f, "blocks moved by realloc", self.moved)?;
        line(f, "large blocks live", self.large.live_blocks)?;
        line(f, "bytes in live large blocks, as requested", self.large.live_bytes)?;
        writeln!(f)
    }

    fn write_arenas(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let arena_bytes = self.arenas.open * ARENA_BYTES as u64;
        let unused_pools = self.unused_pools();
        let unused_bytes = unused_pools * POOL_BYTES as u64;
        line(f, "heaps in use", self.heaps.in_use)?;
        line(f, "heaps parked", self.heaps.parked)?;
        line(f, "arenas open", self.arenas.open)?;
        line(f, "  of these owned by no heap", self.arenas.free)?;
        counted(f, self.arenas.open, "arenas", ARENA_BYTES, arena_bytes)?;
        writeln!(f)?;
        line(f, "bytes in live blocks", self.small.live_bytes)?;
        line(f, "bytes in cached blocks", self.small.cached_bytes)?;
        line(f, "bytes in free blocks", self.small.free_bytes)?;
        counted(f, unused_pools, "unused pools", POOL_BYTES, unused_bytes)?;
        line(f, "bytes lost to rounding at the ends of pools", self.small.rounding_bytes)?;
        let small = &self.small;
        let sum = small.live_bytes + small.cached_bytes + small.free_bytes + small.rounding_bytes + unused_bytes;
        line(f, "total", sum)?;
        writeln!(f)?;
        line(f, "bytes of arenas opened", self.region.open_bytes)?;
        line(f, "bytes of tables opened", self.region.metadata_bytes)?;
        line(f, "  of both, bytes in memory", self.region.resident_bytes)?;
        line(f, "bytes of region reserved", self.region.reserved_bytes)
    }

    /// Writes the private heaps. Their blocks are also in the sums above.
    fn write_private_heaps(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let row = |f: &mut Formatter<'_>, name: &str, figures: &PrivateHeapFigures| {
            let PrivateHeapFigures { heaps, arenas, pools, live_blocks, live_bytes, large_blocks, large_bytes, .. } =
                figures;
            write!(f, "{name:<32}  {heaps:7}  {arenas:7}  {pools:7}  {live_blocks:11}  {live_bytes:13}")?;
            writeln!(f, "  {large_blocks:12}  {large_bytes:13}")
        };
        if self.private.all.heaps == 0 {
            return Ok(());
        }
        write!(f, "\nprivate heaps                       heaps   arenas    pools  live blocks     live bytes")?;
        writeln!(f, "  large blocks    large bytes")?;
        write!(f, "--------------------------------  -------  -------  -------  -----------  -------------")?;
        writeln!(f, "  ------------  -------------")?;
        for NamedPrivateHeaps { name, figures, .. } in self.private.by_name() {
            row(f, if name.as_str().is_empty() { "(unnamed)" } else { name.as_str() }, figures)?;
        }
        row(f, "total", &self.private.all)
    }

    /// Writes the named typed pools, as `_debugmallocstats` lists the free lists of types. If the global allocator is
    /// this crate's, their blocks are also live ones in the sums above.
    fn write_typed_pools(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let row = |f: &mut Formatter<'_>, name: &str, figures: &TypedPoolFigures| {
            let TypedPoolFigures { pools, gets, hits, live, ready, high_water, live_bytes, ready_bytes, .. } = figures;
            write!(f, "{name:<32}  {pools:7}  {live:11}  {live_bytes:13}  {ready:11}  {ready_bytes:13}")?;
            writeln!(f, "  {high_water:11}  {gets:13}  {hits:13}")
        };
        if self.typed.all.pools == 0 {
            return Ok(());
        }
        write!(
            f,
            "\ntyped pools                         pools   live boxes     live bytes  ready blocks    ready bytes"
        )?;
        writeln!(f, "   high water           gets           hits")?;
        write!(f, "--------------------------------  -------  -----------  -------------  -----------  -------------")?;
        writeln!(f, "  -----------  -------------  -------------")?;
        for NamedTypedPools { name, figures, .. } in self.typed.by_name() {
            row(f, name.as_str(), figures)?;
        }
        row(f, "total", &self.typed.all)
    }
}

/// Writes a label and a figure.
fn line(f: &mut Formatter<'_>, label: &str, figure: u64) -> fmt::Result {
    writeln!(f, "{label:<LABEL$} = {figure:>18}")
}

/// Writes a number of things of `bytes` bytes each, and the product.
fn counted(f: &mut Formatter<'_>, count: u64, what: &str, bytes: usize, product: u64) -> fmt::Result {
    let rest = LABEL - "12345678 ".len();
    // A formatter pads one whole text only, so the label is put together first.
    let mut label = Text::<LABEL>::new();
    fmt::Write::write_fmt(&mut label, format_args!("{what} * {bytes} bytes"))?;
    writeln!(f, "{count:>8} {:<rest$} = {product:>18}", label.as_str())
}
