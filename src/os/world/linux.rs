//! A signal whose handler parks its thread until the round is over.
//!
//! ```text
//!   finder                                     a thread
//!   round := odd
//!   place.state := (round, ASKED), signal  ──► handler: stack and thread pointer noted
//!                                          S   state: (round, ASKED) → (round, STOPPED), futex wait on round
//!   W  all STOPPED, and no new thread
//!      ... reads ...
//!   E  round := even, futex wake           ──► handler returns
//! ```
//! A place that does not answer becomes `GIVEN_UP`; the handler that comes late then finds no question, and returns.
//!
//! # Ordering
//! * **S** (stopped): the compare-exchange is `Release`: all that the thread did before is seen by whoever sees it stopped.
//! * **W** (wait): the load is `Acquire` and pairs with S.
//! * **E** (end): the store is `Release` and pairs with the handler's `Acquire` load of the round.

use super::{Place, Refusal, Stop};
use crate::os::memory::{KeepErrno, last_error, open, page_bytes, reserve, unreserve};
use crate::statics::STOP;
use core::arch::asm;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What has become of a thread in a round: the two low bits of a place's state.
const ASKED: u32 = 1;
const STOPPED: u32 = 2;
const GIVEN_UP: u32 = 3;

/// How long a thread is waited for that has no processor, or that the kernel holds up in the middle of a system call.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long one is that sleeps in the kernel and takes no signal there: in `vfork`, as long as the child runs.
const PATIENCE_IN_KERNEL: Duration = Duration::from_secs(2);
/// Looks at threads that are all asleep and block the signal, after which it is not waited for them any more. The C library blocks
/// signals for moments, when a thread begins or ends; such a thread may wait for one that has been stopped.
const LOOKS_AT_SLEEPERS: u32 = 64;
/// Times that the signal is sent once more to a thread that seems to have got none.
const TIMES_SENT_AGAIN: u32 = 8;
/// In the place of a thread that has ended: no thread has this number.
const NO_THREAD: u32 = u32::MAX;
/// Nanoseconds that a thread which blocks the signal may run before it is given up.
const RUN_WITH_BLOCKED: u64 = 20_000_000;
/// Places of the first table.
const FIRST_PLACES: usize = 1024;
/// Bytes in memory before a table's first place: how many places there are.
const HEADER_BYTES: usize = size_of::<Place>();
/// Bytes of the finder's own stack.
const STACK_BYTES: usize = 512 * 1024;
/// Bytes above its first frame, which stay zero. Whoever takes a backtrace there looks for the caller's caller above that
/// frame: a return address of 0 is where it ends, and what lies beyond the stack is not read.
const ABOVE_FIRST_FRAME: usize = 512;

/// Whether the finder works here.
pub(crate) const IS_SUPPORTED: bool = true;

/// A thread that is stopped, or could not be.
#[derive(Clone, Copy)]
pub(crate) struct Stopped {
    pub(crate) thread: u32,
    /// From where on its stack is in use; `None` if it could not be stopped.
    pub(crate) stack: Option<usize>,
    /// Its thread pointer, if it is stopped.
    pub(crate) pointer: usize,
    /// Whether it was stopped on a stack for signals.
    pub(crate) on_signal_stack: bool,
}

/// Proof that the other threads are stopped; they run on when it is dropped.
pub(crate) struct World {
    table: Table,
    /// When the first was asked.
    since: Instant,
}

#[derive(Clone, Copy)]
struct Table {
    places: NonNull<Place>,
    count: usize,
}

impl Table {
    /// The table that is in use now.
    fn current() -> Option<Self> {
        let places = NonNull::new(STOP.places.load(Ordering::Acquire))?;
        // SAFETY: a header lies before the places.
        let header = unsafe { places.byte_sub(HEADER_BYTES) };
        // SAFETY: the count in it is never written again, nor unmapped (Stop invariant 2).
        let count = unsafe { header.cast::<usize>().read() };
        Some(Self { places, count })
    }

    fn make(count: usize) -> Option<Self> {
        let bytes = (HEADER_BYTES + count * size_of::<Place>()).next_multiple_of(page_bytes());
        let start = reserve(bytes)?;
        // SAFETY: just reserved.
        if !unsafe { open(start, bytes) } {
            // SAFETY: just reserved, and nobody uses it.
            unsafe { unreserve(start, bytes) };
            return None;
        }
        // SAFETY: at the start of fresh memory.
        unsafe { start.cast::<usize>().write(count) };
        // SAFETY: there is room for the header.
        let places = unsafe { start.byte_add(HEADER_BYTES) }.cast();
        Some(Self { places, count })
    }

