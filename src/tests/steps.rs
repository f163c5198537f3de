//! Single-steps the slow paths: no block of a thread looks leaked, at whatever instruction the thread is stopped.
//!
//! A thread runs slow operations with the processor's trap flag set. When a block or a magazine has changed places, the
//! trap's handler waits, and another thread searches for leaks. Two things must be true after each instruction. A
//! magazine that moves is always in its old place or in its new place. And for a block on its way, a register or the
//! stack has its address, or the heap is marked as one with blocks under way.

use crate::geometry::SizeClass;
use crate::global::PoolMalloc;
use crate::heap::Heap;
use crate::heap::magazine::{capacity, count};
use crate::leaks::find;
use crate::process::{MODE, tls};
use core::alloc::{GlobalAlloc, Layout};
use core::arch::asm;
use core::cell::Cell;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::process::Command;
use std::{env, thread};

/// A layout whose magazines hold few blocks, and which no other test uses.
const LAYOUT: Layout = match Layout::from_size_align(232, 8) {
    Ok(layout) => layout,
    Err(_) => panic!(),
};
/// Number of the thread's own blocks: more than magazines and depot hold, so that the oldest are flushed, and fewer
/// than an arena has room for.
const BLOCKS: usize = 500;
/// Number of blocks of the other thread: enough to be adopted twice.
const FOREIGN: usize = 160;

/// Numbers of the searches that were asked for and that were made.
static ASKED: AtomicU32 = AtomicU32::new(0);
static MADE: AtomicU32 = AtomicU32::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);
static IS_OVER: AtomicBool = AtomicBool::new(false);

/// Tops of the heap's magazines, and the length of the depot. They change when a magazine changes places, and when a
/// block comes or goes.
#[derive(PartialEq, Clone, Copy)]
struct Places([usize; 24], usize);

const NOWHERE: Places = Places([0; 24], 0);

thread_local! {
    /// The heap of the thread, and its places at the last search.
    static STEPPED: Cell<Option<(*const Heap, Places)>> = const { Cell::new(None) };
    /// A bit for each state of the heap in which a slow operation has been stepped through.
    static SEEN: Cell<u128> = const { Cell::new(0) };
}

fn class() -> SizeClass {
    SizeClass::of_block(LAYOUT.size())
}

fn places(heap: &Heap) -> Places {
    let mut places = [0; 24];
    places.iter_mut().zip(heap.magazines(class())).for_each(|(place, top)| *place = top.addr());
    Places(places, heap.class(class()).depot.length())
}

fn futex(word: &AtomicU32, operation: c_int, value: u32) {
    // SAFETY: the word lives for ever; no time limit is given.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, ptr::null::<libc::timespec>()) };
}

/// The trap's handler, which runs after each instruction. If the places have changed, it waits until the other thread
/// has searched.
extern "C" fn step(_: c_int) {
    STEPS.fetch_add(1, Ordering::Relaxed);
    let Some((heap, before)) = STEPPED.get() else { return };
    // SAFETY: heaps are never unmapped.
    let heap = unsafe { &*heap };
    let now = places(heap);
    if heap.is_moving() {
        // The places are forgotten, so that there is a search when the blocks have arrived.
        STEPPED.set(Some((heap, NOWHERE)));
        return;
    }
    if now == before {
        return;
    }
    STEPPED.set(Some((heap, now)));
    let asked = ASKED.fetch_add(1, Ordering::Release) + 1;
    futex(&ASKED, libc::FUTEX_WAKE, 1);
    loop {
        let made = MADE.load(Ordering::Acquire);
        if made == asked {
            return;
        }
        futex(&MADE, libc::FUTEX_WAIT, made);
    }
}

/// Runs `operation` with the trap flag set if it `is_slow`.
#[inline(never)]
fn run<T>(is_slow: bool, operation: impl FnOnce() -> T) -> T {
    if is_slow {
        // SAFETY: the handler of the trap is installed, and changes no register.
        unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    }
    let result = operation();
    // SAFETY: clears the flag again.
    unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
    result
}

/// Whether an operation is slow, and no such operation has been stepped through in this state of the heap yet. A slow
/// operation counts as stepped through from now on.
fn is_new(is_alloc: bool, is_slow: bool) -> bool {
    let Some((heap, _)) = STEPPED.get() else { return false };
    // SAFETY: heaps are never unmapped.
    let state = unsafe { &*heap }.class(class());
    let has_blocks = |top| usize::from(count(top, class()) > 0);
    let kind = usize::from(is_alloc) << 6
        | has_blocks(state.previous()) << 5
        | has_blocks(state.foreign()) << 4
        | state.depot.length().min(15);
    is_slow && SEEN.replace(SEEN.get() | 1 << kind) >> kind & 1 == 0
}

fn alloc() -> *mut u8 {
    let is_slow = count(tls::front().head_of_class(class()).top(), class()) == 0;
    // SAFETY: not of zero size.
    let block = run(is_new(true, is_slow), || unsafe { PoolMalloc::new().alloc(LAYOUT) });
    assert!(!block.is_null());
    block
}

