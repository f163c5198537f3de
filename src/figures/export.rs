//! The statistics for machines: JSON and the Prometheus text format, written without allocating.

use super::heaps::PrivateHeapFigures;
use super::name::Name;
use super::parts::{ArenaStats, ClassStats, HeapStats, LargeStats, RegionStats, SmallStats};
use super::pools::TypedPoolFigures;
use super::stats::Stats;
use MetricKind::{Counter, Gauge};
use core::fmt::{self, Write};

/// A figure: its name, its kind, its value, and its help text.
type Figure = (&'static str, MetricKind, u64, &'static str);

#[derive(Clone, Copy, PartialEq, Eq)]
enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

impl Stats {
    /// Writes the statistics as one JSON object. Its members are named and nested as the fields are.
    ///
    /// It allocates nothing unless `out` does.
    ///
    /// # Errors
    /// Returns the error of `out`, if `out` fails.
    ///
    /// # Examples
    /// ```
    /// # #[global_allocator]
    /// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
    /// let mut text = String::new();
    /// poolmalloc::stats().write_json(&mut text)?;
    /// assert!(text.starts_with(r#"{"small":{"allocations":"#));
    /// # Ok::<(), std::fmt::Error>(())
    /// ```
    pub fn write_json(&self, out: &mut dyn Write) -> fmt::Result {
        out.write_char('{')?;
        for (name, figures) in [("small", &self.small.figures()[..]), ("large", &self.large.figures())] {
            write!(out, "\"{name}\":")?;
            write_object(out, figures)?;
            out.write_char(',')?;
        }
        write!(out, "\"moved\":{}", self.moved)?;
        let groups = [
            ("arenas", &self.arenas.figures()[..]),
            ("heaps", &self.heaps.figures()),
            ("region", &self.region.figures()),
        ];
        for (name, figures) in groups {
            write!(out, ",\"{name}\":")?;
            write_object(out, figures)?;
        }
        out.write_str(",\"classes\":[")?;
        for (number, class) in self.classes.iter().enumerate() {
            if number > 0 {
                out.write_char(',')?;
            }
            write_object(out, &class.figures())?;
        }
        out.write_str("],\"private\":")?;
        write_by_name(out, &self.private.all.figures(), self.private_by_name())?;
        out.write_str(",\"typed\":")?;
        write_by_name(out, &self.typed.all.figures(), self.typed_by_name())?;
        out.write_char('}')
    }

    /// Writes the statistics in the Prometheus text format, version 0.0.4. Each figure is one metric, whose name begins
    /// with `poolmalloc_`. Metrics of classes have the label `block_bytes`; those of private heaps and typed pools have
    /// the label `name`. Classes that were never used are left out.
    ///
    /// It allocates nothing unless `out` does.
    ///
    /// # Errors
    /// Returns the error of `out`, if `out` fails.
    ///
    /// # Examples
    /// ```
    /// # #[global_allocator]
    /// # static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();
    /// let mut text = String::new();
    /// poolmalloc::stats().write_prometheus(&mut text)?;
    /// assert!(text.contains("# TYPE poolmalloc_small_live_bytes gauge\npoolmalloc_small_live_bytes "));
    /// # Ok::<(), std::fmt::Error>(())
    /// ```
    pub fn write_prometheus(&self, out: &mut dyn Write) -> fmt::Result {
        let groups = [
            ("small", &self.small.figures()[..]),
            ("large", &self.large.figures()),
            ("arenas", &self.arenas.figures()),
            ("heaps", &self.heaps.figures()),
            ("region", &self.region.figures()),
        ];
        for (group, figures) in groups {
            for figure in figures {
                write_metric(out, group, figure)?;
                writeln!(out, "poolmalloc_{group}_{}{} {}", figure.0, suffix(figure.1), figure.2)?;
            }
        }
        let moved =
            ("moved", Counter, self.moved, "blocks that realloc moved to another class or between pool and backend");
        write_metric(out, "realloc", &moved)?;
        writeln!(out, "poolmalloc_realloc_moved_total {}", self.moved)?;
        let used = || self.classes.iter().filter(|class| class.pools > 0 || class.allocations > 0);
        // The format requires all samples of a metric to stand together.
        for (number, figure) in self.classes[0].figures().iter().enumerate().skip(1) {
            write_metric(out, "class", figure)?;
            for class in used() {
                let (name, kind, value, _) = class.figures()[number];
                let label = class.block_bytes;
                writeln!(out, "poolmalloc_class_{name}{}{{block_bytes=\"{label}\"}} {value}", suffix(kind))?;
            }
        }
        write_metrics_by_name(out, "private", &self.private.all.figures(), self.private_by_name())?;
        write_metrics_by_name(out, "typed", &self.typed.all.figures(), self.typed_by_name())
    }

