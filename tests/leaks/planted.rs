//! The finder reports each planted leak, with its kind, and no block that is held. The program itself searches: alone,
//! and while other threads allocate, free and hand blocks round.
//!
//! Each plant runs in a child, so that the whole report is known. Addresses are kept as [`Address`], which the finder
//! does not take for a pointer.
//!
//! To see it fail: see the rows of `tests/mutants` for this file. Each leaves out one kind of root, one magazine,
//! or one step.
//!
//! `cargo test --test leaks planted::`

#![allow(clippy::vec_box, reason = "each box is a block that is planted")]

use std::arch::asm;
use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::hint::black_box;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::{ptr, thread};

use poolmalloc::leaks::{self, Address, Holder, LeakError, find};
use poolmalloc::{assert_no_leaks, check_heap};

use poolmalloc_plants::{
    ITEMS, Is, PLANTS, Planted, address, assert_reports, blocks_of_large_blocks, doubly_linked_list, far_below,
    forgotten_box, forgotten_nothing, leaked_box_in_a_static, rc_cycle_in_a_graph, weak_back_pointers,
};
use poolmalloc_support::process::{succeed, told};
use poolmalloc_support::{SetAtEnd, Test, command, scaled};

/// Calls `look` with the planted blocks while another thread holds them. That thread runs `hold`, which sends the
/// planted blocks and returns when the flag is set.
fn with_holder(
    hold: impl FnOnce(mpsc::Sender<Planted>, Arc<AtomicBool>) + Send + 'static,
    look: impl FnOnce(&Planted),
) {
    let (tell, told) = mpsc::channel();
    let is_over = Arc::new(AtomicBool::new(false));
    let holder = thread::spawn({
        let is_over = is_over.clone();
        move || hold(tell, is_over)
    });
    let planted = told.recv().expect("what is planted");
    look(&planted);
    is_over.store(true, Ordering::Relaxed);
    holder.join().expect("the holder");
}

fn wait(is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        thread::yield_now();
    }
}

fn held_by_another_stack() {
    let hold = |tell: mpsc::Sender<Planted>, is_over: Arc<AtomicBool>| {
        let held = Box::new([1_u64; 7]);
        tell.send(vec![(address(&*held), Is::Held)]).expect("telling");
        wait(&is_over);
        drop(black_box(held));
    };
    with_holder(hold, |planted| assert_reports(&find().expect("a report"), planted));
}

thread_local! {
    static PLAIN: Cell<usize> = const { Cell::new(0) };
    static OWNING: RefCell<Vec<Box<u64>>> = const { RefCell::new(Vec::new()) };
}

#[inline(never)]
fn fill_thread_locals() -> Planted {
    let plain = Box::new([1_u64; 10]);
    let mut planted = vec![(address(&*plain), Is::Held)];
    PLAIN.with(|place| black_box(place).set(Box::into_raw(plain).expose_provenance()));
    OWNING.with_borrow_mut(|owning| {
        owning.push(Box::new(1));
        planted.push((address(owning.as_ptr()), Is::Held));
        planted.push((address(&*owning[0]), Is::Held));
    });
    planted
}

fn held_by_thread_locals() {
    let own = fill_thread_locals();
    let hold = |tell: mpsc::Sender<Planted>, is_over: Arc<AtomicBool>| {
        tell.send(fill_thread_locals()).expect("telling");
        wait(&is_over);
    };
    with_holder(hold, |planted| {
        let all = [&own[..], planted].concat();
        assert_reports(&find().expect("a report"), &all);
    });
}

/// Spins with the pointer in a register, and clears the register at the end. Memory has only the complement of the
/// pointer.
#[inline(never)]
fn spin_with_register(hidden: usize, is_over: &AtomicBool) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the flag, and changes no register but its own.
    unsafe {
        asm!("not {0}", "2:", "pause", "cmp byte ptr [{1}], 0", "je 2b", "xor {0:e}, {0:e}",
            inout(reg) hidden => _, in(reg) is_over.as_ptr(), options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("mvn {0}, {0}", "2:", "yield", "ldrb {2:w}, [{1}]", "cbz {2:w}, 2b", "mov {0}, xzr",
            inout(reg) hidden => _, in(reg) is_over.as_ptr(), out(reg) _, options(nostack));
    }
}

#[inline(never)]
fn hidden_box() -> usize {
    !Box::into_raw(Box::new([1_u64; 11])).expose_provenance()
}

/// The complement of the pointer that the register holds.
static HIDDEN: AtomicUsize = AtomicUsize::new(0);

