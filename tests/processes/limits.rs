//! Memory limits: when memory ends, requests get null and nothing is lost. Work goes on when there is memory again.
//!
//! Children run under a limit, allocate until they get null, and go on. Under `RLIMIT_AS` the region is small or
//! refused, and the backend fails. Under `RLIMIT_DATA` the region is there, but opening it fails. One child sets its
//! limit before its first request, so that the region is refused for certain and the backend serves everything. One
//! child lowers its limit while it runs.
//!
//! To see it fail: abort where the reservation or the opening of an arena fails; do not fall back to the backend; free
//! by size instead of address; free the old block before a failed `realloc` is noticed; take an arena for open though
//! its opening failed.
//!
//! `cargo test --test processes limits::`

use std::alloc::alloc_zeroed;
use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::{fmt, io, thread};

use poolmalloc::stats;

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::chain::Chain;
use poolmalloc_support::oracle::{
    CLASSES, assert_nothing_left, block_bytes, consistent_stats, large_bytes, live, mode, start_a_thread,
};
use poolmalloc_support::process::{role_before_main, say, succeed};
use poolmalloc_support::{Test, command, tests};

/// Role of the child whose region is refused.
const REFUSED: &str = "refused";
/// Role of the child that lowers its limit while it runs.
const LOWERED: &str = "lowered";

/// Largest limit, in bytes, under which a child uses up its memory with small blocks too. Under a larger limit this
/// takes long and shows nothing new.
const FULLY_USED: usize = 64 << 20;

#[derive(Clone, Copy)]
enum Limited {
    AddressSpace,
    Data,
}

/// Sets the soft limit. Leaves the hard limit infinite, so that the soft one can be raised again. Async-signal-safe.
fn set_soft_limit(limited: Limited, bytes: libc::rlim_t) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    let result = match limited {
        // SAFETY: `limit` is readable.
        Limited::AddressSpace => unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) },
        // SAFETY: `limit` is readable.
        Limited::Data => unsafe { libc::setrlimit(libc::RLIMIT_DATA, &raw const limit) },
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Panics. Lifts the limits first, since a panic allocates.
fn give_up(message: fmt::Arguments<'_>) -> ! {
    for limited in [Limited::AddressSpace, Limited::Data] {
        set_soft_limit(limited, libc::RLIM_INFINITY).expect("raising the limit");
    }
    panic!("{message}");
}

/// All that a limited child holds.
struct Hoard {
    /// One block of every class and eight larger ones, to be resized.
    victims: [Block; CLASSES + 8],
    large: Chain,
    medium: Chain,
    small: Chain,
}

impl Hoard {
    fn new() -> Self {
        let victim = |i| {
            if i < CLASSES { block_bytes(i) } else { 300 << (i - CLASSES) }
        };
        Self {
            victims: std::array::from_fn(|i| Block::new(layout(victim(i), 8), i)),
            large: Chain::new(1 << 20),
            medium: Chain::new(4000),
            small: Chain::new(200),
        }
    }

    fn chains(&mut self) -> [&mut Chain; 3] {
        [&mut self.large, &mut self.medium, &mut self.small]
    }

    /// Uses up `bytes` of memory. Small blocks use up the rest only if `bytes` is at most [`FULLY_USED`]. Nothing else
    /// may allocate here: a request that fails would abort.
    fn use_up(&mut self, bytes: usize) {
        let is_fully_used = bytes <= FULLY_USED;
        for chain in self.chains() {
            let most = bytes / chain.layout().size() + 1;
            let is_small = chain.layout().size() < 256;
            let is_refused = chain.grow(if is_fully_used || !is_small { most } else { 50_000 });
            if !is_refused && (is_fully_used || !is_small) {
                give_up(format_args!("{} of {:?} in {bytes} bytes", chain.count(), chain.layout()));
            }
        }
        for victim in &mut self.victims {
            if victim.try_resize(64 << 20) {
                give_up(format_args!("64 MiB for {victim:?} in {bytes} bytes"));
            }
        }
        // After these failures the backend may have joined fragments into a few larger ones. But there are fewer such
        // larger fragments than victims, so at least one victim must be refused.
        let smaller = self.victims.iter_mut().filter(|victim| victim.layout().size() < 193);
        let refused = smaller.map(|victim| !victim.try_resize(200)).filter(|is_refused| *is_refused).count();
        if is_fully_used && refused == 0 {
            give_up(format_args!("200 bytes for each victim in {bytes} bytes, when there were none"));
        }
        // SAFETY: the size is not zero.
        let zeroed = black_box(unsafe { alloc_zeroed(self.large.layout()) });
        if !zeroed.is_null() {
            give_up(format_args!("1 MiB of zeroes in {bytes} bytes, when there were none"));
        }
    }