    /// The figures of private heaps, by name.
    fn private_by_name(&self) -> impl Iterator<Item = (Name, [Figure; 7])> + Clone {
        self.private.by_name().iter().map(|named| (named.name, named.figures.figures()))
    }

    /// The figures of typed pools, by name.
    fn typed_by_name(&self) -> impl Iterator<Item = (Name, [Figure; 11])> + Clone {
        self.typed.by_name().iter().map(|named| (named.name, named.figures.figures()))
    }
}

fn write_object(out: &mut dyn Write, figures: &[Figure]) -> fmt::Result {
    for (number, (name, _, value, _)) in figures.iter().enumerate() {
        let before = if number == 0 { '{' } else { ',' };
        write!(out, "{before}\"{name}\":{value}")?;
    }
    out.write_char('}')
}

/// Writes the sums and the figures of each name as one JSON object.
fn write_by_name<const N: usize>(
    out: &mut dyn Write,
    all: &[Figure; N],
    by_name: impl Iterator<Item = (Name, [Figure; N])>,
) -> fmt::Result {
    out.write_str("{\"all\":")?;
    write_object(out, all)?;
    out.write_str(",\"by_name\":[")?;
    for (number, (name, figures)) in by_name.enumerate() {
        // A name has no character that needs an escape.
        write!(out, "{}{{\"name\":\"{name}\",\"figures\":", if number > 0 { "," } else { "" })?;
        write_object(out, &figures)?;
        out.write_char('}')?;
    }
    out.write_str("]}")
}

/// Writes one metric for each figure, with one sample for each name. `all` gives the names and kinds of the figures.
fn write_metrics_by_name<const N: usize>(
    out: &mut dyn Write,
    group: &str,
    all: &[Figure; N],
    by_name: impl Iterator<Item = (Name, [Figure; N])> + Clone,
) -> fmt::Result {
    for (number, figure) in all.iter().enumerate() {
        write_metric(out, group, figure)?;
        for (label, figures) in by_name.clone() {
            let (name, _, value, _) = figures[number];
            writeln!(out, "poolmalloc_{group}_{name}{{name=\"{label}\"}} {value}")?;
        }
    }
    Ok(())
}

fn write_metric(out: &mut dyn Write, group: &str, &(name, kind, _, help): &Figure) -> fmt::Result {
    let (suffix, kind) = (suffix(kind), if kind == Counter { "counter" } else { "gauge" });
    writeln!(out, "# HELP poolmalloc_{group}_{name}{suffix} {help}")?;
    writeln!(out, "# TYPE poolmalloc_{group}_{name}{suffix} {kind}")
}

/// The suffix that the naming rules of Prometheus require for this kind.
fn suffix(kind: MetricKind) -> &'static str {
    if kind == Counter { "_total" } else { "" }
}

impl SmallStats {
    fn figures(&self) -> [Figure; 11] {
        [
            ("allocations", Counter, self.allocations, "requests of up to 256 bytes served from pools"),
            ("frees", Counter, self.frees, "blocks of pools freed"),
            ("remote_frees", Counter, self.remote_frees, "blocks of pools freed by threads that did not own them"),
            ("live_blocks", Gauge, self.live_blocks, "blocks of pools that the program holds"),
            ("live_bytes", Gauge, self.live_bytes, "bytes of the blocks of pools that the program holds"),
            ("cached_blocks", Gauge, self.cached_blocks, "freed blocks in magazines or waiting as remote frees"),
            ("cached_bytes", Gauge, self.cached_bytes, "bytes of freed blocks in magazines or waiting as remote frees"),
            ("waiting_blocks", Gauge, self.waiting_blocks, "blocks freed by other threads and not collected yet"),
            ("free_blocks", Gauge, self.free_blocks, "blocks in pools that no one has"),
            ("free_bytes", Gauge, self.free_bytes, "bytes of blocks in pools that no one has"),
            ("rounding_bytes", Gauge, self.rounding_bytes, "bytes at the ends of pools that are too few for a block"),
        ]
    }
}

impl LargeStats {
    fn figures(&self) -> [Figure; 5] {
        [
            ("allocations", Counter, self.allocations, "requests served by the backend"),
            ("frees", Counter, self.frees, "blocks of the backend freed"),
            ("reallocations", Counter, self.reallocations, "blocks resized by the backend"),
            ("live_blocks", Gauge, self.live_blocks, "blocks of the backend that the program holds"),
            ("live_bytes", Gauge, self.live_bytes, "bytes of those blocks, as requested"),
        ]
    }
}

impl ArenaStats {
    fn figures(&self) -> [Figure; 2] {
        [
            ("open", Gauge, self.open, "arenas of 256 KiB in use by heaps or kept for them"),
            ("free", Gauge, self.free, "arenas that no heap owns"),
        ]
    }
}

impl HeapStats {
    fn figures(&self) -> [Figure; 2] {
        [
            ("in_use", Gauge, self.in_use, "heaps of running threads"),
            ("parked", Gauge, self.parked, "heaps of ended threads, for new ones"),
        ]
    }
}

