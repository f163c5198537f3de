//! The tests themselves, each in a child.

use super::*;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::{fs, thread};

use flate2::read::GzDecoder;
use poolmalloc::profile::{Measure, Profile, snapshot, start, stop};
use poolmalloc::{check_heap, leaks, measure_peak, stats, thread_stats};
use poolmalloc_oracle::Shadow;
use poolmalloc_oracle::shadow::random_step;
use poolmalloc_oracle::soak::{self, Soak};
use protobuf::well_known_types::empty::Empty;
use protobuf::{CodedInputStream, Message, UnknownValueRef};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use poolmalloc_support::block::layout;
use poolmalloc_support::process::succeed;
use poolmalloc_support::{Test, scaled, tests};

const MEASURES: [Measure; 4] = [Measure::AllocObjects, Measure::AllocSpace, Measure::InuseObjects, Measure::InuseSpace];

/// Blocks of one layout that the program holds. The list has its memory from the start, so it does not allocate when it
/// gets a block.
struct Blocks {
    layout: Layout,
    starts: Vec<*mut u8>,
}

// SAFETY: the blocks are plain memory, and only this list knows them.
unsafe impl Send for Blocks {}

impl Blocks {
    /// Returns an empty list with room for `count` blocks of `size` bytes.
    fn room(size: usize, count: usize) -> Self {
        Self { layout: layout(size, 8), starts: Vec::with_capacity(count) }
    }

    fn free(&mut self, count: usize) {
        for start in self.starts.drain(self.starts.len() - count..) {
            // SAFETY: a plant allocated the block with this layout, and only this list had it.
            unsafe { dealloc(start, self.layout) };
        }
    }

    fn free_all(mut self) {
        self.free(self.starts.len());
    }
}

macro_rules! plants {
    ($($name:ident)*) => {
        $(
            /// Allocates blocks until the list is full.
            #[inline(never)]
            fn $name(blocks: &mut Blocks) {
                while blocks.starts.len() < blocks.starts.capacity() {
                    // SAFETY: the size is not zero.
                    let start = black_box(unsafe { alloc(blocks.layout) });
                    assert!(!start.is_null());
                    blocks.starts.push(start);
                }
                black_box(stringify!($name));
            }
        )*
    };
}

plants!(
    planted_8 planted_24 planted_256 planted_300 planted_5000 planted_100000 planted_other planted_here planted_resized
);

/// Returns the four figures, each summed over all stacks that have this function.
fn figures_of(profile: &Profile, function: &str) -> [u64; 4] {
    MEASURES.map(|measure| {
        let stacks = collapsed(profile, measure);
        stacks.iter().filter(|(stack, _)| has(stack, function)).map(|(_, value)| value).sum()
    })
}

fn has(stack: &str, function: &str) -> bool {
    stack.split(';').any(|frame| frame.rsplit("::").next() == Some(function))
}

fn collapsed(profile: &Profile, measure: Measure) -> BTreeMap<String, u64> {
    let mut text = Vec::new();
    profile.write_collapsed(&mut text, measure).expect("writing to memory");
    let text = String::from_utf8(text).expect("UTF-8");
    let line = |line: &str| {
        let (stack, value) = line.rsplit_once(' ').expect("a stack and its value");
        (stack.to_owned(), value.parse().expect("a number"))
    };
    text.lines().map(line).collect()
}

fn sum(profile: &Profile) -> [u64; 4] {
    profile.sites.iter().fold([0; 4], |sum, site| {
        [sum[0] + site.alloc_objects, sum[1] + site.alloc_space, sum[2] + site.inuse_objects, sum[3] + site.inuse_space]
    })
}

#[track_caller]
fn assert_near(estimates: &[u64], truths: &[usize], of: &str) {
    for (estimate, truth) in estimates.iter().zip(truths) {
        let off = *estimate as f64 / *truth as f64 - 1.0;
        assert!(off.abs() < 0.2, "{of}: {estimates:?} for {truths:?}");
    }
}