    fn free_chains(&mut self) {
        self.chains().into_iter().for_each(Chain::free);
    }

    fn free(mut self) {
        self.free_chains();
        self.victims.into_iter().for_each(Block::free);
    }
}

/// Uses up the memory twice. Blocks are freed after the first time, and the limit is raised after the second: then work
/// goes on.
fn work_to_exhaustion(limited: Limited, bytes: usize) {
    start_a_thread();
    let before = consistent_stats();
    if matches!(limited, Limited::AddressSpace) {
        assert_fair(before.region.reserved_bytes as usize, bytes);
    }
    let mut hoard = Hoard::new();
    hoard.use_up(bytes);
    consistent_stats();
    let had = hoard.chains().map(|chain| chain.count());
    hoard.free_chains();
    // Large blocks are not requested here: pools, and fragments of the backend, may keep the memory that large blocks
    // would need.
    let [_, medium, small] = had;
    for (chain, had) in [(&mut hoard.medium, medium), (&mut hoard.small, small)] {
        if chain.grow(100.min(had / 2)) {
            give_up(format_args!("{:?} after all was freed", chain.layout()));
        }
    }
    hoard.use_up(bytes);
    work_after_raising(limited, &mut hoard);
    hoard.free();
    assert_eq!(live(&consistent_stats()), live(&before));
}

/// Fails unless the region is at most a quarter of the limit, since the program needs addresses too. If the limit is 32
/// MiB or more, the region must also be at least a tenth of it.
fn assert_fair(region: usize, limit: usize) {
    assert!(region * 4 <= limit, "a region of {region} bytes in {limit}");
    assert!(region * 10 >= limit || limit < 32 << 20, "a region of {region} bytes in {limit}");
}

/// Lowers the limit when the region is there: the backend has no more memory, and the pools go on.
fn work_while_lowered() {
    let before = consistent_stats();
    for more in [0, 1 << 20, 64 << 20] {
        let mut hoard = Hoard::new();
        set_soft_limit(Limited::AddressSpace, address_space_in_use() + more).expect("setting the limit");
        if !hoard.large.grow(1000) || !hoard.medium.grow(200_000) {
            give_up(format_args!("no null with {more} bytes more"));
        }
        let from_pools = stats().small.allocations;
        if hoard.small.grow(50_000) || stats().small.allocations != from_pools + 50_000 {
            give_up(format_args!("no blocks of the pools, whose addresses are reserved, with {more} bytes more"));
        }
        for victim in &mut hoard.victims {
            if victim.try_resize(128 << 20) {
                give_up(format_args!("128 MiB for {victim:?} with {more} bytes more"));
            }
        }
        consistent_stats();
        hoard.medium.free_to(100);
        work_after_raising(Limited::AddressSpace, &mut hoard);
        hoard.free();
        assert_eq!(live(&consistent_stats()), live(&before));
    }
}

/// Raises the limit, and fails unless every request that failed succeeds now.
fn work_after_raising(limited: Limited, hoard: &mut Hoard) {
    set_soft_limit(limited, libc::RLIM_INFINITY).expect("raising the limit");
    for chain in hoard.chains() {
        assert!(!chain.grow(100), "{:?} without a limit", chain.layout());
    }
    for victim in &mut hoard.victims {
        let size = victim.layout().size();
        victim.resize(1 << 20);
        victim.resize(200);
        victim.resize(size);
    }
    assert_nothing_left(|| {
        let blocks = (0..10_000).map(|i| Block::new(layout(1 + i % 300, 8), i)).collect::<Vec<_>>();
        thread::spawn(move || blocks.into_iter().for_each(Block::free)).join().expect("a thread without a limit");
    });
}

/// Works without a region: the backend serves and frees every block, and the statistics count them as large blocks.
fn work_without_region() {
    // The limit is lifted for the start of a thread, which needs more memory than the limit leaves. The region, refused
    // once, stays refused.
    set_soft_limit(Limited::AddressSpace, libc::RLIM_INFINITY).expect("raising the limit");
    start_a_thread();
    leave_one_mib();
    assert_no_pools();
    let before = consistent_stats();
    for align in [1, 8, 64, 256, 4096] {
        for class in 0..CLASSES {
            let layout = layout(block_bytes(class), align);
            let (mut block, zeroed) = (Block::new(layout, class), Block::zeroed(layout, class));
            let during = stats().large;
            assert_eq!(during.live_blocks, before.large.live_blocks + 2, "{layout:?}");
            assert_eq!(during.live_bytes, before.large.live_bytes + 2 * large_bytes(layout), "{layout:?}");
            for size in [1, 256, 257, 1000, 16, 200] {
                block.resize(size);
                assert_eq!(
                    stats().large.live_bytes,
                    during.live_bytes - large_bytes(layout) + large_bytes(block.layout()),
                    "{layout:?}"
                );
            }
            // In debug mode each `realloc` is an allocation and a free.
            let resized = if mode::is_debug() { 0 } else { 6 };
            assert_eq!(stats().large.reallocations, during.reallocations + resized, "{layout:?}");
            block.free();
            zeroed.free();
        }
    }
    let after = consistent_stats();
    assert_eq!(live(&after), live(&before));
    let blocks = after.large.allocations - before.large.allocations;
    let each = if mode::is_debug() { 8 } else { 2 };
    assert_eq!(blocks, each * 5 * CLASSES as u64);

    let mut hoard = Hoard::new();
    hoard.use_up(FULLY_USED);
    assert_no_pools();
    work_after_raising(Limited::AddressSpace, &mut hoard);
    hoard.free();
    assert_eq!(live(&consistent_stats()), live(&before));
}