fn free(place: &mut *mut u8, is_stepped: bool) {
    let block = core::mem::replace(place, ptr::null_mut());
    // SAFETY: allocated with this layout, by this thread or the other one, and given up.
    run(is_stepped, || unsafe { PoolMalloc::new().dealloc(block, LAYOUT) });
}

fn free_own(place: &mut *mut u8) {
    let top = tls::front().head_of_class(class()).top();
    free(place, is_new(false, count(top, class()) == capacity(class())));
}

/// The body of the stepped thread: takes every slow path of magazines.
fn stepped(foreign: &mut [*mut u8; FOREIGN]) {
    let mut own = [ptr::null_mut(); BLOCKS];
    own.fill_with(alloc);
    own[1..].iter_mut().for_each(free_own);
    // The heap keeps its arena from here on, because the first block stays live. From here on no block and no magazine
    // changes places while the thread holds a lock. So the handler asks for no search at such a moment; that search
    // would wait for the lock.
    let heap: *const Heap = &*tls::heap_if_any().expect("a heap");
    STEPPED.set(Some((heap, NOWHERE)));
    // Fills the magazines; frees to the previous magazine, the depot and the pools; then allocates from all of these.
    own[1..].fill_with(alloc);
    own[1..].iter_mut().for_each(free_own);
    own[1..].fill_with(alloc);
    own[1..100].iter_mut().for_each(free_own);
    // A full foreign magazine is posted. The last foreign blocks are adopted as soon as nothing else is cached; after
    // that a full foreign magazine is adopted, too.
    let mut more = [ptr::null_mut(); FOREIGN];
    let (first, second) = foreign.split_at_mut(FOREIGN / 2);
    first.iter_mut().for_each(|place| free(place, true));
    more.fill_with(alloc);
    second.iter_mut().for_each(|place| free(place, true));
    more.iter_mut().chain(&mut own[1..]).for_each(free_own);
    STEPPED.set(None);
    free_own(&mut own[0]);
}

/// Reports the end of the thread when it is dropped, also after a panic.
struct TellEnd;

impl Drop for TellEnd {
    fn drop(&mut self) {
        IS_OVER.store(true, Ordering::Release);
        ASKED.fetch_add(1, Ordering::Release);
        futex(&ASKED, libc::FUTEX_WAKE, 1);
    }
}

/// Starts the stepped thread and gives it blocks of the calling thread. Nothing in the calling thread leads to them
/// afterwards.
#[inline(never)]
fn start() -> thread::JoinHandle<()> {
    let mut foreign = [ptr::null_mut(); FOREIGN];
    // SAFETY: not of zero size.
    foreign.fill_with(|| unsafe { PoolMalloc::new().alloc(LAYOUT) });
    // The addresses are hidden, because the closure lies in a block and would lead to them.
    let hidden = foreign.map(|block| !block.expose_provenance());
    thread::spawn(move || {
        let _end = TellEnd;
        stepped(&mut hidden.map(|address| ptr::with_exposed_provenance_mut(!address)));
    })
}

/// Runs in a process of its own, since a search stops the other tests and looks at their blocks.
#[test]
fn no_block_looks_leaked_at_any_instruction() {
    if env::var_os("POOLMALLOC_TEST_STEPS").is_some() {
        return step_and_search();
    }
    let mut alone = Command::new(env::current_exe().expect("the path of this binary"));
    alone.args(["--exact", "tests::steps::no_block_looks_leaked_at_any_instruction"]);
    let output = alone.env("POOLMALLOC_TEST_STEPS", "").env_remove("POOLMALLOC").output().expect("starting the child");
    let [said, errors] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && said.contains("1 passed"), "{}\n{said}\n{errors}", output.status);
}

fn step_and_search() {
    tls::heap_or_make();
    if MODE.get().is_bypass() {
        return;
    }
    // SAFETY: all zero is a legal action.
    let mut action = unsafe { core::mem::zeroed::<libc::sigaction>() };
    let handler: extern "C" fn(c_int) = step;
    action.sa_sigaction = handler as *const c_void as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: the handler has the type that these flags ask for.
    assert_eq!(unsafe { libc::sigaction(libc::SIGTRAP, &raw const action, ptr::null_mut()) }, 0);
    let worker = start();
    let mut searches = 0;
    loop {
        let (asked, made) = (ASKED.load(Ordering::Acquire), MADE.load(Ordering::Relaxed));
        if IS_OVER.load(Ordering::Acquire) {
            break;
        }
        if asked == made {
            futex(&ASKED, libc::FUTEX_WAIT, asked);
            continue;
        }
        let report = find().expect("a report");
        let leaked = report.blocks.iter().filter(|block| block.bytes == LAYOUT.size() as u64).count();
        if leaked > 0 {
            let steps = STEPS.load(Ordering::Relaxed);
            eprintln!("{leaked} blocks look leaked after {steps} instructions and {searches} searches\n{report}");
            // The other thread would wait for ever.
            std::process::abort();
        }
        searches += 1;
        MADE.store(asked, Ordering::Release);
        futex(&MADE, libc::FUTEX_WAKE, 1);
    }
    worker.join().expect("the stepped thread");
    assert!(searches > 100, "{searches} searches in {} steps", STEPS.load(Ordering::Relaxed));
}