fn estimates() {
    type Plant = fn(&mut Blocks);
    let plants: [(&str, Plant, usize); 6] = [
        ("planted_8", planted_8, 8),
        ("planted_24", planted_24, 24),
        ("planted_256", planted_256, 256),
        ("planted_300", planted_300, 300),
        ("planted_5000", planted_5000, 5000),
        ("planted_100000", planted_100000, 100_000),
    ];
    // At the small mean nearly every block of 5000 bytes or more is a sample, and counts for one. Only the blocks of
    // 100,000 bytes are larger than the other mean.
    for mean in [512_u64, 8192] {
        let before = snapshot();
        start(mean);
        let planted: Vec<_> = plants
            .iter()
            .map(|&(name, plant, size)| {
                let chance = -(-(size as f64) / mean as f64).exp_m1();
                // Half of the blocks are freed: the live figures are estimates too.
                let count = 2 * (2000.0 / chance).ceil() as usize;
                let mut blocks = Blocks::room(size, count);
                plant(&mut blocks);
                blocks.free(count / 2);
                (name, blocks, size)
            })
            .collect();
        stop();
        let profile = snapshot();
        for (name, blocks, size) in planted {
            let (old, new) = (figures_of(&before, name), figures_of(&profile, name));
            let live = blocks.starts.len();
            let truths = [2 * live, 2 * live * size, live, live * size];
            assert_near(&[0, 1, 2, 3].map(|each| new[each] - old[each]), &truths, name);
            blocks.free_all();
        }
        assert!(plants.iter().all(|(name, ..)| figures_of(&snapshot(), name)[2..] == [0, 0]), "{mean}");
    }
    check_heap().expect("a valid heap");
}

/// A `realloc` of a small block within its size class is no new request. The samples stay, and no others come.
fn reallocations_within_a_class() {
    start(500);
    let mut blocks = Blocks::room(40, 50_000);
    planted_resized(&mut blocks);
    let planted = figures_of(&snapshot(), "planted_resized");
    assert_near(&planted, &[50_000, 50_000 * 40, 50_000, 50_000 * 40], "planted_resized");
    // The leak finder is armed for the last two sizes, and notes large blocks.
    for new_size in [33, 40, 36, 40] {
        let old = blocks.layout;
        blocks.layout = layout(new_size, 8);
        let before = thread_stats();
        for start in &mut blocks.starts {
            // SAFETY: the block has this layout, and the new size is not zero.
            *start = black_box(unsafe { realloc(*start, old, new_size) });
        }
        let own = thread_stats() - before;
        let requests = own.small.allocations + own.large.allocations + own.large.reallocations;
        assert_eq!((requests, own.moved), (0, 0), "{new_size}");
        if new_size == 40 {
            leaks::arm();
        }
        let resized = figures_of(&snapshot(), "planted_resized");
        assert_eq!(resized[..3], planted[..3], "{new_size}");
        // Estimates are rounded.
        assert!(resized[3].abs_diff(resized[2] * new_size as u64) <= 40, "{resized:?}");
    }
    blocks.free_all();
    assert_eq!(figures_of(&snapshot(), "planted_resized")[2..], [0, 0]);
    check_heap().expect("a valid heap");
}

/// Several threads allocate blocks in one place and end. Then another thread frees the blocks.
fn threads() {
    const MEAN: u64 = 1000;
    const THREADS: usize = 4;
    start(MEAN);
    let count = 40_000;
    let (send, receive) = mpsc::channel::<Blocks>();
    // The threads of the second round take over the heaps of the first round.
    let some = |number: usize| -> Vec<_> {
        (0..number)
            .map(|_| {
                let send = send.clone();
                thread::spawn(move || {
                    let mut blocks = Blocks::room(64, count);
                    planted_other(&mut blocks);
                    send.send(blocks).expect("a receiver");
                })
            })
            .collect()
    };
    for _ in 0..2 {
        let threads = some(THREADS / 2);
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    }
    let blocks: Vec<_> = receive.try_iter().collect();
    let all = THREADS * count;
    assert_near(&figures_of(&snapshot(), "planted_other"), &[all, all * 64, all, all * 64], "threads");
    blocks.into_iter().for_each(Blocks::free_all);
    assert_eq!(figures_of(&snapshot(), "planted_other")[2..], [0, 0]);
    check_heap().expect("a valid heap");
}