fn held_by_a_register() {
    let hold = |tell: mpsc::Sender<Planted>, is_over: Arc<AtomicBool>| {
        let hidden = hidden_box();
        HIDDEN.store(hidden, Ordering::Relaxed);
        tell.send(vec![(Address::from(!hidden), Is::Held)]).expect("telling");
        spin_with_register(hidden, &is_over);
    };
    with_holder(hold, |planted| {
        // Nothing holds the block until the thread has come to its loop. Only a search that finds no leak shows that
        // the thread has come to its loop.
        let is_there = || find().expect("a report").blocks.is_empty();
        let mut looks = 0;
        while !is_there() {
            looks += 1;
            assert!(looks < 1000, "it never holds it");
            thread::yield_now();
        }
        for _ in 0..100 {
            assert_reports(&find().expect("a report"), planted);
        }
    });
    // The register is clear now.
    let planted = vec![(Address::from(!HIDDEN.load(Ordering::Relaxed)), Is::Direct)];
    assert_reports(&find().expect("a report"), &planted);
}

#[inline(never)]
fn held_by_a_variable() {
    let held = Box::new([1_u64; 7]);
    let planted = vec![(address(&*held), Is::Held)];
    assert_reports(&find().expect("a report"), &planted);
    drop(black_box(held));
}

#[inline(never)]
fn plant_root(hidden: usize) {
    leaks::add_root(ptr::without_provenance::<u8>(!hidden + 8));
}

#[inline(never)]
fn remove_root(hidden: usize) -> bool {
    leaks::remove_root(ptr::without_provenance::<u8>(!hidden + 8))
}

fn registered_roots() {
    let hidden = hidden_box();
    let planted = |is| vec![(Address::from(!hidden), is)];
    assert_reports(&find().expect("a report"), &planted(Is::Direct));
    plant_root(hidden);
    plant_root(hidden);
    assert_reports(&find().expect("a report"), &planted(Is::Held));
    assert!(remove_root(hidden));
    assert_reports(&find().expect("a report"), &planted(Is::Held));
    assert!(remove_root(hidden));
    assert!(!remove_root(hidden));
    assert_reports(&find().expect("a report"), &planted(Is::Direct));
}

/// A report holds no block, so the same search can be repeated.
fn reports_hold_nothing() {
    let mut planted = far_below(forgotten_box);
    planted.extend(far_below(rc_cycle_in_a_graph));
    let reports: Vec<_> = (0..5).map(|_| find().expect("a report")).collect();
    reports.iter().for_each(|report| assert_reports(report, &planted));
    let texts: Vec<_> = reports.iter().map(|report| format!("{report:#}")).collect();
    assert!(texts.iter().all(|text| text.contains("is in cycle") || text.contains("in cycle 0")));
}

fn counts_of_cycles() {
    far_below(doubly_linked_list);
    let report = find().expect("a report");
    assert!(report.cycles[0].is_counted);
    let strong: Vec<_> = report.blocks.iter().map(|block| block.counts.map(|counts| counts.strong)).collect();
    assert_eq!(strong.iter().filter(|strong| **strong == Some(2)).count(), ITEMS - 2, "{report:#}");
    assert_eq!(strong.iter().filter(|strong| **strong == Some(1)).count(), 2);
    assert_eq!(report.groups.len(), 1);
    assert_eq!(report.groups[0].in_cycles, ITEMS as u64);
    let inner = report.blocks.iter().filter(|block| block.referrers.len() == 2 && block.referents.len() == 2);
    assert_eq!(inner.count(), ITEMS - 2);
}

fn counts_with_weak_pointers() {
    far_below(weak_back_pointers);
    let report = find().expect("a report");
    let counts: Vec<_> = report.blocks.iter().filter_map(|block| block.counts).collect();
    assert_eq!(counts.len(), 3, "{report:#}");
    assert_eq!(counts.iter().filter(|counts| counts.strong == 1 && counts.weak == 2).count(), 2);
}

/// Returns the kernel's number of the calling thread.
fn thread_number() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::gettid() }.unsigned_abs()
}

