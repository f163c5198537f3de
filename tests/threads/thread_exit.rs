//! The last moments of a thread: destructors that allocate and free before, between and after the library's own.
//!
//! The tests cover thread-local destructors registered before and after the thread's first request, nested ones,
//! destructors of C++, and pthread keys made before and after the library's. Keys are tested in all rounds that the
//! system grants. The threads are raw ones, which have not used the allocator when the test begins.
//!
//! To see it fail: make a heap anew for each late request (the heaps grow with the threads); never arm the key again
//! after its first round; drop the counts of a late free; leave a word of combined frees behind.
//!
//! `cargo test --test threads thread_exit::`

use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{assert_nothing_left, consistent_stats, heaps};
use poolmalloc_support::{Test, raw_thread, tests, words};

/// Number of threads of each test. [`AT_A_TIME`] of them run together.
const THREADS: usize = 400;
const AT_A_TIME: usize = 4;

/// Runs `body` in [`THREADS`] raw threads. Fails if a block is lost, or if there are more heaps than those of the
/// threads that ran together and one that late requests share.
fn in_many_threads(body: impl Fn(usize) + Sync) {
    // A first batch makes the things that are made once: pthread keys, the standard library's lists.
    raw_thread::run(AT_A_TIME, &body);
    free_handed_over();
    assert_nothing_left(|| {
        let before = consistent_stats();
        for batch in 1..=THREADS / AT_A_TIME {
            raw_thread::run(AT_A_TIME, &|index| body(batch * AT_A_TIME + index));
            free_handed_over();
        }
        let after = consistent_stats();
        let most = heaps(&before) + AT_A_TIME as u64 + 1;
        assert!(heaps(&after) <= most, "{:?}, then {:?}", before.heaps, after.heaps);
        assert!(after.heaps.in_use <= before.heaps.in_use + 1, "{:?}, then {:?}", before.heaps, after.heaps);
    });
}

/// Blocks that destructors leave to the main thread.
static HANDED_OVER: [AtomicPtr<u64>; 1024] = [const { AtomicPtr::new(ptr::null_mut()) }; 1024];
static HANDED_OVER_COUNT: AtomicUsize = AtomicUsize::new(0);

fn hand_over(block: NonNull<u64>) {
    let place = HANDED_OVER_COUNT.fetch_add(1, Ordering::Relaxed);
    HANDED_OVER[place].store(block.as_ptr(), Ordering::Release);
}

fn free_handed_over() {
    let count = HANDED_OVER_COUNT.swap(0, Ordering::Relaxed);
    for place in &HANDED_OVER[..count] {
        let block = NonNull::new(place.swap(ptr::null_mut(), Ordering::Acquire)).expect("a block in each place");
        words::free(block);
    }
}

/// Does the work of every destructor here, besides freeing its own blocks: makes a hundred blocks of all sizes, frees
/// all but one, and hands that one over.
fn work() {
    let blocks: [NonNull<u64>; 100] = std::array::from_fn(|i| words::make(1 + i * 7 % 40));
    let [left_behind, others @ ..] = blocks;
    others.into_iter().for_each(words::free);
    hand_over(left_behind);
}

/// A value that owns memory and works once more when it is dropped.
struct Worker {
    blocks: Vec<Block>,
}