/// A block from a pool is sampled when it grows. The innermost frame of its backtrace is the program's or the standard
/// library's, with and without a watch.
fn reallocations_out_of_pools() {
    #[inline(never)]
    fn planted_from_pool(start: *mut u8) -> *mut u8 {
        // SAFETY: the block has this layout, and the new size fits.
        black_box(unsafe { realloc(start, layout(24, 8), 100) })
    }
    // SAFETY: the size is not zero.
    let [first, second] = [(); 2].map(|()| unsafe { alloc(layout(24, 8)) });
    let small = stats().small.live_blocks;
    start(1);
    let first = planted_from_pool(first);
    let (second, _) = poolmalloc::measure_peak(|| planted_from_pool(second));
    stop();
    assert_eq!(small - stats().small.live_blocks, 2, "both lie with the backend now");
    let stacks = collapsed(&snapshot(), Measure::AllocObjects);
    let planted: Vec<_> = stacks.iter().filter(|(stack, _)| has(stack, "planted_from_pool")).collect();
    assert_eq!(planted.iter().map(|(_, value)| **value).sum::<u64>(), 2, "{stacks:?}");
    for (stack, _) in planted {
        let last = stack.rsplit(';').next().expect("a frame");
        let function = last.rsplit(':').next();
        let is_programs =
            matches!(function, Some("planted_from_pool" | "realloc")) && !last.to_lowercase().contains("poolmalloc");
        assert!(is_programs, "{stack}");
    }
    // SAFETY: the blocks have this layout.
    [first, second].into_iter().for_each(|start| unsafe { dealloc(start, layout(100, 8)) });
}

/// At a mean of 1 every request is a sample, so the figures are exact.
fn reallocations() {
    start(1);
    #[inline(never)]
    fn planted_realloc() -> (*mut u8, usize) {
        let mut size = 10;
        // SAFETY: the size is not zero.
        let mut start = unsafe { alloc(layout(size, 8)) };
        // From a small block to a large one, which grows, shrinks, and becomes small and large again.
        for new_size in [1000, 200_000, 700, 20, 30, 5000] {
            // SAFETY: the block has this layout, and the new size fits.
            start = black_box(unsafe { realloc(start, layout(size, 8), new_size) });
            assert!(!start.is_null());
            size = new_size;
        }
        // SAFETY: as above.
        let refused = black_box(unsafe { realloc(start, layout(size, 8), isize::MAX as usize - 8) });
        assert!(refused.is_null());
        (start, size)
    }
    let (start, size) = planted_realloc();
    let bytes = 10 + 1000 + 200_000 + 700 + 20 + 30 + 5000;
    assert_eq!(figures_of(&snapshot(), "planted_realloc"), [7, bytes, 1, 5000]);
    // SAFETY: the block has this layout.
    unsafe { dealloc(start, layout(size, 8)) };
    assert_eq!(figures_of(&snapshot(), "planted_realloc"), [7, bytes, 0, 0]);
    #[inline(never)]
    fn planted_zeroed() {
        for size in [1, 100, 256, 257, 10_000] {
            // SAFETY: the size is not zero.
            let start = black_box(unsafe { alloc_zeroed(layout(size, 8)) });
            // SAFETY: the block has `size` bytes, and the allocator has written zeros there.
            let bytes = unsafe { std::slice::from_raw_parts(start, size) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            // SAFETY: the block has this layout.
            unsafe { dealloc(start, layout(size, 8)) };
        }
    }
    planted_zeroed();
    assert_eq!(figures_of(&snapshot(), "planted_zeroed"), [5, 1 + 100 + 256 + 257 + 10_000, 0, 0]);
}

/// All requests are samples, from the first one of the process on. The profile has as many live blocks as the
/// statistics.
fn every_request() {
    let live = || {
        // The profile itself is not sampled. It is dropped before the blocks are counted.
        let sum = sum(&snapshot());
        let (large, small) = (stats().large, stats().small);
        assert_eq!(small.live_blocks, 0, "{small:?}");
        (sum, large)
    };
    let (before, large) = live();
    assert_eq!(large.live_blocks, before[2], "{before:?}");
    let mut random = SmallRng::seed_from_u64(3);
    let mut shadow = Shadow::<PoolMalloc>::new();
    for wave in 0..4 {
        for _ in 0..scaled(20_000, 10) {
            let step = random_step(&mut random, shadow.length(), if wave % 2 == 0 { 1000 } else { 50 });
            shadow.take_step(&step);
        }
        shadow.check();
        let (now, large) = live();
        assert_eq!(large.live_blocks, now[2], "{now:?}");
    }
    shadow.finish();
    drop(shadow);
    check_heap().expect("a valid heap");
    assert_eq!(live().0[2], before[2], "what was freed is not in use");
}

/// Three threads, one after another, allocate, resize and free at random. At the same time another thread starts and
/// stops sampling, and makes profiles.
fn under_load() {
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = poolmalloc_support::SetAtEnd(&ends);
        let sampler = scope.spawn(|| {
            for round in 0.. {
                if ends.load(Ordering::Relaxed) {
                    break;
                }
                start([1, 100, 100_000][round % 3]);
                drop(snapshot());
                if round % 2 == 0 {
                    stop();
                }
                thread::yield_now();
            }
        });
        for seed in 0..3 {
            scope
                .spawn(move || {
                    let mut random = SmallRng::seed_from_u64(seed);
                    let mut shadow = Shadow::<PoolMalloc>::new();
                    for _ in 0..scaled(60_000, 10) {
                        let step = random_step(&mut random, shadow.length(), 300);
                        shadow.take_step(&step);
                    }
                    shadow.finish();
                })
                .join()
                .expect("a thread");
        }
        drop(end);
        // The scope alone would not wait until the thread has ended and has given its heap back.
        sampler.join().expect("a thread");
    });
    stop();
    check_heap().expect("a valid heap");
    let now = sum(&snapshot());
    assert!(now[2] <= now[0] && now[3] <= now[1], "{now:?}");
}