    fn range(self) -> (usize, usize) {
        let start = self.places.addr().get();
        (start - HEADER_BYTES, start + self.count * size_of::<Place>())
    }

    fn places(&self) -> &[Place] {
        // SAFETY: so many were made, they are atomics, and stay mapped (Stop invariant 2).
        unsafe { core::slice::from_raw_parts(self.places.as_ptr(), self.count) }
    }

    /// The places where a thread may be, in turn: it is in none behind one that is free.
    fn places_of(&self, thread: u32) -> impl Iterator<Item = (&Place, u32)> {
        let first = thread.wrapping_mul(0x9E37_79B9) as usize % self.count;
        let (before, from) = self.places().split_at(first);
        from.iter().chain(before).map(|place| (place, place.thread.load(Ordering::Acquire)))
    }

    /// The place of a thread.
    fn place(&self, thread: u32) -> Option<&Place> {
        let (place, there) = self.places_of(thread).find(|(_, there)| *there == thread || *there == 0)?;
        (there == thread).then_some(place)
    }

    /// A place for a thread that has none: a free one, or that of a thread which has ended. `None` if all are taken by others.
    fn new_place(&self, thread: u32) -> Option<&Place> {
        self.places_of(thread).find(|(_, there)| *there == NO_THREAD || *there == 0).map(|(place, _)| place)
    }
}

impl Stop {
    /// The signal by which threads are stopped.
    pub(crate) fn signal(&self) -> c_int {
        match self.signal.load(Ordering::Relaxed) {
            0 => libc::SIGRTMAX() - 2,
            chosen => chosen,
        }
    }

    /// Chooses the signal.
    pub(crate) fn choose_signal(&self, signal: c_int) {
        self.signal.store(signal, Ordering::Relaxed);
    }

    /// Has the handler called at the signal, from now on: it stays, since a thread may take a signal late.
    fn install(&self) -> Result<c_int, Refusal> {
        let signal = self.signal();
        if self.installed.load(Ordering::Relaxed) == signal {
            return Ok(signal);
        }
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: a question with room for the answer.
        if unsafe { libc::sigaction(signal, ptr::null(), before.as_mut_ptr()) } != 0 {
            return Err(Refusal::SignalInUse(signal));
        }
        // SAFETY: all zero is a legal action, and the call has filled it in.
        let before = unsafe { before.assume_init() };
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = park;
        // It is there already if this signal was chosen once before.
        if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != handler as usize {
            return Err(Refusal::SignalInUse(signal));
        }
        let mut action = before;
        action.sa_sigaction = handler as usize;
        // On the thread's own stack: what the kernel saves there is found with it.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // All. The C library's way leaves out those by which it cancels a thread, which would end one that is stopped.
        // SAFETY: the set is the action's own, and each combination of bits is one.
        unsafe { (&raw mut action.sa_mask).write_bytes(0xFF, 1) };
        // SAFETY: the handler has the type that `SA_SIGINFO` asks for, and calls only what a handler may.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(Refusal::SignalInUse(signal));
        }
        self.installed.store(signal, Ordering::Relaxed);
        Ok(signal)
    }

    /// Stops all other threads of the process. The caller holds the finder's lock, and those that stopped threads must not
    /// hold; until the result is dropped it asks for no memory of malloc, and for no lock.
    pub(crate) fn stop(&self) -> Result<World, Refusal> {
        let signal = self.install()?;
        let mut table = match Table::current() {
            Some(table) => table,
            None => self.new_table(FIRST_PLACES)?,
        };
        let threads = each_thread(|_| true)?;
        while threads * 2 > table.count {
            table = self.new_table(table.count * 2)?;
        }
        for place in table.places() {
            place.thread.store(0, Ordering::Relaxed);
            place.state.store(0, Ordering::Relaxed);
        }
        let round = (self.round.load(Ordering::Relaxed) | 1).wrapping_add(2);
        let world = World { table, since: Instant::now() };
        self.round.store(round, Ordering::Release);
        world.stop_all(round, signal)?;
        Ok(world)
    }

    fn new_table(&self, places: usize) -> Result<Table, Refusal> {
        let table = Table::make(places).ok_or(Refusal::NoMemory)?;
        self.places.store(table.places.as_ptr(), Ordering::Release);
        Ok(table)
    }

    /// Where the table of threads lies, which holds pointers to stacks only.
    pub(crate) fn table_range() -> (usize, usize) {
        Table::current().map_or((0, 0), Table::range)
    }
}

