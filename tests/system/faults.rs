//! The library survives calls that the system refuses: any single call, all calls from one on, or every n-th call.
//!
//! A fixed program makes every kind of call. It starts; opens arenas in growing steps; opens magazines and heaps; has
//! threads that free each other's blocks and end; has late destructors; gives memory back; and forks. The calls of each
//! kind are numbered in the order in which the program makes them. The program runs once for each kind, each number and
//! each way to refuse, in a process of its own.
//!
//! After a refusal the backend may serve requests, and a request may get null if the backend has no memory either.
//! Nothing else may change: contents, counts and lists are exact at each quiet point, and everything works again when
//! the system relents.
//!
//! To see it fail: take an arena for open though the system refused; abort where a call fails; keep the reservation
//! when there is no memory for the first heap; leave a thread without a heap for ever because its key could not be set
//! once.
//!
//! `cargo test --test system faults::`; with `-- --nocapture` it prints how many calls were refused, and with which
//! results.

use std::alloc::Layout;
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::{panic, ptr};

use poolmalloc::{release_unused, stats};

use crate::simulated::{self, Call, Plan, When};
use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::chain::Chain;
use poolmalloc_support::oracle::{CLASSES, block_bytes, class_of, consistent_stats, mode};
use poolmalloc_support::process::{role_before_main, say, succeed};
use poolmalloc_support::{Test, command, raw_thread, scaled};

/// Largest number of blocks in a list.
const MOST: usize = 3000;
/// The blocks of the program, in lists that need no memory from the heap.
static LISTS: [Mutex<List>; 3] = [const { Mutex::new(List { blocks: [const { None }; MOST], count: 0 }) }; 3];
/// Number of requests that got null.
static NULLS: AtomicUsize = AtomicUsize::new(0);

struct List {
    blocks: [Option<Block>; MOST],
    count: usize,
}

fn with_list<R>(list: usize, body: impl FnOnce(&mut List) -> R) -> R {
    body(&mut LISTS[list].lock().expect("no panic while it was held"))
}

/// Requests `count` blocks: of all classes, and some large ones.
fn grow(list: usize, count: usize) {
    with_list(list, |list| {
        for number in 0..count {
            // All sizes are multiples of 8, so pools and the backend count the same number of live bytes.
            match Block::try_new(layout(8 * (1 + number % (CLASSES + 4)), 8), number) {
                Some(block) => {
                    list.blocks[list.count] = Some(block);
                    list.count += 1;
                }
                None => count_null(),
            }
        }
    });
}

fn count_null() {
    NULLS.fetch_add(1, Ordering::Relaxed);
}

/// Resizes every `step`-th block, across classes and the limit of small blocks.
fn resize(list: usize, step: usize) {
    with_list(list, |list| {
        for block in list.blocks[..list.count].iter_mut().flatten().step_by(step) {
            if !block.try_resize(8 * (1 + block.seed() % 40)) {
                count_null();
            }
        }
    });
}

/// Checks all blocks, and frees every `step`-th of them.
fn free(list: usize, step: usize) {
    with_list(list, |list| {
        let mut kept = 0;
        for number in 0..list.count {
            let block = list.blocks[number].take().expect("a block in each place");
            if number % step == 0 {
                block.free();
            } else {
                block.check();
                list.blocks[kept] = Some(block);
                kept += 1;
            }
        }
        list.count = kept;
    });
}

/// Returns the live bytes of a block of this layout. They are the same in a pool and with the backend, since no size
/// here needs rounding.
fn served(layout: Layout) -> usize {
    mode::served(layout).size()
}