/// The report names a thread that blocks all signals. Blocks that the stack of this thread holds are no leaks.
fn thread_that_cannot_be_stopped() {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let hold = |tell: mpsc::Sender<Planted>, is_over: Arc<AtomicBool>| {
        // SAFETY: all zero is a set of signals.
        let mut all = unsafe { std::mem::zeroed::<libc::sigset_t>() };
        // SAFETY: room for a set.
        unsafe { libc::sigfillset(&raw mut all) };
        // SAFETY: a set; the old one is not asked for.
        assert_eq!(unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut()) }, 0);
        NUMBER.store(thread_number(), Ordering::Relaxed);
        let held = Box::new([1_u64; 7]);
        tell.send(vec![(address(&*held), Is::Held)]).expect("telling");
        wait(&is_over);
        drop(black_box(held));
    };
    with_holder(hold, |planted| {
        let report = find().expect("a report");
        assert_eq!(report.running_threads, [NUMBER.load(Ordering::Relaxed)]);
        assert!(report.to_string().contains("could not be stopped"), "{report}");
        assert_reports(&report, planted);
    });
    assert!(find().expect("a report").running_threads.is_empty());
}

extern "C" fn ignore(_: c_int) {}

fn signal_of_the_program() {
    let install = |signal| {
        // SAFETY: all zero is a legal action.
        let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
        action.sa_sigaction = ignore as *const () as usize;
        // SAFETY: the handler has the type that these flags ask for.
        assert_eq!(unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) }, 0);
    };
    let usual = libc::SIGRTMAX() - 2;
    install(usual);
    assert_eq!(find().err(), Some(LeakError::SignalInUse(usual)));
    leaks::use_signal(libc::SIGKILL);
    assert_eq!(find().err(), Some(LeakError::SignalInUse(libc::SIGKILL)));
    leaks::use_signal(libc::SIGRTMIN() + 3);
    assert_reports(&find().expect("a report"), &forgotten_nothing());
}

fn search_in_the_child_of_a_fork() {
    let planted = far_below(forgotten_box);
    assert_reports(&find().expect("a report"), &planted);
    // SAFETY: no other thread runs.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let mut all = planted;
        all.extend(far_below(rc_cycle_in_a_graph));
        assert_reports(&find().expect("a report"), &all);
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the answer.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

struct Pair {
    _first: Box<u64>,
    _second: Box<[u64; 3]>,
}

static PAIR: Mutex<Option<Box<Pair>>> = Mutex::new(None);

fn who_points_at_whom() {
    let second = Box::new([1; 3]);
    let inner = address(&raw const second[2]);
    let pair = Box::new(Pair { _first: Box::new(1), _second: second });
    let (outer, first) = (address(&*pair), address(&*pair._first));
    *PAIR.lock().expect("the pair") = Some(pair);
    let held = leaks::referents(ptr::without_provenance::<u8>(outer.get())).expect("referents");
    let bytes: Vec<_> = held.iter().map(|block| block.bytes).collect();
    assert_eq!(bytes.iter().sum::<u64>(), 32, "{held:?}");
    assert!(held.iter().any(|block| block.address == first));
    let referrers = leaks::referrers(ptr::without_provenance::<u8>(inner.get())).expect("referrers");
    let by_block =
        referrers.iter().filter(|word| matches!(&word.holder, Holder::Block(block) if block.address == outer));
    assert_eq!(by_block.count(), 1, "{referrers:?}");
    let referrers = leaks::referrers(ptr::without_provenance::<u8>(outer.get())).expect("referrers");
    let place = (&raw const PAIR).addr()..(&raw const PAIR).addr() + size_of_val(&PAIR);
    let by_static = referrers.iter().find(|word| place.contains(&word.address.get())).expect("the static");
    assert!(matches!(&by_static.holder, Holder::Mapping(_)), "{by_static}");
    let variable = Box::new(3_u16);
    let referrers = leaks::referrers(&raw const *variable).expect("referrers");
    assert!(referrers.iter().any(|word| word.holder == Holder::Thread(thread_number())), "{referrers:?}");
    assert_eq!(leaks::referrers(&raw const place).err(), Some(LeakError::NoBlock));
    assert_eq!(leaks::referents(ptr::null::<u8>()).err(), Some(LeakError::NoBlock));
}

fn live_blocks_are_those_that_the_program_holds() {
    let before = leaks::live_blocks().expect("blocks");
    let held: Vec<_> = (0..100).map(|_| Box::new([1_u64; 13])).collect();
    let gone: Vec<_> = (0..100).map(|_| Box::new([1_u64; 13])).collect();
    let gone_addresses: Vec<_> = gone.iter().map(|boxed| address(&**boxed)).collect();
    drop(gone);
    let after = leaks::live_blocks().expect("blocks");
    assert!(after.windows(2).all(|pair| (pair[0].bytes, pair[0].address) < (pair[1].bytes, pair[1].address)));
    let of_size = |blocks: &[leaks::LiveBlock]| blocks.iter().filter(|block| block.bytes == 104).count();
    assert_eq!(of_size(&after), of_size(&before) + 100);
    let has = |address: Address| after.iter().any(|block| block.address == address);
    assert!(held.iter().all(|boxed| has(address(&**boxed))));
    assert!(!gone_addresses.into_iter().any(has));
}

/// Body of a thread that allocates, frees and hands blocks round, in ways that take every path between pools, magazines
/// and threads.
fn churn(
    seed: u64,
    is_over: &AtomicBool,
    inbox: &mpsc::Receiver<Vec<Box<Churned>>>,
    outbox: &mpsc::SyncSender<Vec<Box<Churned>>>,
) {
    let mut random = seed;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let mut held: Vec<Vec<Box<Churned>>> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        match draw(8) {
            0..4 => held.push((0..draw(300)).map(|_| Churned::new(draw(9))).collect()),
            4 if !held.is_empty() => {
                let one = held.swap_remove(draw(held.len()));
                let _ = outbox.try_send(one);
            }
            5 => held.extend(inbox.try_recv()),
            _ if !held.is_empty() => drop(held.swap_remove(draw(held.len()))),
            _ => {}
        }
        if held.len() > 40 {
            held.truncate(3);
        }
    }
}