impl World {
    /// Asks each thread, waits for all, and looks again, until there is none that is new. A thread that is stopped makes no
    /// other, so a look that begins when all are stopped and finds no new one has found all.
    ///
    /// Where `/proc` belongs to another PID namespace the numbers in it are foreign, and no thread would be found by them.
    fn stop_all(&self, round: u32, signal: c_int) -> Result<(), Refusal> {
        let this_thread = this_thread();
        if !are_numbers_ours(this_thread) {
            return Err(Refusal::NoProc);
        }
        loop {
            // Nothing that is known takes so long.
            if self.since.elapsed() > 3 * PATIENCE {
                return Err(Refusal::NoProc);
            }
            // A thread that cannot be stopped may make new ones for ever.
            let is_late = self.since.elapsed() > PATIENCE_IN_KERNEL && !self.are_all_stopped();
            let (mut is_new, mut is_full) = (false, false);
            each_thread(|thread| {
                if thread == this_thread || self.table.place(thread).is_some() {
                    return true;
                }
                let Some(place) = self.table.new_place(thread) else {
                    is_full = true;
                    return false;
                };
                is_new = true;
                place.ran.store(0, Ordering::Relaxed);
                place.sent_again.store(0, Ordering::Relaxed);
                // State before name, so that a handler which finds its name finds the question.
                place.state.store(state(round, if is_late { GIVEN_UP } else { ASKED }), Ordering::Relaxed);
                place.thread.store(thread, Ordering::Release);
                if !is_late {
                    send(thread, signal);
                }
                true
            })?;
            if is_full {
                return Err(Refusal::NoMemory);
            }
            if !is_new || is_late {
                return Ok(());
            }
            self.wait(round, signal);
        }
    }

    /// Waits until no question is open: each thread has stopped, is gone, or is given up.
    fn wait(&self, round: u32, signal: c_int) {
        let begin = Instant::now();
        let (mut looks, mut looks_at_sleepers) = (0_u32, 0);
        loop {
            let is_look = looks % 16 == 15;
            let (mut is_open, mut are_asleep) = (false, true);
            // Ordering W.
            let open = |place: &&Place| place.state.load(Ordering::Acquire) == state(round, ASKED);
            for place in self.table.places().iter().filter(open) {
                is_open = true;
                // A look at a thread's file costs more than the thread needs to answer.
                if is_look {
                    are_asleep &= self.look(place, round, signal, begin.elapsed(), looks_at_sleepers);
                }
            }
            if !is_open {
                return;
            }
            if is_look {
                looks_at_sleepers = if are_asleep { looks_at_sleepers + 1 } else { 0 };
            }
            looks += 1;
            crate::os::nap();
        }
    }

    /// Looks why a thread does not answer. Returns whether it sleeps, and blocks the signal.
    fn look(&self, place: &Place, round: u32, signal: c_int, waited: Duration, looks_at_sleepers: u32) -> bool {
        let thread = place.thread.load(Ordering::Relaxed);
        let give_up = || {
            let (asked, given_up) = (state(round, ASKED), state(round, GIVEN_UP));
            let _ = place.state.compare_exchange(asked, given_up, Ordering::Acquire, Ordering::Acquire);
        };
        match signal_state(thread, signal) {
            SignalState::Ended => {
                place.state.store(0, Ordering::Relaxed);
                // The kernel may give its number to a new thread, which is to be asked then.
                place.thread.store(NO_THREAD, Ordering::Relaxed);
            }
            SignalState::Gone => place.state.store(0, Ordering::Relaxed),
            SignalState::Asleep => {
                if looks_at_sleepers >= LOOKS_AT_SLEEPERS {
                    give_up();
                }
                return true;
            }
            SignalState::Running => {
                let Some(ran) = nanoseconds_run(thread) else {
                    if waited > PATIENCE_IN_KERNEL {
                        give_up();
                    }
                    return false;
                };
                match place.ran.load(Ordering::Relaxed) {
                    0 => place.ran.store(ran + 1, Ordering::Relaxed),
                    before if ran + 1 - before > RUN_WITH_BLOCKED => give_up(),
                    _ => {}
                }
            }
            SignalState::InKernel if waited > PATIENCE_IN_KERNEL => give_up(),
            SignalState::NotSent => {
                // Each that was sent is gone, and the handler was not called: the thread takes it by `sigwait`.
                let times = place.sent_again.load(Ordering::Relaxed) + u32::from(send(thread, signal));
                place.sent_again.store(times, Ordering::Relaxed);
                if times > TIMES_SENT_AGAIN {
                    give_up();
                }
            }
            SignalState::Pending | SignalState::InKernel => {}
        }
        if waited > PATIENCE {
            give_up();
        }
        false
    }