/// The child of a fork has the profile as it was at the fork, and goes on with it. The parent and the child do not see
/// each other's later requests.
fn fork() {
    start(1);
    let mut blocks = Blocks::room(100, 50);
    planted_here(&mut blocks);
    // SAFETY: the child calls only the allocator, which works there, and `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no preconditions. No handler is installed: the signal ends the process if it hangs.
        unsafe { libc::alarm(60) };
        let mut more = Blocks::room(100, 30);
        planted_here(&mut more);
        assert_eq!(figures_of(&snapshot(), "planted_here"), [80, 8000, 80, 8000]);
        blocks.free_all();
        more.free_all();
        assert_eq!(figures_of(&snapshot(), "planted_here"), [80, 8000, 0, 0]);
        // SAFETY: no preconditions. A panic above has ended the child with another code, or a signal.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: `status` is writable.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((ended, status), (child, 0), "the child's end");
    assert_eq!(figures_of(&snapshot(), "planted_here"), [50, 5000, 50, 5000]);
    blocks.free_all();
}

/// Children of a fork work, while other threads of the parent sample, look names up and make profiles all the time.
fn fork_under_load() {
    start(50);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = poolmalloc_support::SetAtEnd(&ends);
        for _ in 0..2 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    let mut blocks = Blocks::room(40, 100);
                    planted_other(&mut blocks);
                    blocks.free_all();
                    collapsed(&snapshot(), Measure::InuseSpace);
                }
            });
        }
        for _ in 0..scaled(200, 10) {
            // SAFETY: the child calls only the allocator, which works there, and `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: no preconditions. No handler is installed: the signal ends the process if it hangs.
                unsafe { libc::alarm(60) };
                let mut blocks = Blocks::room(40, 1000);
                planted_here(&mut blocks);
                blocks.free_all();
                drop(snapshot());
                // SAFETY: no preconditions.
                unsafe { libc::_exit(i32::from(check_heap().is_err())) };
            }
            let mut status = 0;
            // SAFETY: `status` is writable.
            let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
            assert_eq!((ended, status), (child, 0), "the child's end");
        }
    });
}

/// When memory is used up, requests fail as they do without the profiler, and nothing is lost.
fn exhausted_memory() {
    start(100);
    let mut chains = [4096, 200, 64].map(poolmalloc_support::chain::Chain::new);
    let limit = |bytes| {
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: `limit` is readable.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) }, 0);
    };
    for _ in 0..3 {
        limit(48 << 20);
        for chain in &mut chains {
            while !chain.grow(1000) {}
            chain.free_to(chain.count() / 2);
        }
        limit(libc::RLIM_INFINITY);
        for chain in &mut chains {
            chain.grow(1000);
            chain.free();
        }
    }
    check_heap().expect("a valid heap");
    let mut blocks = Blocks::room(1000, 20_000);
    planted_here(&mut blocks);
    assert_near(&figures_of(&snapshot(), "planted_here"), &[20_000; 1], "afterwards");
    blocks.free_all();
}