/// Fails unless the statistics count exactly the blocks in the lists and the chains.
fn assert_exact(chains: &[&Chain]) {
    let (mut blocks, mut bytes) = (0, 0);
    for list in 0..LISTS.len() {
        with_list(list, |list| {
            blocks += list.count;
            bytes += list.blocks[..list.count].iter().flatten().map(|block| served(block.layout())).sum::<usize>();
        });
    }
    for chain in chains {
        blocks += chain.count();
        bytes += chain.count() * served(chain.layout());
    }
    let stats = consistent_stats();
    assert_eq!(stats.small.live_blocks + stats.large.live_blocks, blocks as u64, "{stats:?}");
    assert_eq!(stats.small.live_bytes + stats.large.live_bytes, bytes as u64, "{stats:?}");
}

/// Destructor that allocates and frees in each round that the system grants, also after the thread has given its heap
/// back.
unsafe extern "C" fn late(round: *mut c_void) {
    let round = round.addr();
    grow(1, 50);
    free(0, 50);
    arm_late(round + 1);
}

fn arm_late(round: usize) {
    static KEY: AtomicUsize = AtomicUsize::new(usize::MAX);
    if KEY.load(Ordering::Relaxed) == usize::MAX {
        let mut key = 0;
        // SAFETY: `key` is writable and the destructor has the type that is asked for.
        assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(late)) }, 0);
        KEY.store(key as usize, Ordering::Relaxed);
    }
    let key = KEY.load(Ordering::Relaxed) as libc::pthread_key_t;
    // SAFETY: the key was made above and is never deleted. The value is never followed.
    assert_eq!(unsafe { libc::pthread_setspecific(key, ptr::without_provenance(round)) }, 0);
}

/// The fixed program. One thread runs at a time, so that each run makes the same calls.
fn program() {
    grow(0, 600);
    assert_exact(&[]);
    simulated::inside(release_unused);
    // A thread that leaves blocks. It allocates the last of them after it has given its heap back.
    raw_thread::run(1, &|_| {
        arm_late(1);
        grow(1, 1500);
        resize(1, 7);
        free(1, 3);
        free(0, 5);
    });
    assert_exact(&[]);
    free(1, 2);
    // Three threads have heaps at the same time, and free each other's blocks.
    raw_thread::run(1, &|_| {
        grow(1, 300);
        raw_thread::run(1, &|_| {
            grow(2, 1000);
            free(1, 2);
        });
        free(2, 3);
        grow(1, 300);
    });
    free(2, 2);
    grow(0, 600);
    assert_exact(&[]);
    // More arenas than the first steps open, so longer steps follow. Then arenas go to another thread.
    let mut chain = Chain::new(256);
    if chain.grow(scaled(80_000, 8)) {
        count_null();
    }
    assert_exact(&[&chain]);
    chain.free_to(1000);
    assert_exact(&[&chain]);
    raw_thread::run(1, &|_| {
        let mut chain = Chain::new(104);
        if chain.grow(scaled(10_000, 8)) {
            count_null();
        }
        chain.free();
    });
    fork();
    chain.free();
    assert_exact(&[]);
}

/// Forks a child that goes on working, with blocks of all earlier threads.
fn fork() {
    // SAFETY: the child only uses the allocator, which is what this tests, and ends by `_exit`.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            grow(0, 200);
            raw_thread::run(1, &|_| grow(1, 200));
            (0..LISTS.len()).for_each(|list| free(list, 1));
            // SAFETY: no preconditions. The child runs none of the parent's exit handlers.
            unsafe { libc::_exit(0) }
        }
        child => assert_eq!(wait_for(child), 0, "the child of a fork"),
    }
}

fn wait_for(child: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is writable.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(ended, child, "waitpid");
    status
}