    /// Each other thread, stopped or not.
    pub(crate) fn threads(&self) -> impl Iterator<Item = Stopped> {
        self.table.places().iter().filter_map(|place| {
            let stack = match place.state.load(Ordering::Acquire) & 3 {
                STOPPED => Some(place.stack.load(Ordering::Relaxed)),
                GIVEN_UP => None,
                _ => return None,
            };
            Some(Stopped {
                thread: place.thread.load(Ordering::Relaxed),
                stack,
                pointer: place.pointer.load(Ordering::Relaxed),
                on_signal_stack: place.on_signal_stack.load(Ordering::Relaxed),
            })
        })
    }

    fn are_all_stopped(&self) -> bool {
        self.threads().all(|thread| thread.stack.is_some())
    }

    /// Whether stopping took long since there is a thread that cannot be stopped: so it would the next time.
    pub(crate) fn is_held_up(&self) -> bool {
        self.since.elapsed() > PATIENCE_IN_KERNEL / 2 && !self.are_all_stopped()
    }

    /// How long the first thread has been stopped.
    pub(crate) fn stopped_for(&self) -> Duration {
        self.since.elapsed()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _errno = KeepErrno::new();
        // Ordering E.
        STOP.round.store(STOP.round.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        futex(&STOP.round, libc::FUTEX_WAKE, i32::MAX as u32);
    }
}

fn state(round: u32, what: u32) -> u32 {
    round << 2 | what
}

/// The signal's handler: it parks the thread if it was asked to.
extern "C" fn park(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let _errno = KeepErrno::new();
    // What the kernel has saved lies at and above these, and above that the stack of what was interrupted.
    let stack = info.addr().min(context.addr());
    let Some(table) = Table::current() else { return };
    loop {
        let round = STOP.round.load(Ordering::Acquire);
        if round & 1 == 0 {
            return;
        }
        let Some(place) = table.place(this_thread()) else { return };
        if place.state.load(Ordering::Acquire) == state(round, ASKED) {
            place.stack.store(stack, Ordering::Relaxed);
            place.pointer.store(thread_pointer(), Ordering::Relaxed);
            // SAFETY: the kernel passes a context to a handler that asks for one.
            let signal_stack = unsafe { (*context.cast::<libc::ucontext_t>()).uc_stack };
            let is_there = stack.wrapping_sub(signal_stack.ss_sp.addr()) < signal_stack.ss_size;
            place.on_signal_stack.store(is_there, Ordering::Relaxed);
            // Ordering S.
            let (asked, stopped) = (state(round, ASKED), state(round, STOPPED));
            let _ = place.state.compare_exchange(asked, stopped, Ordering::Release, Ordering::Relaxed);
        }
        if place.state.load(Ordering::Acquire) != state(round, STOPPED) {
            return;
        }
        futex(&STOP.round, libc::FUTEX_WAIT, round);
    }
}

fn futex(word: &AtomicU32, operation: c_int, value: u32) {
    // SAFETY: the word lives for ever; no time limit is given.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            operation | libc::FUTEX_PRIVATE_FLAG,
            value,
            ptr::null::<libc::timespec>(),
        )
    };
}

/// The kernel's number of the calling thread.
pub(crate) fn this_thread() -> u32 {
    // SAFETY: no preconditions.
    unsafe { libc::syscall(libc::SYS_gettid) as u32 }
}