/// A thread that runs already notices soon that sampling starts, and at once that sampling stops. Frees stay on the
/// fast path, and allocations come back to it.
fn start_and_stop() {
    let (to, of_main) = mpsc::channel::<()>();
    let (to_main, of_thread) = mpsc::channel();
    let thread = thread::spawn(move || {
        for () in of_main {
            let before = thread_stats();
            let mut blocks = Blocks::room(40, 10_000);
            planted_other(&mut blocks);
            blocks.free_all();
            let now = thread_stats();
            to_main.send(now.large.allocations - before.large.allocations).expect("a receiver");
        }
    });
    let round = || {
        to.send(()).expect("a thread");
        of_thread.recv().expect("a thread")
    };
    let sampled = || figures_of(&snapshot(), "planted_other")[0];
    // The list of blocks is the only large allocation.
    assert_eq!((round(), sampled()), (1, 0));
    start(1);
    // Blocks that the magazines held before the start are served first, without a sample.
    assert!(round() > 9000 && sampled() > 9000);
    let before = sampled();
    assert_eq!((round(), sampled()), (10_001, before + 10_000));
    stop();
    let before = sampled();
    assert_eq!((round(), sampled()), (1, before));
    start(1 << 40);
    assert_eq!((round(), sampled()), (1, before));
    start(1);
    assert_eq!((round(), sampled()), (10_001, before + 10_000));
    stop();
    drop(to);
    thread.join().expect("a thread");
    // A thread that takes over the heap is not sampled.
    let before = sampled();
    thread::spawn(|| {
        let mut blocks = Blocks::room(40, 1000);
        planted_other(&mut blocks);
        blocks.free_all();
    })
    .join()
    .expect("a thread");
    assert_eq!(sampled(), before);
    check_heap().expect("a valid heap");
}

/// A watch notes the same requests with sampling and without, and these requests are sampled.
fn with_a_watch() {
    let work = |mean: Option<u64>| {
        let ((), peak) = measure_peak(|| {
            // Sampling starts and stops while the watch is on.
            if let Some(mean) = mean {
                start(mean);
            }
            let mut blocks = Blocks::room(40, 1000);
            planted_here(&mut blocks);
            blocks.free_all();
            if mean.is_some() {
                stop();
            }
        });
        peak
    };
    let without = work(None);
    let with = work(Some(1));
    assert_eq!((with.requested_bytes, with.peak_blocks), (without.requested_bytes, without.peak_blocks));
    assert_eq!(figures_of(&snapshot(), "planted_here"), [1000, 40_000, 0, 0]);
    start(1);
    let with = work(None);
    assert_eq!((with.requested_bytes, with.peak_blocks), (without.requested_bytes, without.peak_blocks));
    assert_eq!(figures_of(&snapshot(), "planted_here"), [2000, 80_000, 0, 0]);
    stop();
    work(None);
    assert_eq!(figures_of(&snapshot(), "planted_here"), [2000, 80_000, 0, 0]);
    // Sampling that starts under a watch goes on after it. It may also stop under a watch.
    let plant = || {
        let mut blocks = Blocks::room(40, 1000);
        planted_here(&mut blocks);
        blocks.free_all();
    };
    measure_peak(|| start(1));
    plant();
    assert_eq!(figures_of(&snapshot(), "planted_here"), [3000, 120_000, 0, 0]);
    measure_peak(stop);
    plant();
    assert_eq!(figures_of(&snapshot(), "planted_here"), [3000, 120_000, 0, 0]);
}

/// Requests of the profiler itself are not in the profile.
fn own_requests() {
    start(1);
    let mut blocks = Blocks::room(40, 100);
    planted_here(&mut blocks);
    let before = sum(&snapshot());
    let first = snapshot();
    first.write_pprof(io::sink()).expect("nothing is written");
    first.write_collapsed(io::sink(), Measure::AllocSpace).expect("nothing is written");
    drop(first);
    assert_eq!(sum(&snapshot()), before);
    blocks.free_all();
    stop();
    for stack in collapsed(&snapshot(), Measure::AllocObjects).into_keys() {
        let ours = ["poolmalloc::", "__rust_alloc", "gimli::", "addr2line::", "prost::", "flate2::"];
        assert!(!ours.iter().any(|name| stack.contains(name)), "{stack}");
    }
}

