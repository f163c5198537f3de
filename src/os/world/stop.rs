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
//! * **S** (stopped): the compare-exchange is `Release`: all that the thread did before is seen by whoever sees it
//!   stopped.
//! * **W** (wait): the load is `Acquire` and pairs with S.
//! * **E** (end): the store is `Release` and pairs with the handler's `Acquire` load of the round.

use super::places::{FIRST_PLACES, NO_THREAD, ThreadPlace, ThreadPlaces};
use super::refusal::Refusal;
use super::threads::{
    SignalState, are_numbers_ours, each_thread, nanoseconds_run, send, signal_state, this_thread, thread_pointer,
};
use crate::os::memory::KeepErrno;
use crate::os::process::nap;
use core::ffi::{c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What has become of a thread in a round: the two low bits of a place's state.
const ASKED: u32 = 1;

const STOPPED: u32 = 2;

const GIVEN_UP: u32 = 3;

/// How long a thread is waited for that has no processor, or that the kernel holds up in the middle of a system call.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one is that sleeps in the kernel and takes no signal there: in `vfork`, as long as the child runs.
const PATIENCE_IN_KERNEL: Duration = Duration::from_secs(2);

/// Looks at threads that are all asleep and block the signal, after which it is not waited for them any more. The C
/// library blocks signals for moments, when a thread begins or ends; such a thread may wait for one that has been
/// stopped.
const LOOKS_AT_SLEEPERS: u32 = 64;

/// Times that the signal is sent once more to a thread that seems to have got none.
const TIMES_SENT_AGAIN: u32 = 8;

/// Nanoseconds that a thread which blocks the signal may run before it is given up.
const RUN_WITH_BLOCKED: u64 = 20_000_000;

/// What stopped threads and the one that stops them share.
///
/// Stop invariant 1: `round` is odd while threads are stopped; it only grows.
/// Stop invariant 2: a table that `places` ever pointed to stays mapped, since a handler may still look at it.
/// Stop invariant 3: only the holder of the finder's lock writes here, but for the states of places, of which a
/// thread's handler writes its own.
pub(crate) struct Stop {
    round: AtomicU32,
    /// The first of the places; before them, in their memory, how many there are.
    places: AtomicPtr<ThreadPlace>,
    /// The signal; 0 for the usual one.
    signal: AtomicI32,
    /// The signal for which the handler is installed; 0 for none.
    installed: AtomicI32,
}

impl Stop {
    pub(crate) const fn new() -> Self {
        Self {
            round: AtomicU32::new(0),
            places: AtomicPtr::new(ptr::null_mut()),
            signal: AtomicI32::new(0),
            installed: AtomicI32::new(0),
        }
    }
}

/// What the threads that are stopped for it share with it.
pub(crate) static STOP: Stop = Stop::new();

/// A thread that is stopped, or could not be.
#[derive(Clone, Copy)]
pub(crate) struct StoppedThread {
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
    table: ThreadPlaces,
    /// When the first was asked.
    since: Instant,
}

impl Stop {
    /// The table that is in use now.
    fn table(&self) -> Option<ThreadPlaces> {
        let places = NonNull::new(self.places.load(Ordering::Acquire))?;
        // SAFETY: `new_table` made it, and it stays mapped (Stop invariant 2).
        Some(unsafe { ThreadPlaces::at(places) })
    }

    /// The signal by which threads are stopped.
    fn signal(&self) -> c_int {
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

    /// Stops all other threads of the process. The caller holds the finder's lock, and those that stopped threads must
    /// not hold; until the result is dropped it asks for no memory of malloc, and for no lock.
    pub(crate) fn stop(&self) -> Result<World, Refusal> {
        let signal = self.install()?;
        let mut table = match self.table() {
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

    fn new_table(&self, places: usize) -> Result<ThreadPlaces, Refusal> {
        let table = ThreadPlaces::make(places).ok_or(Refusal::NoMemory)?;
        self.places.store(table.places.as_ptr(), Ordering::Release);
        Ok(table)
    }

    /// Where the table of threads lies, which holds pointers to stacks only.
    pub(crate) fn table_range() -> (usize, usize) {
        STOP.table().map_or((0, 0), ThreadPlaces::range)
    }
}

impl World {
    /// Asks each thread, waits for all, and looks again, until there is none that is new. A thread that is stopped
    /// makes no other, so a look that begins when all are stopped and finds no new one has found all.
    ///
    /// Where `/proc` belongs to another PID namespace the numbers in it are foreign, and no thread would be found by
    /// them.
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
            let open = |place: &&ThreadPlace| place.state.load(Ordering::Acquire) == state(round, ASKED);
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
            nap();
        }
    }

    /// Looks why a thread does not answer. Returns whether it sleeps, and blocks the signal.
    fn look(&self, place: &ThreadPlace, round: u32, signal: c_int, waited: Duration, looks_at_sleepers: u32) -> bool {
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
    pub(crate) fn threads(&self) -> impl Iterator<Item = StoppedThread> {
        self.table.places().iter().filter_map(|place| {
            let stack = match place.state.load(Ordering::Acquire) & 3 {
                STOPPED => Some(place.stack.load(Ordering::Relaxed)),
                GIVEN_UP => None,
                _ => return None,
            };
            Some(StoppedThread {
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
    let Some(table) = STOP.table() else { return };
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