/// The register that leads to the calling thread's thread-locals.
pub(crate) fn thread_pointer() -> usize {
    let pointer: usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the first word there is the address itself, in this system's ABI.
    unsafe {
        asm!("mov {}, fs:0", out(reg) pointer, options(nostack, readonly, preserves_flags))
    };
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a register that any program may read.
    unsafe {
        asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, nomem, preserves_flags))
    };
    pointer
}

/// Sends the signal to a thread of this process. Returns whether that is done; a failure shows as a thread that does not answer.
fn send(thread: u32, signal: c_int) -> bool {
    let _errno = KeepErrno::new();
    let process = crate::os::process_id();
    // SAFETY: no preconditions; the handler is installed.
    unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) == 0 }
}

/// How a thread that does not answer stands.
enum SignalState {
    /// There is none of this number any more.
    Ended,
    /// It is about to end, or never runs the program: the kernel has it work for io_uring.
    Gone,
    /// It blocks the signal, and sleeps.
    Asleep,
    /// It blocks the signal, and runs or would.
    Running,
    /// It is deep in the kernel, where it takes no signal.
    InKernel,
    /// It will take the signal when it runs.
    Pending,
    /// It has not been sent, since the queue of signals was full; or the thread has taken it otherwise.
    NotSent,
}

/// A file of a thread, by the end of its path with a zero byte.
fn file_of(thread: u32, name: &[u8]) -> Option<super::ProcFile> {
    let mut path = [0; 40];
    let before = b"/proc/self/task/";
    path[..before.len()].copy_from_slice(before);
    let mut digits = [0; 10];
    let (mut first, mut rest) = (digits.len(), thread);
    while first == digits.len() || rest > 0 {
        first -= 1;
        digits[first] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let digits = &digits[first..];
    path[before.len()..][..digits.len()].copy_from_slice(digits);
    path[before.len() + digits.len()..][..name.len()].copy_from_slice(name);
    super::ProcFile::open(&path)
}

fn signal_state(thread: u32, signal: c_int) -> SignalState {
    if has_ended(thread) {
        return SignalState::Ended;
    }
    // Without a descriptor for its file nobody can say more.
    let Some(file) = file_of(thread, b"/status\0") else { return SignalState::Pending };
    let Status { state, pending, blocked } = status_in(|to| file.read(to));
    if matches!(state, b'Z' | b'X') {
        return SignalState::Gone;
    }
    let has_signal = |mask: u64| mask >> (signal - 1) & 1 == 1;
    match (has_signal(blocked), state) {
        (true, _) if is_of_kernel(thread) => SignalState::Gone,
        (true, b'R') => SignalState::Running,
        (true, _) => SignalState::Asleep,
        (false, b'D') => SignalState::InKernel,
        (false, _) if has_signal(pending) => SignalState::Pending,
        (false, _) => SignalState::NotSent,
    }
}

/// What is read of a thread's file `status`: a letter, and signals as bits.
#[derive(Default, Debug, PartialEq, Eq)]
struct Status {
    state: u8,
    pending: u64,
    blocked: u64,
}

/// Reads it by `read`, which fills what it is given as long as there is more. Part by part: one line may list some 65000 groups.
fn status_in(mut read: impl FnMut(&mut [u8]) -> usize) -> Status {
    /// More than a name and its value take, so that each is whole in some part.
    const KEPT: usize = 64;
    let (mut text, mut kept, mut status) = ([0_u8; 4096], 0, Status::default());
    loop {
        let length = kept + read(&mut text[kept..]);
        let field = |name: &[u8]| {
            let at = text[..length].windows(name.len()).position(|part| part == name)? + name.len();
            Some(text[at..length].trim_ascii_start())
        };
        let mask = |name: &[u8]| {
            let digits = field(name)?.iter().map_while(|digit| (*digit as char).to_digit(16));
            Some(digits.fold(0_u64, |mask, digit| mask << 4 | u64::from(digit)))
        };
        status.state = field(b"\nState:").and_then(|value| value.first().copied()).unwrap_or(status.state);
        status.pending = mask(b"\nSigPnd:").unwrap_or(status.pending);
        status.blocked = mask(b"\nSigBlk:").unwrap_or(status.blocked);
        if length < text.len() {
            return status;
        }
        text.copy_within(length - KEPT.., 0);
        kept = KEPT;
    }
}

/// Whether there is no thread of this number in the process any more.
fn has_ended(thread: u32) -> bool {
    let _errno = KeepErrno::new();
    // SAFETY: no preconditions; signal 0 is none.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, crate::os::process_id(), thread, 0) };
    sent != 0 && last_error() == libc::ESRCH
}

/// Whether a thread of the process is the kernel's own, and runs nothing of the program.
fn is_of_kernel(thread: u32) -> bool {
    /// `PF_IO_WORKER` of the kernel's `linux/sched.h`, for threads of io_uring. The flag for those of vhost (0x4000) means
    /// something else before Linux 6.4: they are given up after some looks.
    const IO_WORKER: u64 = 0x10;
    number_in(thread, b"/stat\0", 6).is_some_and(|flags| flags & IO_WORKER != 0)
}

/// Nanoseconds that a thread has had a processor, if the kernel tells.
fn nanoseconds_run(thread: u32) -> Option<u64> {
    number_in(thread, b"/schedstat\0", 0)
}

/// A number of a thread's file, behind so many others, and behind a name in parentheses if there is one.
fn number_in(thread: u32, name: &[u8], position: usize) -> Option<u64> {
    let file = file_of(thread, name)?;
    let mut text = [0_u8; 512];
    let length = file.read(&mut text);
    let rest = text[..length].rsplit(|byte| *byte == b')').next()?;
    let word = rest.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).nth(position)?;
    core::str::from_utf8(word).ok()?.parse().ok()
}