/// The profiler and the leak finder work together. A sampled block that nothing leads to is a leak, together with the
/// block that it points to. A sampled block that is held is no leak.
fn with_the_leak_finder() {
    #[inline(never)]
    fn far_below<T>(depth: usize, body: impl FnOnce() -> T) -> T {
        let room = black_box([0_u8; 4096]);
        let result = if depth > 0 { far_below(depth - 1, body) } else { body() };
        black_box(&room);
        result
    }
    far_below(16, || std::mem::forget(black_box(Box::new(Box::new([7_u8; 48])))));
    let held = Box::new([1_u64; 5]);
    let report = leaks::find().expect("a report");
    assert_eq!((report.direct.blocks, report.indirect.blocks), (1, 1), "{report}");
    drop(black_box(held));
    check_heap().expect("a valid heap");
}

/// The content of a profile's file, as an independent decoder reads it.
struct Decoded {
    texts: Vec<String>,
    /// Names of the values, and their units.
    types: Vec<(String, String)>,
    /// Functions of each sample, the innermost first, and its values.
    samples: Vec<(Vec<String>, Vec<i64>)>,
    /// File and build id of each mapping.
    mappings: Vec<(String, String)>,
    period: i64,
}

/// The fields of a message: the values of each field number, in their order.
#[derive(Default)]
struct Fields {
    numbers: BTreeMap<u32, Vec<u64>>,
    bytes: BTreeMap<u32, Vec<Vec<u8>>>,
}

impl Fields {
    fn of(message: &[u8]) -> Self {
        let message = Empty::parse_from_bytes(message).expect("a message");
        let mut fields = Self::default();
        for (number, value) in message.special_fields.unknown_fields().iter() {
            match value {
                UnknownValueRef::Varint(value) => fields.numbers.entry(number).or_default().push(value),
                UnknownValueRef::LengthDelimited(value) => {
                    fields.bytes.entry(number).or_default().push(value.to_vec());
                }
                _ => panic!("field {number} of a type that pprof has not"),
            }
        }
        fields
    }

    fn number(&self, field: u32) -> u64 {
        self.numbers.get(&field).map_or(0, |numbers| numbers[0])
    }

    fn messages(&self, field: u32) -> impl Iterator<Item = Self> {
        self.bytes.get(&field).into_iter().flatten().map(|bytes| Self::of(bytes))
    }

    /// Returns the values of a repeated field that is in packed form.
    fn packed(&self, field: u32) -> Vec<u64> {
        let mut numbers = Vec::new();
        for bytes in self.bytes.get(&field).into_iter().flatten() {
            let mut stream = CodedInputStream::from_bytes(bytes);
            while !stream.eof().expect("bytes") {
                numbers.push(stream.read_raw_varint64().expect("a number"));
            }
        }
        numbers
    }
}

fn decoded(file: &[u8]) -> Decoded {
    let mut message = Vec::new();
    GzDecoder::new(file).read_to_end(&mut message).expect("gzip");
    let fields = Fields::of(&message);
    let texts: Vec<String> =
        fields.bytes[&6].iter().map(|text| String::from_utf8(text.clone()).expect("UTF-8")).collect();
    assert_eq!(texts[0], "");
    let text = |place: u64| texts[place as usize].clone();
    let functions: BTreeMap<u64, String> =
        fields.messages(5).map(|function| (function.number(1), text(function.number(2)))).collect();
    let mappings: BTreeMap<u64, Fields> = fields.messages(3).map(|mapping| (mapping.number(1), mapping)).collect();
    let mut lines = BTreeMap::new();
    for location in fields.messages(4) {
        if let Some(mapping) = mappings.get(&location.number(2)) {
            let address = location.number(3);
            assert!(mapping.number(2) <= address && address < mapping.number(3), "{address:#x}");
        }
        let names: Vec<_> = location.messages(4).map(|line| functions[&line.number(1)].clone()).collect();
        assert!(lines.insert(location.number(1), names).is_none());
    }
    let samples = fields.messages(2).map(|sample| {
        let names = sample.packed(1).iter().flat_map(|id| lines[id].clone()).collect();
        (names, sample.packed(2).into_iter().map(|value| value as i64).collect())
    });
    Decoded {
        samples: samples.collect(),
        types: fields.messages(1).map(|each| (text(each.number(1)), text(each.number(2)))).collect(),
        mappings: mappings.values().map(|each| (text(each.number(5)), text(each.number(6)))).collect(),
        period: fields.number(12) as i64,
        texts,
    }
}

/// Whether a frame is of this function of the test. In an optimized build the names of inlined functions are short.
fn is_named(frame: &str, name: &str) -> bool {
    frame.strip_suffix(name).is_some_and(|before| before.is_empty() || before.ends_with("::"))
}

