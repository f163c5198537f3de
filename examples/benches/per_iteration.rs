//! Allocations for each iteration of a criterion benchmark, beside its time.
//!
//! Criterion measures through a [`Measurement`]. The one here counts the allocations of the thread that runs the
//! benchmark. The count is exact, whatever other threads do. Each benchmark runs twice, once with the clock and once
//! with this measurement. Criterion's output calls every figure a "time", also these counts. If a figure is 0,
//! Criterion reports that something must be wrong.
//!
//! `cargo bench -p poolmalloc-examples`

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, Throughput};
use poolmalloc::{PoolMalloc, ThreadStats, thread_stats};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// Allocations of this thread, by pools and backend. A `realloc` that moves a small block counts as an allocation. A
/// `realloc` of a block that lies with the backend and stays there does not count.
struct Allocations;

impl Measurement for Allocations {
    type Intermediate = ThreadStats;
    type Value = i64;

    fn start(&self) -> ThreadStats {
        thread_stats()
    }

    fn end(&self, before: ThreadStats) -> i64 {
        (thread_stats() - before).allocations()
    }

    fn add(&self, one: &i64, other: &i64) -> i64 {
        one + other
    }

    fn zero(&self) -> i64 {
        0
    }

    fn to_f64(&self, allocations: &i64) -> f64 {
        *allocations as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Allocations {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "allocations"
    }

    fn scale_throughputs(&self, _typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let (count, unit) = match throughput {
            Throughput::Elements(count) => (*count, "allocations/element"),
            Throughput::Bytes(bytes) | Throughput::BytesDecimal(bytes) => (*bytes, "allocations/byte"),
            Throughput::Bits(bits) => (*bits, "allocations/bit"),
        };
        values.iter_mut().for_each(|value| *value /= count as f64);
        unit
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        self.scale_values(0.0, values)
    }
}

const TEXT: &str = "She sells sea shells by the sea shore, and the shells she sells are sea shells for sure";

fn owned_words() -> Vec<String> {
    TEXT.split(' ').map(String::from).collect()
}

fn word_count() -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for word in TEXT.split(' ') {
        *counts.entry(word).or_default() += 1;
    }
    counts
}

fn grown_string() -> String {
    let mut text = String::new();
    for number in 0..50 {
        write!(text, "{number} ").expect("a String takes any text");
    }
    text
}

/// Settings for quick figures. To compare times, a benchmark needs more samples.
fn settings<M: Measurement>(criterion: Criterion<M>) -> Criterion<M> {
    let (warm_up, time) = (Duration::from_millis(100), Duration::from_millis(200));
    criterion.sample_size(10).warm_up_time(warm_up).measurement_time(time).without_plots().configure_from_args()
}

fn main() {
    // 18 words: a string for each, and a vector with room for 4, then 8, then 16 of them. The backend then resizes the
    // vector to 32, which does not count.
    let before = Allocations.start();
    drop(owned_words());
    assert_eq!(Allocations.end(before), 18 + 3, "the measurement is wrong");

    let mut by_time = settings(Criterion::default());
    let mut by_allocations = settings(Criterion::default().with_measurement(Allocations));
    macro_rules! bench {
        ($($routine:ident)*) => {$(
            by_time.bench_function(concat!(stringify!($routine), "/time"), |bencher| bencher.iter($routine));
            let name = concat!(stringify!($routine), "/allocations");
            by_allocations.bench_function(name, |bencher| bencher.iter($routine));
        )*};
    }
    bench!(owned_words word_count grown_string);
}