/// Whether `/proc` has this process and its calling thread by their own numbers: one of another PID namespace has not.
fn are_numbers_ours(this_thread: u32) -> bool {
    let _errno = KeepErrno::new();
    let (path, mut link) = (c"/proc/thread-self", [0_u8; 64]);
    // SAFETY: the path ends in a zero byte, and the buffer is valid for its length.
    let length =
        unsafe { libc::syscall(libc::SYS_readlinkat, libc::AT_FDCWD, path.as_ptr(), link.as_mut_ptr(), link.len()) };
    // Before Linux 3.17 there is none.
    let Some(link) = usize::try_from(length).ok().and_then(|length| link.get(..length)) else { return true };
    let mut numbers = link.split(|byte| *byte == b'/').map(|word| core::str::from_utf8(word).ok()?.parse().ok());
    [numbers.next(), numbers.nth(1)] == [Some(Some(crate::os::process_id())), Some(Some(this_thread))]
}

/// Calls `each` with the number of each thread of the process until it returns false. Returns how many there were.
fn each_thread(mut each: impl FnMut(u32) -> bool) -> Result<usize, Refusal> {
    let directory = super::ProcFile::open(b"/proc/self/task\0").ok_or(Refusal::NoProc)?;
    let mut entries = [0_u64; 512];
    let mut count = 0;
    loop {
        let bytes = directory.entries(&mut entries);
        if bytes == 0 {
            return if count == 0 { Err(Refusal::NoProc) } else { Ok(count) };
        }
        // SAFETY: the words are initialised, and bytes have no invalid values.
        let text = unsafe { core::slice::from_raw_parts(entries.as_ptr().cast::<u8>(), bytes) };
        let mut at = 0;
        // An entry: number and offset, 8 bytes each; its length, 2 bytes; its type, 1 byte; its name.
        while let Some(entry) = text.get(at..).filter(|entry| entry.len() > 19) {
            let length = usize::from(u16::from_ne_bytes([entry[16], entry[17]])).max(1);
            let name = entry[19..length.min(entry.len()).max(19)].split(|byte| *byte == 0).next().unwrap_or(b"");
            at += length;
            let Some(thread) = core::str::from_utf8(name).ok().and_then(|name| name.parse().ok()) else { continue };
            count += 1;
            if !each(thread) {
                return Ok(count);
            }
        }
    }
}

/// The calling thread's stack for signals.
fn signal_stack() -> libc::stack_t {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: a question with room for the answer.
    unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
    // SAFETY: all zero is a legal value too.
    unsafe { stack.assume_init() }
}

/// Whether the calling thread runs on a stack for signals. In a frame of its own: what lies there is not scanned.
#[inline(never)]
fn on_signal_stack() -> bool {
    signal_stack().ss_flags & libc::SS_ONSTACK != 0
}