/// Both kinds of file say the same.
fn files() {
    start(300);
    let mut blocks = Blocks::room(100, 5000);
    planted_here(&mut blocks);
    let mut others = Blocks::room(2000, 500);
    planted_other(&mut others);
    others.free_all();
    stop();
    let profile = snapshot();
    let mut file = Vec::new();
    profile.write_pprof(&mut file).expect("writing to memory");
    let decoded = decoded(&file);
    let types =
        [("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes")];
    assert_eq!(decoded.types, types.map(|(name, unit)| (name.to_owned(), unit.to_owned())));
    assert_eq!(decoded.period, 300);
    let me = std::env::current_exe().expect("the path of this binary");
    let (_, build_id) = decoded.mappings.iter().find(|(file, _)| *file == me.to_string_lossy()).expect("this binary");
    assert!(build_id.len() % 2 == 0 && build_id.bytes().all(|digit| digit.is_ascii_hexdigit()), "{build_id}");
    assert!(decoded.mappings.iter().any(|(_, id)| id.len() >= 16), "{:?}", decoded.mappings);
    // Without debug information no file of this program is known.
    let knows = |file: &str| decoded.texts.iter().any(|text| text.ends_with(file));
    assert_eq!(knows("tests/profile/with_feature.rs"), knows(".rs"), "{:?}", decoded.texts);
    for (number, measure) in MEASURES.into_iter().enumerate() {
        let mut stacks: BTreeMap<String, u64> = BTreeMap::new();
        for (names, values) in decoded.samples.iter().filter(|(_, values)| values[number] > 0) {
            let names: Vec<_> = names.iter().rev().map(|name| name.replace(';', ":")).collect();
            *stacks.entry(names.join(";")).or_default() += values[number] as u64;
        }
        assert_eq!(stacks, collapsed(&profile, measure));
        assert_eq!(stacks.values().sum::<u64>(), sum(&profile)[number]);
    }
    let [objects, space, live, live_space] = figures_of(&profile, "planted_other");
    assert!(objects > 0 && space > 0 && (live, live_space) == (0, 0));
    // The planted function is the innermost, except for functions of the standard library.
    let stacks = collapsed(&profile, Measure::InuseSpace);
    let stack = stacks.keys().find(|stack| has(stack, "planted_here")).expect("the planted function");
    let frames: Vec<_> = stack.split(';').collect();
    let place = frames.iter().position(|frame| is_named(frame, "planted_here")).expect("it is there");
    assert!(frames[..place].iter().any(|frame| is_named(frame, "files")), "{stack}");
    // Short names do not say which crate a function is of.
    let is_full = cfg!(debug_assertions);
    let is_std = |frame: &&str| frame.starts_with("alloc::") || !is_full;
    assert!(frames[place + 1..].iter().all(is_std), "{:?}", &frames[place..]);
    blocks.free_all();
}

/// The roles of children, and their programs.
const ROLES: &[(&str, fn())] = &[
    ("estimates", estimates),
    ("threads", threads),
    ("reallocations", reallocations),
    ("reallocations_out_of_pools", reallocations_out_of_pools),
    ("reallocations_within_a_class", reallocations_within_a_class),
    ("under_load", under_load),
    ("fork", fork),
    ("fork_under_load", fork_under_load),
    ("exhausted_memory", exhausted_memory),
    ("start_and_stop", start_and_stop),
    ("with_a_watch", with_a_watch),
    ("own_requests", own_requests),
    ("files", files),
];

/// The roles of children that are sampled from their first request on, with their `POOLMALLOC` and their programs.
const SAMPLED: &[(&str, &str, fn())] = &[
    ("every_request", "sample=1", every_request),
    ("with_the_leak_finder", "sample=1", with_the_leak_finder),
    ("with_the_armed_leak_finder", "leaks,sample=1", with_the_leak_finder),
    ("soak", "sample=1000", soaked),
    ("soak_of_samples", "sample=1", soaked),
    ("threads_of_the_backend", "malloc,sample=1000", threads),
];