/// Fails unless everything works when the system refuses no more. Every request must be served, by pools if there is a
/// region. Each thread must get a heap if the library has its thread-exit key. Frees everything at the end.
fn work_again(plan: Plan) {
    const REQUESTS: usize = 2 * (CLASSES + 4);
    // In debug mode the backend serves the largest small sizes.
    let is_small = |class: &usize| class_of(layout(block_bytes(*class), 8)).is_some();
    let small = 2 * (0..CLASSES).filter(is_small).count() as u64;
    NULLS.store(0, Ordering::Relaxed);
    let has_region = stats().region.reserved_bytes > 0;
    // After a refusal the library asks the system again at its 64th request for memory at the latest.
    grow(2, 64 * (CLASSES + 4));
    free(2, 1);
    let serves = |list| {
        let before = consistent_stats();
        grow(list, REQUESTS);
        let after = consistent_stats();
        let from_pools = after.small.allocations - before.small.allocations;
        assert_eq!(from_pools, if has_region { small } else { 0 }, "{plan:?}: {after:?}");
        assert_eq!(NULLS.load(Ordering::Relaxed), 0, "{plan:?}");
    };
    serves(0);
    raw_thread::run(1, &|_| serves(1));
    (0..LISTS.len()).for_each(|list| free(list, 1));
    assert_exact(&[]);

    let has_key = !(plan.call.is_none_or(|call| call == Call::KeyCreate) && simulated::refused() > 0);
    let heaps = stats().heaps;
    assert!(!has_region || !has_key || heaps.in_use == 1, "{plan:?}: {heaps:?}");
    let may_lack_region = plan.call.is_none_or(|call| matches!(call, Call::Mmap | Call::Mprotect));
    assert!(has_region || may_lack_region, "{plan:?}: no region");
    let is_munmap_refused = plan.call.is_none_or(|call| call == Call::Munmap);
    if !has_region && !is_munmap_refused {
        // One page may stay, by which the library recognizes the child of a fork. In debug mode the tables of large and
        // of freed blocks may stay too.
        let reserved = simulated::reserved_bytes();
        let tables = if mode::is_debug() { 16 << 20 } else { 0 };
        assert!(
            reserved <= (1 << 16) + tables,
            "{plan:?}: without a region its addresses are given back, {reserved} bytes"
        );
    }
}

/// Figures of a run, in memory that it shares with the process that started it.
#[derive(Default)]
struct Findings {
    made: AtomicUsize,
    /// Number of calls that were refused.
    refused: AtomicU64,
    /// Number of requests that got null.
    nulls: AtomicU64,
    /// Number of small requests that pools served.
    from_pools: AtomicU64,
    has_region: AtomicUsize,
}

/// Runs the program under a plan, in a process of its own.
fn run_with(plan: Plan, findings: &Findings) {
    // SAFETY: this process has one thread, and has made no request.
    let child = unsafe { libc::fork() };
    if child != 0 {
        let status = wait_for(child);
        assert_eq!(status, 0, "{plan:?}: wait status {status:#x}");
        return;
    }
    simulated::follow(plan);
    program();
    simulated::relent();
    // The program makes far more requests than this bound, and the library must not ask the system at each of them. In
    // debug mode there is no bound: each freed block asks for a place in the quarantine.
    let is_asked_rarely =
        plan.call != Some(Call::Mprotect) || mode::is_debug() || simulated::refused() < scaled(12_000, 4);
    assert!(is_asked_rarely, "{plan:?}: the system was asked {} times in vain", simulated::refused());
    let stats = stats();
    findings.made.store(simulated::made(plan.call), Ordering::Relaxed);
    findings.refused.store(simulated::refused() as u64, Ordering::Relaxed);
    findings.nulls.store(NULLS.load(Ordering::Relaxed) as u64, Ordering::Relaxed);
    findings.from_pools.store(stats.small.allocations, Ordering::Relaxed);
    findings.has_region.store(usize::from(stats.region.reserved_bytes > 0), Ordering::Relaxed);
    work_again(plan);
    // SAFETY: no preconditions.
    unsafe { libc::_exit(0) }
}

/// Results for one kind of call. A point is one run under one plan. Each point counts in one of the last four fields:
/// some request got null; or else there was no region; or else the backend served blocks in place of pools; or else the
/// program noticed nothing.
#[derive(Default)]
struct Outcomes {
    points: u64,
    refused: u64,
    no_region: u64,
    null: u64,
    backend: u64,
    unnoticed: u64,
}