/// Signals that are blocked for the calling thread until this is dropped: all, by the kernel's own call. The C library's leaves
/// those open by which it ends a cancelled thread, and others would stay stopped.
struct Blocked(u64);

impl Blocked {
    fn new() -> Self {
        Self(Self::set(u64::MAX))
    }

    /// Returns what was blocked before.
    fn set(signals: u64) -> u64 {
        let _errno = KeepErrno::new();
        let (how, mut before) = (libc::SIG_SETMASK, 0_u64);
        // SAFETY: a set of the kernel's, of so many bytes, and room for another.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const signals, &raw mut before, size_of::<u64>()) };
        before
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        Self::set(self.0);
    }
}

/// What the body of [`on_own_stack`] gets.
pub(crate) struct Caller {
    /// Where the caller's registers lie, and above them its stack.
    pub(crate) stack: usize,
    /// The stack that the body runs on.
    pub(crate) own: (usize, usize),
    /// Where the caller's stack for signals begins, which only the kernel may know.
    pub(crate) signal_stack: usize,
    /// Whether the caller's is a stack for signals.
    pub(crate) on_signal_stack: bool,
}

/// Runs `body` on a stack of its own, with all signals blocked, and the caller's registers saved on the caller's stack: so
/// nothing of what `body` does is left on that stack, and what it scans of it ends above its own frames. `None` without
/// memory for the stack. `body` must not unwind.
#[inline(never)]
pub(crate) fn on_own_stack<R>(body: impl FnOnce(&Caller) -> R) -> Option<R> {
    struct Call<F, R> {
        body: Option<F>,
        own: (usize, usize),
        on_signal_stack: bool,
        result: Option<R>,
    }
    unsafe extern "C" fn begin<F: FnOnce(&Caller) -> R, R>(call: *mut c_void, stack: usize) {
        // SAFETY: `on_own_stack` passes its `Call`, and waits.
        let call = unsafe { &mut *call.cast::<Call<F, R>>() };
        if let Some(body) = call.body.take() {
            let Call { own, on_signal_stack, .. } = *call;
            // Asked here, so that no word of the caller's stack holds it.
            let signal_stack = signal_stack().ss_sp.addr();
            call.result = Some(body(&Caller { stack, own, signal_stack, on_signal_stack }));
        }
    }
    fn begin_of<F: FnOnce(&Caller) -> R, R>(_: &Call<F, R>) -> unsafe extern "C" fn(*mut c_void, usize) {
        begin::<F, R>
    }
    let start = reserve(STACK_BYTES)?;
    let own = (start.addr().get(), start.addr().get() + STACK_BYTES);
    // The lowest page stays closed, to catch an overflow.
    let page = page_bytes();
    // SAFETY: inside what was reserved.
    let bottom = unsafe { start.add(page) };
    // SAFETY: inside what was reserved.
    let is_open = unsafe { open(bottom, STACK_BYTES - page) };
    let mut result = None;
    if is_open {
        let _blocked = Blocked::new();
        let call = Call { body: Some(body), own, on_signal_stack: on_signal_stack(), result: None };
        let begin = begin_of(&call);
        // At the low end of the new stack: room for an answer on the caller's would show what was there before.
        let place = bottom.cast();
        // SAFETY: fresh memory, aligned to a page, and larger than any call.
        unsafe { place.write(call) };
        // SAFETY: inside what was reserved; both sizes keep it aligned.
        let top = unsafe { start.add(STACK_BYTES - ABOVE_FIRST_FRAME) };
        // SAFETY: the stack is fresh and large enough; `begin` takes the call, and neither unwinds nor keeps it.
        unsafe { switch(place.as_ptr().cast(), top.as_ptr(), begin) };
        // SAFETY: written above, and read once.
        result = unsafe { place.read() }.result;
    }
    // SAFETY: nobody runs on it any more.
    unsafe { unreserve(start, STACK_BYTES) };
    result
}