impl RegionStats {
    fn figures(&self) -> [Figure; 4] {
        [
            ("reserved_bytes", Gauge, self.reserved_bytes, "bytes of addresses reserved for arenas"),
            ("open_bytes", Gauge, self.open_bytes, "bytes of arenas opened for use"),
            ("metadata_bytes", Gauge, self.metadata_bytes, "bytes of tables opened for use"),
            ("resident_bytes", Gauge, self.resident_bytes, "bytes of arenas and tables in memory"),
        ]
    }
}

impl ClassStats {
    fn figures(&self) -> [Figure; 9] {
        [
            ("block_bytes", Gauge, self.block_bytes, "bytes of a block"),
            ("pools", Gauge, self.pools, "pools of 4096 bytes that have the class"),
            ("allocations", Counter, self.allocations, "requests served"),
            ("frees", Counter, self.frees, "blocks freed"),
            ("remote_frees", Counter, self.remote_frees, "blocks freed by threads that did not own them"),
            ("live_blocks", Gauge, self.live_blocks, "blocks that the program holds"),
            ("cached_blocks", Gauge, self.cached_blocks, "freed blocks in magazines or waiting as remote frees"),
            ("waiting_blocks", Gauge, self.waiting_blocks, "blocks freed by other threads and not collected yet"),
            ("free_blocks", Gauge, self.free_blocks, "blocks in pools that no one has"),
        ]
    }
}

impl PrivateHeapFigures {
    fn figures(&self) -> [Figure; 7] {
        [
            ("heaps", Gauge, self.heaps, "private heaps"),
            ("arenas", Gauge, self.arenas, "arenas of private heaps"),
            ("pools", Gauge, self.pools, "pools of private heaps that have a class"),
            ("live_blocks", Gauge, self.live_blocks, "blocks of pools of private heaps that the program holds"),
            (
                "live_bytes",
                Gauge,
                self.live_bytes,
                "bytes of the blocks of pools of private heaps that the program holds",
            ),
            ("large_blocks", Gauge, self.large_blocks, "blocks of the backend that belong to private heaps"),
            ("large_bytes", Gauge, self.large_bytes, "bytes of those blocks, as requested"),
        ]
    }
}

impl TypedPoolFigures {
    fn figures(&self) -> [Figure; 11] {
        [
            ("pools", Gauge, self.pools, "named typed pools"),
            ("capacity", Gauge, self.capacity, "most blocks that typed pools keep ready"),
            ("gets", Gauge, self.gets, "boxes taken from the typed pools that there are now"),
            ("hits", Gauge, self.hits, "the part of them that ready blocks served"),
            ("drops", Gauge, self.drops, "boxes of typed pools dropped or taken apart"),
            ("freed", Gauge, self.freed, "blocks that typed pools gave back to the allocator"),
            ("live", Gauge, self.live, "boxes of typed pools that there are"),
            ("ready", Gauge, self.ready, "blocks that typed pools have ready"),
            ("high_water", Gauge, self.high_water, "most boxes of typed pools that there were"),
            ("live_bytes", Gauge, self.live_bytes, "bytes of the blocks of boxes of typed pools"),
            ("ready_bytes", Gauge, self.ready_bytes, "bytes of the blocks that typed pools have ready"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Statistics with a different figure in each field.
    fn sample() -> Stats {
        let mut stats = Stats::new();
        stats.small = SmallStats { allocations: 9, frees: 8, live_blocks: 1, live_bytes: 48, ..SmallStats::default() };
        (stats.moved, stats.region.resident_bytes) = (77, 4096);
        let class = &mut stats.classes[5];
        (class.pools, class.allocations, class.frees, class.live_blocks) = (1, 9, 8, 1);
        stats
    }

    #[test]
    fn prometheus_names_each_metric_once_and_unused_classes_never() {
        let mut text = String::new();
        sample().write_prometheus(&mut text).unwrap();
        let mut types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let all = types.len();
        types.dedup();
        assert_eq!((types.len(), all), (51, 51));
        for line in [
            "# TYPE poolmalloc_small_allocations_total counter",
            "poolmalloc_small_allocations_total 9",
            "poolmalloc_region_resident_bytes 4096",
            "poolmalloc_realloc_moved_total 77",
            "poolmalloc_class_live_blocks{block_bytes=\"48\"} 1",
            "poolmalloc_class_frees_total{block_bytes=\"48\"} 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(!text.contains("block_bytes=\"8\""));
        // Every sample follows the line with its type.
        let mut metric = "";
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                metric = rest.split(' ').next().unwrap();
            } else if !line.starts_with('#') {
                assert!(line[metric.len()..].starts_with(['{', ' ']) && line.starts_with(metric), "{line}");
            }
        }
    }
}