impl Worker {
    fn new() -> Self {
        Self { blocks: (0..50).map(|i| Block::new(layout(1 + 8 * i, 8), i)).collect() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.blocks.drain(..).for_each(Block::free);
        work();
    }
}

/// A thread-local that owns nothing until its thread ends.
struct WorkAtEnd;

impl Drop for WorkAtEnd {
    fn drop(&mut self) {
        work();
    }
}

thread_local! {
    static FIRST: Cell<Option<WorkAtEnd>> = const { Cell::new(None) };
    static MIDDLE: RefCell<Option<Worker>> = const { RefCell::new(None) };
    static LAST: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Runs thread-local destructors registered before the thread's first request (dropped last) and after it (dropped
/// first).
fn thread_local_destructors() {
    in_many_threads(|index| {
        // This makes no request: the thread-local is const, and the list of destructors is not on this heap.
        if index % 2 == 0 {
            FIRST.set(Some(WorkAtEnd));
        }
        work();
        MIDDLE.set(Some(Worker::new()));
        work();
        LAST.set(Some(Worker::new()));
    });
}

/// A value whose destructor registers the next value, under the next of three keys, until `depth` is 0.
struct Nested {
    depth: usize,
    block: NonNull<u64>,
}

impl Nested {
    fn register(depth: usize) {
        thread_local! {
            static EVEN: RefCell<Vec<Nested>> = const { RefCell::new(Vec::new()) };
            static ODD: RefCell<Vec<Nested>> = const { RefCell::new(Vec::new()) };
            static DEEP: RefCell<Vec<Nested>> = const { RefCell::new(Vec::new()) };
        }
        let nested = Self { depth, block: words::make(1 + depth) };
        let key = [&EVEN, &ODD, &DEEP][depth % 3];
        // A thread-local that is being destroyed takes no value: `try_with` fails. Then `nested` is dropped here, and a
        // destructor at this moment is as good for the test.
        let _ = key.try_with(|list| list.borrow_mut().push(nested));
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        words::free(self.block);
        if self.depth > 0 {
            Self::register(self.depth - 1);
        }
        work();
    }
}

/// Runs thread-local destructors that register further ones.
fn nested_destructors() {
    in_many_threads(|_| Nested::register(5));
}

/// Number of rounds in which glibc calls the destructors of pthread keys (`PTHREAD_DESTRUCTOR_ITERATIONS`).
const ROUNDS: u32 = 4;

/// A pthread key made before `main`, and so before any request and before the library's own key. Its destructor runs
/// first in every round.
static EARLY_KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

/// Another key made before `main`, for [`first_request_in_each_round`].
static EARLY_WAITING_KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

#[used]
#[cfg_attr(any(target_os = "linux", target_os = "freebsd"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn make_early_key() {
        EARLY_KEY.set(make_key(destroy)).expect("called once");
        EARLY_WAITING_KEY.set(make_key(wait_then_work)).expect("called once");
    }
    make_early_key
};

fn make_key(destructor: unsafe extern "C" fn(*mut c_void)) -> libc::pthread_key_t {
    let mut key = 0;
    // SAFETY: `key` is writable, and each destructor here takes the value that is stored under its key.
    let error = unsafe { libc::pthread_key_create(&raw mut key, Some(destructor)) };
    assert_eq!(error, 0, "pthread_key_create");
    key
}

/// Stores the address of `rounds` under its key, for the calling thread.
fn arm(rounds: NonNull<Rounds>) {
    // SAFETY: the memory is the caller's, and initialized.
    let key = unsafe { rounds.as_ref() }.key;
    // SAFETY: `make_key` made the key.
    let error = unsafe { libc::pthread_setspecific(key, rounds.as_ptr().cast()) };
    assert_eq!(error, 0, "pthread_setspecific");
}

/// A value under a key: a block, which is new in each round, and the number of rounds that are left.
struct Rounds {
    key: libc::pthread_key_t,
    left: u32,
    block: NonNull<u64>,
}

fn start_rounds(key: libc::pthread_key_t) {
    let rounds = Box::new(Rounds { key, left: ROUNDS, block: words::make(20) });
    arm(NonNull::from(Box::leak(rounds)));
}

static ROUNDS_RUN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn destroy(rounds: *mut c_void) {
    // SAFETY: `start_rounds` leaked this box for the destructor, which the system calls once for each `arm`.
    let mut rounds = unsafe { Box::from_raw(rounds.cast::<Rounds>()) };
    ROUNDS_RUN.fetch_add(1, Ordering::Relaxed);
    words::free(rounds.block);
    work();
    rounds.left -= 1;
    if rounds.left > 0 {
        rounds.block = words::make(20 + rounds.left as usize);
        arm(NonNull::from(Box::leak(rounds)));
    }
}

/// Uses keys on both sides of the library's, alone and together, in threads with and without thread-local destructors.
/// Each key uses all four rounds. In the last round the library's own destructor cannot be called again.
fn pthread_key_destructors() {
    let (early, late) = (*EARLY_KEY.get().expect("the key made before main"), make_key(destroy));
    ROUNDS_RUN.store(0, Ordering::Relaxed);
    in_many_threads(|index| {
        if index % 4 < 3 {
            start_rounds(early);
        }
        if index % 4 > 0 {
            start_rounds(late);
        }
        if index % 8 > 3 {
            LAST.set(Some(Worker::new()));
        }
    });
    let keys_per_four_threads = 3 + 3;
    let expected = (THREADS + AT_A_TIME) / 4 * keys_per_four_threads * ROUNDS as usize;
    assert_eq!(ROUNDS_RUN.load(Ordering::Relaxed), expected, "rounds of destructors");
}