/// Runs the program at every point of one kind of call. Makes no request itself until the end, so that the library has
/// served nothing in a child when the child begins.
fn try_every_point(call: Option<Call>) {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANON;
    // SAFETY: a fresh mapping touches nothing that exists.
    let shared = unsafe { libc::mmap(ptr::null_mut(), size_of::<Findings>(), rights, flags, -1, 0) };
    assert_ne!(shared, libc::MAP_FAILED);
    // SAFETY: `Findings` may be all zero. The mapping is zero, large enough, aligned to a page, and stays for ever.
    let findings = unsafe { &*shared.cast::<Findings>() };
    run_with(Plan { call, when: When::Never }, findings);
    let (made, from_pools) = (findings.made.load(Ordering::Relaxed), findings.from_pools.load(Ordering::Relaxed));
    assert!(made > 0, "the program makes no such call: {call:?}");
    assert_eq!(findings.nulls.load(Ordering::Relaxed), 0);

    let mut outcomes = Outcomes::default();
    for number in 1..=made {
        // A plan for all kinds of calls together never refuses a single call only: the plans for each kind alone do
        // that already.
        let only = call.map(|_| When::Only(number));
        let others = [When::Every(number), When::From(number), When::FromWithBackend(number)];
        for when in only.into_iter().chain(others) {
            let plan = Plan { call, when };
            run_with(plan, findings);
            let refused = findings.refused.load(Ordering::Relaxed);
            assert!(refused > 0, "{plan:?}: not reached");
            outcomes.points += 1;
            outcomes.refused += refused;
            if findings.nulls.load(Ordering::Relaxed) > 0 {
                outcomes.null += 1;
            } else if findings.has_region.load(Ordering::Relaxed) == 0 {
                outcomes.no_region += 1;
            } else if findings.from_pools.load(Ordering::Relaxed) < from_pools {
                outcomes.backend += 1;
            } else {
                outcomes.unnoticed += 1;
            }
        }
    }
    let Outcomes { points, refused, no_region, null, backend, unnoticed } = outcomes;
    say(&format!(
        "{points:5} points, {refused:7} calls refused: {unnoticed:4} unnoticed, {backend:4} with blocks of the \
         backend, {no_region:3} without a region, {null:4} with null\n"
    ));
}

/// Constructor that runs a child. It runs before `main`, since the start of Rust's runtime makes the first request.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn run_child() {
        let Some(role) = role_before_main(module_path!()) else { return };
        // A closure that captures nothing takes no memory in a box.
        panic::set_hook(Box::new(|panic| {
            // The message may take memory.
            simulated::relent();
            eprintln!("{panic}");
            // SAFETY: no preconditions.
            unsafe { libc::_exit(101) }
        }));
        let call = Call::ALL.into_iter().find(|call| name(Some(*call)) == role);
        try_every_point(call);
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) }
    }
    run_child
};

fn name(call: Option<Call>) -> &'static str {
    match call {
        None => "any call",
        Some(Call::Mmap) => "mmap",
        Some(Call::Munmap) => "munmap",
        Some(Call::Mprotect) => "mprotect",
        Some(Call::Madvise) => "madvise",
        Some(Call::Mincore) => "mincore",
        Some(Call::Sysconf) => "sysconf",
        Some(Call::Getrlimit) => "getrlimit",
        Some(Call::KeyCreate) => "pthread_key_create",
        Some(Call::SetSpecific) => "pthread_setspecific",
    }
}

fn assert_survives(call: Option<Call>) {
    let told = succeed(&mut command!(name(call)));
    assert!(told.ends_with(" with null\n"), "{told:?}");
    if std::env::args().any(|argument| argument == "--nocapture") {
        say(&format!("{:>20}: {told}", name(call)));
    }
}

pub(crate) fn tests() -> Vec<Test> {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return vec![];
    }
    let test_of = |call| Test::new(name(call).replace(' ', "_"), move || assert_survives(call));
    Call::ALL.into_iter().map(Some).chain([None]).map(test_of).collect()
}