/// Clears the part of the stack where the frames of the next calls will lie. They are scanned down to where the finder changes
/// to a stack of its own, since they keep registers of the caller's; what earlier calls left there would look held.
#[inline(always)]
pub(crate) fn clear_stack() {
    /// More than those frames take in a build without optimisation.
    const WORDS: usize = 512;
    // Downwards, so that a stack that is too small ends at its guard.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: nothing of this thread lies below its stack pointer, as the compiler sees to where a block may push.
    unsafe {
        asm!("2:", "mov qword ptr [rsp + 8*{0}], 0", "dec {0}", "cmp {0}, {1}", "jne 2b",
            inout(reg) -1_isize => _, in(reg) -(WORDS as isize));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("mov {0}, sp", "sub {1}, {0}, {1}", "2:", "str xzr, [{0}, #-8]!", "cmp {0}, {1}", "b.ne 2b",
            out(reg) _, inout(reg) 8 * WORDS => _);
    }
}

/// Saves the registers that a call keeps, and calls `begin(call, stack pointer)` on another stack.
///
/// # Safety
/// * `top` is the end of a stack that nobody uses, aligned to 16 bytes, with zeros above it; `begin` may be called with `call`, and does not unwind.
#[inline(never)]
unsafe fn switch(call: *mut c_void, top: *mut u8, begin: unsafe extern "C" fn(*mut c_void, usize)) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promises; all that is pushed is popped.
    unsafe {
        asm!(
            "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
            "mov rsi, rsp",
            "mov r12, rsp",
            "mov rsp, rdx",
            "call rcx",
            "mov rsp, r12",
            "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
            in("rdi") call,
            in("rdx") top,
            in("rcx") begin,
            clobber_abi("C"),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's promises; all that is stored is loaded again.
    unsafe {
        asm!(
            "sub sp, sp, #160",
            "stp x19, x20, [sp]", "stp x21, x22, [sp, #16]", "stp x23, x24, [sp, #32]", "stp x25, x26, [sp, #48]",
            "stp x27, x28, [sp, #64]", "stp x29, x30, [sp, #80]",
            "stp d8, d9, [sp, #96]", "stp d10, d11, [sp, #112]", "stp d12, d13, [sp, #128]", "stp d14, d15, [sp, #144]",
            "mov x1, sp",
            "mov x20, sp",
            "mov sp, x2",
            "blr x3",
            "mov sp, x20",
            "ldp x19, x20, [sp]", "ldp x29, x30, [sp, #80]",
            "add sp, sp, #160",
            in("x0") call,
            in("x2") top,
            in("x3") begin,
            clobber_abi("C"),
        );
    }
}

/// Where the C library keeps what it knows of a thread, given its thread pointer: some words among which are the beginning of
/// the thread's stack and, behind it, its bytes; and with glibc, behind those, the bytes of its guard.
pub(crate) fn thread_record(pointer: usize) -> (usize, usize) {
    /// More than any record takes.
    const BYTES: usize = 4096;
    if cfg!(target_arch = "x86_64") { (pointer, pointer + BYTES) } else { (pointer - BYTES, pointer) }
}

/// What the C library wrote next to the calling thread's pointer to guard its stacks, which is the same for each thread.
/// `None` where nobody has written how a thread that is gone can be told by it.
fn canary() -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    {
        let canary: u64;
        // SAFETY: the ABI's place for it.
        unsafe { asm!("mov {}, fs:0x28", out(reg) canary, options(nostack, readonly, preserves_flags)) };
        (canary != 0).then_some(canary)
    }
    #[cfg(target_arch = "aarch64")]
    None
}

/// A test for words at what was the thread pointer of a thread: some words from an address, a multiple of 64, on.
pub(crate) fn is_thread_pointer() -> Option<impl Fn(usize, &[u64]) -> bool> {
    let canary = canary()?;
    Some(move |address: usize, words: &[u64]| words[0] == address as u64 && words[5] == canary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_understood_with_any_number_of_groups() {
        for groups in (0..200).chain(1800..2200) {
            let numbers = "7 ".repeat(groups);
            let text = format!(
                "Name:\ta\nState:\tS (sleeping)\nGroups:\t{numbers}\nSigPnd:\t0000000200000000\nShdPnd:\t0000000000000000\n\
                 SigBlk:\tfffffffe7ffbfeff\nSigIgn:\t0000000000001000\n"
            );
            let mut rest = text.as_bytes();
            let status = status_in(|to| std::io::Read::read(&mut rest, to).unwrap());
            assert_eq!(status, Status { state: b'S', pending: 1 << 33, blocked: 0xFFFF_FFFE_7FFB_FEFF });
        }
    }
}