/// Values for the keys of [`first_request_in_each_round`]: the key, and the number of rounds to wait.
static WAITS: [[Wait; ROUNDS as usize]; 2] = {
    const fn waits(is_early: bool) -> [Wait; ROUNDS as usize] {
        [
            Wait { is_early, rounds: 0 },
            Wait { is_early, rounds: 1 },
            Wait { is_early, rounds: 2 },
            Wait { is_early, rounds: 3 },
        ]
    }
    [waits(false), waits(true)]
};
static LATE_WAITING_KEY: OnceLock<libc::pthread_key_t> = OnceLock::new();

struct Wait {
    is_early: bool,
    rounds: usize,
}

impl Wait {
    fn arm(&'static self) {
        let key = if self.is_early { &EARLY_WAITING_KEY } else { &LATE_WAITING_KEY };
        // SAFETY: the key was made, and is never deleted.
        let error = unsafe { libc::pthread_setspecific(*key.get().expect("a key"), (&raw const *self).cast()) };
        assert_eq!(error, 0, "pthread_setspecific");
    }
}

unsafe extern "C" fn wait_then_work(wait: *mut c_void) {
    // SAFETY: `Wait::arm` stored an element of `WAITS`.
    let wait = unsafe { &*wait.cast::<Wait>() };
    match wait.rounds.checked_sub(1) {
        Some(rounds) => WAITS[usize::from(wait.is_early)][rounds].arm(),
        None => {
            work();
            ROUNDS_RUN.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Starts threads whose very first request comes from the destructor of a key: in each of the four rounds, and with a
/// key that was made before or after the library's. After a request in the first two rounds the thread's heap comes
/// back. After a later one the library's destructor may not be called again, and the heap stays in use.
fn first_request_in_each_round() {
    LATE_WAITING_KEY.get_or_init(|| make_key(wait_then_work));
    ROUNDS_RUN.store(0, Ordering::Relaxed);
    in_many_threads(|index| WAITS[index % 2][index / 2 % 2].arm());
    assert_eq!(ROUNDS_RUN.load(Ordering::Relaxed), THREADS + AT_A_TIME);
    assert_nothing_left(|| {
        let before = consistent_stats();
        raw_thread::run(4, &|index| WAITS[index % 2][2 + index / 2].arm());
        free_handed_over();
        let after = consistent_stats();
        assert!(heaps(&after) <= heaps(&before) + 4, "{:?}, then {:?}", before.heaps, after.heaps);
    });
    assert_eq!(ROUNDS_RUN.load(Ordering::Relaxed), THREADS + AT_A_TIME + 4);
}

/// Runs destructors that C++ registers for its thread-locals, before the thread's first request and after it, and from
/// one another.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn destructors_of_cxx() {
    unsafe extern "C" {
        static __dso_handle: u8;
        fn __cxa_thread_atexit_impl(
            destructor: unsafe extern "C" fn(*mut c_void),
            object: *mut c_void,
            library: *mut c_void,
        ) -> libc::c_int;
    }
    fn register(block: *mut u64) {
        let library = (&raw const __dso_handle).cast_mut().cast();
        // SAFETY: the destructor takes a block or a null, and belongs to this program, as the handle does.
        let error = unsafe { __cxa_thread_atexit_impl(destroy, block.cast(), library) };
        assert_eq!(error, 0, "__cxa_thread_atexit_impl");
    }
    unsafe extern "C" fn destroy(block: *mut c_void) {
        ROUNDS_RUN.fetch_add(1, Ordering::Relaxed);
        work();
        match NonNull::new(block.cast()) {
            Some(block) => words::free(block),
            // Registers once more, with a block this time.
            None => register(words::make(7).as_ptr()),
        }
    }
    ROUNDS_RUN.store(0, Ordering::Relaxed);
    in_many_threads(|_| {
        register(ptr::null_mut());
        register(words::make(20).as_ptr());
        work();
        register(words::make(30).as_ptr());
    });
    assert_eq!(ROUNDS_RUN.load(Ordering::Relaxed), 4 * (THREADS + AT_A_TIME), "destructors");
}

/// Does nothing. Only glibc registers destructors of C++ in this way.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn destructors_of_cxx() {}

/// Starts threads that only free, from their body, a thread-local destructor or a key's destructor.
fn threads_that_only_free() {
    static LEFT: [AtomicPtr<u64>; AT_A_TIME] = [const { AtomicPtr::new(ptr::null_mut()) }; AT_A_TIME];

    struct FreeAtEnd(NonNull<u64>);
    impl Drop for FreeAtEnd {
        fn drop(&mut self) {
            words::free(self.0);
        }
    }
    thread_local!(static AT_END: Cell<Option<FreeAtEnd>> = const { Cell::new(None) });
    extern "C" fn free_at_end(block: *mut c_void) {
        words::free(NonNull::new(block.cast()).expect("what was stored"));
    }
    let mut key = 0;
    // SAFETY: `key` is writable, and the destructor takes blocks of `words`.
    let error = unsafe { libc::pthread_key_create(&raw mut key, Some(free_at_end)) };
    assert_eq!(error, 0, "pthread_key_create");

    let batch = |number: usize| {
        for (index, place) in LEFT.iter().enumerate() {
            place.store(words::make(1 + (number + index) % 40).as_ptr(), Ordering::Release);
        }
        raw_thread::run(AT_A_TIME, &|index| {
            let block =
                NonNull::new(LEFT[index].swap(ptr::null_mut(), Ordering::AcqRel)).expect("a block for each thread");
            match (number + index) % 3 {
                0 => words::free(block),
                1 => AT_END.set(Some(FreeAtEnd(block))),
                _ => {
                    // SAFETY: the key was made above.
                    let error = unsafe { libc::pthread_setspecific(key, block.as_ptr().cast()) };
                    assert_eq!(error, 0, "pthread_setspecific");
                }
            }
        });
    };
    // Tests before this one may have left blocks of other heaps in the magazines of this thread. If this thread gave
    // such a block to a thread that has taken over the block's heap, the free there would not be a remote free.
    poolmalloc::release_unused();
    batch(0);
    assert_nothing_left(|| {
        let before = consistent_stats();
        (1..=THREADS / AT_A_TIME).for_each(batch);
        let after = consistent_stats();
        let most = heaps(&before) + AT_A_TIME as u64 + 1;
        assert!(heaps(&after) <= most, "{:?}, then {:?}", before.heaps, after.heaps);
        let frees = after.small.frees + after.large.frees - before.small.frees - before.large.frees;
        assert_eq!(frees, THREADS as u64);
        let remote_frees = after.small.remote_frees - before.small.remote_frees;
        let small_frees = after.small.frees - before.small.frees;
        assert_eq!(remote_frees, small_frees, "the main thread owned every block");
    });
}

/// A thread's last frees of another thread's blocks come back to the owner when the thread ends, and no later. A thread
/// frees all blocks of a class and ends. Then the owner must get the same number of blocks without a new pool.
fn last_remote_frees_come_back() {
    const WORDS: usize = 31;
    const CLASS: usize = 30;
    // Whole pools of 16 blocks.
    const BLOCKS: usize = 16 * 40;
    let make = || -> [NonNull<u64>; BLOCKS] { std::array::from_fn(|_| words::make(WORDS)) };
    make().into_iter().for_each(words::free);
    for _ in 0..20 {
        let blocks = make();
        let places = blocks.map(|block| block.as_ptr().expose_provenance());
        raw_thread::run(1, &|_| {
            for address in places {
                words::free(NonNull::new(ptr::with_exposed_provenance_mut(address)).expect("a block"));
            }
        });
        let pools = consistent_stats().classes[CLASS].pools;
        let again = make();
        assert_eq!(consistent_stats().classes[CLASS].pools, pools, "blocks that an ended thread freed were not reused");
        again.into_iter().for_each(words::free);
    }
}

pub(crate) fn tests() -> Vec<Test> {
    tests![
        last_remote_frees_come_back,
        thread_local_destructors,
        nested_destructors,
        pthread_key_destructors,
        first_request_in_each_round,
        destructors_of_cxx,
        threads_that_only_free,
    ]
}