fn assert_no_pools() {
    let stats = consistent_stats();
    assert_eq!(stats.region.reserved_bytes, 0, "{:?}", stats.region);
    assert_eq!((stats.arenas.open, stats.small.allocations), (0, 0));
    assert!(stats.large.allocations > 0);
}

/// Constructor that leaves the refused child one more MiB, before `main` and before its first request. That is less
/// than any region needs, and enough for the backend.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn limit_the_refused_child() {
        if role_before_main(module_path!()) == Some(REFUSED) {
            let bytes = address_space_in_use() + (1 << 20);
            set_soft_limit(Limited::AddressSpace, bytes).expect("setting the limit");
        }
    }
    limit_the_refused_child
};

fn leave_one_mib() {
    let bytes = address_space_in_use() + (1 << 20);
    set_soft_limit(Limited::AddressSpace, bytes).expect("setting the limit");
}

/// Bytes of address space that this process has mapped. Read without a request to the allocator.
fn address_space_in_use() -> libc::rlim_t {
    let mut text = [0_u8; 128];
    // SAFETY: the path ends in a zero byte.
    let file = unsafe { libc::open(c"/proc/self/statm".as_ptr(), libc::O_RDONLY) };
    assert!(file >= 0, "opening /proc/self/statm");
    // SAFETY: the buffer is writable for its length.
    let length = unsafe { libc::read(file, text.as_mut_ptr().cast(), text.len()) };
    // SAFETY: the descriptor is open and this function's own.
    unsafe { libc::close(file) };
    let length = usize::try_from(length).expect("reading /proc/self/statm");
    let text = std::str::from_utf8(&text[..length]).expect("ASCII");
    let pages: libc::rlim_t = text.split(' ').next().and_then(|pages| pages.parse().ok()).expect("a number of pages");
    // SAFETY: no preconditions.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * page_bytes as libc::rlim_t
}

/// Runs a child. The role of a limited child is `as` or `data`, and its limit in bytes.
pub(crate) fn child(role: &str) {
    if role == REFUSED {
        work_without_region();
    } else if role == LOWERED {
        work_while_lowered();
    } else {
        let (limited, bytes) = role.split_once(' ').expect("two words");
        let limited = if limited == "as" { Limited::AddressSpace } else { Limited::Data };
        work_to_exhaustion(limited, bytes.parse().expect("a number of bytes"));
    }
    say("done\n");
}

fn assert_survives(limited: Limited, mib: usize) {
    let bytes = mib << 20;
    let name = match limited {
        Limited::AddressSpace => "as",
        Limited::Data => "data",
    };
    let mut child = command!(&format!("{name} {bytes}"));
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { child.pre_exec(move || set_soft_limit(limited, bytes as libc::rlim_t)) };
    assert_eq!(succeed(&mut child), "done\n");
}

/// Limits the address space.
fn address_space_limit() {
    // In debug mode the quarantine may hold 8 MiB. A request of the C library cannot get them back, and the C library
    // ends the process when its own request fails.
    let least = if mode::is_debug() { 24 } else { 8 };
    for mib in [8, 12, 16, 24, 32, 64, 128, 256, 512, 1024, 2048, 4096].into_iter().filter(|mib| *mib >= least) {
        assert_survives(Limited::AddressSpace, mib);
    }
}

/// Limits the bytes that may be written. The reservation succeeds, and arenas can be opened for a while.
fn data_limit() {
    for mib in [16, 48, 512] {
        assert_survives(Limited::Data, mib);
    }
}

fn refused_region() {
    assert_eq!(succeed(&mut command!(REFUSED)), "done\n");
}

fn lowered_limit() {
    assert_eq!(succeed(&mut command!(LOWERED)), "done\n");
}

pub(crate) fn tests() -> Vec<Test> {
    if cfg!(target_os = "linux") {
        tests![address_space_limit, lowered_limit, data_limit, refused_region]
    } else {
        vec![]
    }
}