/// A block that holds a vector of some size, a shared block, and sometimes one more block.
struct Churned {
    _list: Vec<u64>,
    _next: Option<Box<[u64; 5]>>,
    _shared: Arc<u64>,
}

impl Churned {
    fn new(size: usize) -> Box<Self> {
        let next = (size % 2 == 0).then(|| Box::new([1; 5]));
        Box::new(Self { _list: vec![1; size * 9], _next: next, _shared: Arc::new(1) })
    }
}

/// Number of threads that churn.
const CHURNERS: usize = 4;

/// Searches again and again while threads churn, and others begin and end. Each search finds the planted leaks and
/// nothing else.
fn under_load() {
    let mut planted = far_below(forgotten_box);
    planted.extend(far_below(rc_cycle_in_a_graph));
    planted.extend(far_below(doubly_linked_list).into_iter().map(|(address, _)| (address, Is::Cycle(1))));
    planted.extend(far_below(leaked_box_in_a_static));
    let is_over = AtomicBool::new(false);
    let begin = Barrier::new(CHURNERS + 1);
    thread::scope(|scope| {
        let _end = SetAtEnd(&is_over);
        let (is_over, begin) = (&is_over, &begin);
        let mut threads = Vec::new();
        let (mut outboxes, mut inboxes): (Vec<_>, Vec<_>) = (0..CHURNERS).map(|_| mpsc::sync_channel(8)).unzip();
        outboxes.rotate_left(1);
        for (seed, (outbox, inbox)) in outboxes.into_iter().zip(inboxes.drain(..)).enumerate() {
            threads.push(scope.spawn(move || {
                begin.wait();
                churn(seed as u64, is_over, &inbox, &outbox);
            }));
        }
        threads.push(scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                thread::spawn(|| drop(black_box(Churned::new(3)))).join().expect("a short thread");
            }
        }));
        begin.wait();
        for _ in 0..scaled(300, 3) {
            let report = find().expect("a report");
            assert!(report.running_threads.is_empty(), "{report}");
            assert_reports(&report, &planted);
        }
        is_over.store(true, Ordering::Relaxed);
        // The scope waits for the closures of the threads, but not for the ends of the threads.
        threads.into_iter().for_each(|thread| thread.join().expect("a thread"));
    });
    assert_eq!(check_heap().err(), None);
    assert_reports(&find().expect("a report"), &planted);
}

fn two_searches_at_once() {
    let planted = far_below(forgotten_box);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..30 {
                    assert_reports(&find().expect("a report"), &planted);
                }
            });
        }
    });
}

/// Bytes of a block for which malloc always makes a mapping of its own. The size from which malloc does this grows with
/// use, but stays below 32 MiB. Blocks in malloc's other memory do not suit the test: malloc has left old words in that
/// memory, and they look like pointers to such blocks.
const LARGE: usize = 40_000_000;

