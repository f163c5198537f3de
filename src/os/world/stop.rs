//! Stops the other threads by a signal, whose handler waits until the round is over.
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
//! The place of a thread that does not answer becomes `GIVEN_UP`. If its handler runs later, it finds no question and
//! returns.
//!
//! # Ordering
//! * **S** (stopped): the compare-exchange is `Release`. It publishes all that the thread did before it stopped.
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

/// States of a thread in a round, in the two low bits of its place's state: asked to stop, stopped, given up.
const ASKED: u32 = 1;

const STOPPED: u32 = 2;

const GIVEN_UP: u32 = 3;

/// Longest wait for a thread that has no processor, or that the kernel holds up in the middle of a system call.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for a thread that sleeps in the kernel and takes no signal there. A thread in `vfork` sleeps like this
/// as long as the child runs.
const PATIENCE_IN_KERNEL: Duration = Duration::from_secs(2);

/// Number of looks in a row that must find all remaining threads asleep with the signal blocked, before these threads
/// are given up. The C library blocks signals for a moment when a thread begins or ends. Such a thread may be waiting
/// for one that has stopped.
const LOOKS_AT_SLEEPERS: u32 = 64;

/// Limit of the times that the signal is sent again to a thread. Beyond it the thread is given up.
const TIMES_SENT_AGAIN: u32 = 8;

/// Nanoseconds that a thread which blocks the signal may run before it is given up.
const RUN_WITH_BLOCKED: u64 = 20_000_000;

/// The data that stopped threads share with the thread that stops them.
///
/// Stop invariant 1: `round` is odd while threads are stopped; it only grows.
/// Stop invariant 2: a table that `places` ever pointed to stays mapped, since a handler may still look at it.
/// Stop invariant 3: only the holder of the finder's lock writes here, with two exceptions. Any thread may choose
/// `signal`, and a thread's handler writes to the thread's own place.
pub(crate) struct Stop {
    round: AtomicU32,
    /// The first place of the table in use. The table's header in front of it holds the number of places.
    places: AtomicPtr<ThreadPlace>,
    /// The chosen signal; 0 for the default.
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

/// The one [`Stop`] of the process.
pub(crate) static STOP: Stop = Stop::new();

/// A thread that has stopped, or that could not be stopped.
#[derive(Clone, Copy)]
pub(crate) struct StoppedThread {
    pub(crate) thread: u32,
    /// Start of the used part of its stack; `None` if the thread could not be stopped.
    pub(crate) stack: Option<usize>,
    /// Its thread pointer, if it is stopped.
    pub(crate) pointer: usize,
    /// Whether it was on its signal stack when it was stopped.
    pub(crate) on_signal_stack: bool,
}

/// Proof that the other threads are stopped, except those that were given up. The threads run on when it is dropped.
pub(crate) struct World {
    table: ThreadPlaces,
    /// When the first thread was asked to stop.
    since: Instant,
}

impl Stop {
    /// The table in use; `None` if there was no search yet.
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

    /// Chooses the signal by which threads are stopped from now on.
    pub(crate) fn choose_signal(&self, signal: c_int) {
        self.signal.store(signal, Ordering::Relaxed);
    }

    /// Installs the handler for the signal, and returns the signal. The handler stays installed, since a thread may
    /// take a signal late.
    fn install(&self) -> Result<c_int, Refusal> {
        let signal = self.signal();
        if self.installed.load(Ordering::Relaxed) == signal {
            return Ok(signal);
        }
        let mut before = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: the call only asks, and `before` has room for the answer.
        if unsafe { libc::sigaction(signal, ptr::null(), before.as_mut_ptr()) } != 0 {
            return Err(Refusal::SignalInUse(signal));
        }
        // SAFETY: all zero is a legal action, and the call has filled it in.
        let before = unsafe { before.assume_init() };
        let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = stay_stopped;
        // The handler is installed already if this signal was chosen before.
        if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != handler as usize {
            return Err(Refusal::SignalInUse(signal));
        }
        let mut action = before;
        action.sa_sigaction = handler as usize;
        // Without `SA_ONSTACK` the handler runs on the stack in use. So the registers that the kernel saves there are
        // found together with that stack.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        // All signals are blocked in the handler. The C library's function would leave out the signals by which it
        // cancels a thread, and such a signal would end a stopped thread. SAFETY: the set is the action's own, and each
        // combination of bits is a valid set.
        unsafe { (&raw mut action.sa_mask).write_bytes(0xFF, 1) };
        // SAFETY: the handler has the type that `SA_SIGINFO` asks for, and calls only functions that are allowed in a
        // handler.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(Refusal::SignalInUse(signal));
        }
        self.installed.store(signal, Ordering::Relaxed);
        Ok(signal)
    }

    /// Stops all other threads of the process. The caller holds the finder's lock, and all locks that a stopped thread
    /// must not hold. Until the result is dropped, the caller asks malloc for no memory and takes no lock.
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

    /// Start and end of the table of threads. The table holds addresses of stacks and thread pointers, but no pointers
    /// of the program.
    pub(crate) fn table_range() -> (usize, usize) {
        STOP.table().map_or((0, 0), ThreadPlaces::range)
    }
}

impl World {
    /// Asks each thread to stop, waits for all, and looks again until there is no new thread. A stopped thread starts
    /// no other one. So if a look begins when all known threads are stopped, and finds no new thread, then all threads
    /// are known.
    ///
    /// Refuses where `/proc` belongs to another PID namespace: its thread numbers are foreign, and the signal would
    /// reach no thread by them.
    fn stop_all(&self, round: u32, signal: c_int) -> Result<(), Refusal> {
        let this_thread = this_thread();
        if !are_numbers_ours(this_thread) {
            return Err(Refusal::NoProc);
        }
        loop {
            // No known situation takes that long.
            if self.since.elapsed() > 3 * PATIENCE {
                return Err(Refusal::NoProc);
            }
            // A thread that cannot be stopped may start new ones for ever. They are given up at once from here on.
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
                // The state is written before the number, so that a handler which finds its number finds the question,
                // too.
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
                // A look at a thread's file takes more time than the thread needs to answer.
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

    /// Finds out why a thread does not answer, and gives it up if waiting is pointless. Returns whether it sleeps and
    /// blocks the signal.
    fn look(&self, place: &ThreadPlace, round: u32, signal: c_int, waited: Duration, looks_at_sleepers: u32) -> bool {
        let thread = place.thread.load(Ordering::Relaxed);
        let give_up = || {
            let (asked, given_up) = (state(round, ASKED), state(round, GIVEN_UP));
            let _ = place.state.compare_exchange(asked, given_up, Ordering::Acquire, Ordering::Acquire);
        };
        match signal_state(thread, signal) {
            SignalState::Ended => {
                place.state.store(0, Ordering::Relaxed);
                // The kernel may give its number to a new thread, which must be asked then.
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
                // A signal that was sent and is gone without a call of the handler was taken by `sigwait`.
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

    /// Each other thread, stopped or given up.
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

    /// Whether stopping took long because some thread cannot be stopped. The next try would take as long.
    pub(crate) fn is_held_up(&self) -> bool {
        self.since.elapsed() > PATIENCE_IN_KERNEL / 2 && !self.are_all_stopped()
    }

    /// Time since the first thread was asked to stop.
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

/// The signal's handler. It holds its thread until the round is over, if the thread was asked to stop.
extern "C" fn stay_stopped(_: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let _errno = KeepErrno::new();
    // The kernel has saved the thread's state from these addresses upwards. The interrupted stack lies above that
    // state.
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