/// Threads hand blocks round and end. At each quiet point the heap is valid, and the live figures are at most those of
/// all allocations.
fn soaked() {
    let mut points = 0;
    let steps = scaled(20_000, 10);
    soak::run::<PoolMalloc>(Soak { workers: 4, steps, life: steps, seed: 1 }, |_| {
        check_heap().expect("a valid heap");
        let now = sum(&snapshot());
        assert!(now[2] <= now[0] && now[3] <= now[1], "{now:?}");
        points += 1;
        if points < 5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
}

/// Holds blocks until the end of the process, for the file that is written then.
fn hold_and_end() {
    let mut blocks = Blocks::room(1000, 1000);
    planted_here(&mut blocks);
    std::mem::forget(blocks);
}

fn end_with(settings: &[(&str, &str)]) -> String {
    let mut child = command("hold_and_end");
    child.env_remove("POOLMALLOC").env_remove("POOLMALLOC_PROFILE").envs(settings.iter().copied());
    let output = child.output().expect("starting the child");
    assert!(output.status.success() && output.stdout.is_empty(), "{}", told(&output));
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn at_exit() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("profiles-{}", std::process::id()));
    fs::create_dir(&folder).expect("a new folder");
    let path = |name: &str| folder.join(name).to_str().expect("UTF-8").to_owned();
    assert_eq!(end_with(&[("POOLMALLOC", "sample=1"), ("POOLMALLOC_PROFILE", &path("a.%p.pb.gz"))]), "");
    let files: Vec<_> = fs::read_dir(&folder).expect("the folder").map(|file| file.expect("a file").path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let name = file.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    let number = name.strip_prefix("a.").and_then(|name| name.strip_suffix(".pb.gz")).expect("the name");
    assert!(number.parse::<u32>().is_ok(), "{name}");
    let decoded = decoded(&fs::read(file).expect("the file"));
    let planted = decoded.samples.iter().filter(|(names, _)| names.iter().any(|name| is_named(name, "planted_here")));
    let values = planted.map(|(_, values)| values.clone()).next().expect("the planted function");
    assert_eq!((values, decoded.period), (vec![1000, 1_000_000, 1000, 1_000_000], 1));
    assert_eq!(end_with(&[("POOLMALLOC", "sample=1"), ("POOLMALLOC_PROFILE", &path("b.folded"))]), "");
    let folded = fs::read_to_string(path("b.folded")).expect("the file");
    assert!(folded.lines().any(|line| line.contains("planted_here") && line.ends_with(" 1000000")), "{folded}");
    // Without a mean in `POOLMALLOC` the mean is 512 KiB.
    assert_eq!(end_with(&[("POOLMALLOC_PROFILE", &path("c.pb.gz"))]), "");
    assert_eq!(self::decoded(&fs::read(path("c.pb.gz")).expect("the file")).period, 512 * 1024);
    // In debug mode there is a warning and no file.
    let said = end_with(&[("POOLMALLOC", "debug,sample=1"), ("POOLMALLOC_PROFILE", &path("d.folded"))]);
    assert!(said.lines().count() == 1 && said.contains("in debug mode"), "{said}");
    assert!(!folder.join("d.folded").exists());
    // These settings print nothing, or one warning.
    let is_one = |said: &str, word: &str| said.lines().count() == 1 && said.contains(word);
    assert_eq!(end_with(&[("POOLMALLOC_PROFILE", "")]), "");
    assert_eq!(end_with(&[("POOLMALLOC", "sample=1000")]), "");
    let said = end_with(&[("POOLMALLOC_PROFILE", &path("no/such/folder"))]);
    assert!(is_one(&said, "cannot be written"), "{said}");
    for value in ["sample=0", "sample=x", "sample"] {
        let said = end_with(&[("POOLMALLOC", value)]);
        assert!(is_one(&said, "sample=BYTES"), "{said}");
    }
    fs::remove_dir_all(folder).expect("the folder");
}

fn run_child(role: &str) {
    if let Some((_, body)) = ROLES.iter().find(|(name, _)| *name == role) {
        return body();
    }
    match SAMPLED.iter().find(|(name, ..)| *name == role) {
        Some((.., body)) => body(),
        None => hold_and_end(),
    }
}

pub(super) fn main() {
    if let Some(role) = role() {
        return run_child(&role);
    }
    let child = |name: &'static str, value: Option<&'static str>| {
        Test::new(name, move || {
            let mut child: Command = command(name);
            child.env_remove("POOLMALLOC").envs(value.map(|value| ("POOLMALLOC", value)));
            succeed(&mut child);
        })
    };
    let children = ROLES.iter().map(|(name, _)| child(name, None));
    let sampled = SAMPLED.iter().map(|(name, value, _)| child(name, Some(value)));
    poolmalloc_support::run(children.chain(sampled).chain(tests![at_exit]).collect());
}