/// The message of `assert_no_leaks` names large blocks that are leaked, also one that the backend has resized.
fn assertions_see_large_blocks() {
    #[inline(never)]
    fn forget<T>(value: T) {
        std::mem::forget(black_box(value));
    }
    let message = |body: fn()| {
        let panic = std::panic::catch_unwind(|| assert_no_leaks(body)).expect_err("a panic");
        panic.downcast_ref::<String>().expect("a formatted message").clone()
    };
    let text = message(|| forget((Vec::<u8>::with_capacity(40), Vec::<u8>::with_capacity(LARGE))));
    assert!(text.starts_with("blocks were leaked: 2 allocations, 0 frees: +2 blocks"), "{text}");
    assert!(text.contains("larger blocks: 1 allocations"), "{text}");
    assert!(text.contains("done, 2 unreachable, 40000040 bytes: 2 direct, 0 indirect, 0 in 0 cycles"), "{text}");
    let text = message(|| {
        let mut growing = Vec::<u8>::with_capacity(LARGE);
        growing.reserve_exact(2 * LARGE);
        forget(growing);
    });
    assert!(text.contains("done, 1 unreachable, 80000000 bytes"), "{text}");
}

/// The roles of children that do more than plant, and their programs.
const PROGRAMS: &[(&str, fn())] = &[
    ("held_by_another_stack", held_by_another_stack),
    ("held_by_thread_locals", held_by_thread_locals),
    ("held_by_a_register", held_by_a_register),
    ("held_by_a_variable", held_by_a_variable),
    ("registered_roots", registered_roots),
    ("reports_hold_nothing", reports_hold_nothing),
    ("counts_of_cycles", counts_of_cycles),
    ("counts_with_weak_pointers", counts_with_weak_pointers),
    ("thread_that_cannot_be_stopped", thread_that_cannot_be_stopped),
    ("signal_of_the_program", signal_of_the_program),
    ("search_in_the_child_of_a_fork", search_in_the_child_of_a_fork),
    ("who_points_at_whom", who_points_at_whom),
    ("live_blocks_are_those_that_the_program_holds", live_blocks_are_those_that_the_program_holds),
    ("under_load", under_load),
    ("two_searches_at_once", two_searches_at_once),
    ("assertions_see_large_blocks", assertions_see_large_blocks),
];

pub(crate) fn child(role: &str) {
    let plant = |name: &str| PLANTS.iter().find(|(plant, _)| *plant == name).map(|(_, plant)| plant);
    if let Some(plant) = plant(role) {
        let planted = far_below(*plant);
        assert_reports(&find().expect("a report"), &planted);
    } else if let Some((_, program)) = PROGRAMS.iter().find(|(program, _)| *program == role) {
        program();
    } else if role == "blocks_of_large_blocks" {
        let planted = far_below(blocks_of_large_blocks);
        let report = find().expect("a report");
        assert!(report.is_armed);
        assert_reports(&report, &planted);
    } else {
        // For the report at the end of the process.
        far_below(rc_cycle_in_a_graph);
        far_below(forgotten_box);
    }
}

fn armed(role: &str) -> Command {
    let mut child = command!(role);
    child.env("POOLMALLOC", "leaks");
    child
}

/// A program whose finder is armed from the beginning reports its leaks at its end.
fn report_at_the_end() {
    let output = armed("end").output().expect("starting the child");
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(said.matches("leaks: unreachable <").count(), 8, "{said}");
    assert!(said.contains("held by nothing but itself"), "{said}");
    let last = "leaks: done, 8 unreachable, 328 bytes: 1 direct, 1 indirect, 6 in 1 cycle\n";
    assert!(said.ends_with(last), "{said}");
}

/// A word without a meaning gets one warning, and nothing else happens.
fn words_of_the_environment() {
    for (value, is_known) in [("", true), ("lekas", false), ("leaks!", false)] {
        let output = command!("end").env("POOLMALLOC", value).output().expect("starting the child");
        assert!(output.status.success(), "{}", told(&output));
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(said.is_empty(), is_known, "{value}: {said}");
        assert!(is_known || (said.lines().count() == 1 && said.contains("there are: debug malloc leaks")), "{said}");
    }
}

pub(crate) fn tests() -> Vec<Test> {
    if !cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))) {
        return vec![Test::new("unsupported", || assert_eq!(find().err(), Some(LeakError::Unsupported)))];
    }
    let names = PLANTS.iter().map(|(name, _)| *name).chain(PROGRAMS.iter().map(|(name, _)| *name));
    let children = names.map(|name| Test::new(name, move || _ = succeed(&mut command!(name))));
    let others = [
        Test::new("blocks_of_large_blocks", || _ = succeed(&mut armed("blocks_of_large_blocks"))),
        Test::new("report_at_the_end", report_at_the_end),
        Test::new("words_of_the_environment", words_of_the_environment),
    ];
    children.chain(others).collect()
}
