//! Programs of several threads whose steps are taken one after another, so that each run of one is the same.
//!
//! All blocks are everyone's: a step may free or resize a block that another thread allocated. Threads are real ones; the
//! order among them comes from handing on the turn.

use std::alloc::GlobalAlloc;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::shadow::{Counts, Shadow, Step};

/// Threads that a program may name. Number 0 is the one that runs the program; it does not end with it.
pub const THREADS: usize = 4;

/// What a program is made of.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Turn {
    /// A thread takes a step, and is started for it if it does not run.
    Step {
        /// Which; modulo [`THREADS`].
        thread: u8,
        /// What it does.
        step: Step,
    },
    /// A thread ends, if it runs and is not number 0; what it allocated stays live.
    End {
        /// Which; modulo [`THREADS`].
        thread: u8,
    },
}

/// A program made of all the bytes that a fuzzer gives: `Vec` would ask it at each turn whether there is another.
#[cfg(feature = "arbitrary")]
#[derive(Debug)]
pub struct Program(pub Vec<Turn>);

#[cfg(feature = "arbitrary")]
impl<'a> arbitrary::Arbitrary<'a> for Program {
    fn arbitrary(bytes: &mut arbitrary::Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut turns = Vec::new();
        while !bytes.is_empty() {
            turns.push(bytes.arbitrary()?);
        }
        Ok(Self(turns))
    }
}

impl Turn {
    fn thread(&self) -> usize {
        let (Self::Step { thread, .. } | Self::End { thread }) = self;
        usize::from(*thread) % THREADS
    }
}

/// A running thread of a program: where its turns go, and where it says that it has taken them.
struct Running<'scope, 'program> {
    turns: SyncSender<&'program [Turn]>,
    done: Receiver<()>,
    thread: ScopedJoinHandle<'scope, ()>,
}

impl<'scope, 'program> Running<'scope, 'program> {
    fn start<A: GlobalAlloc + Default>(scope: &'scope Scope<'scope, '_>, shadow: &'scope Mutex<Shadow<A>>) -> Self
    where
        'program: 'scope,
    {
        let (turns, given) = mpsc::sync_channel::<&[Turn]>(1);
        let (say_done, done) = mpsc::sync_channel(1);
        let thread = scope.spawn(move || {
            for turns in given {
                take_turns(shadow, turns);
                if say_done.send(()).is_err() {
                    return;
                }
            }
        });
        Self { turns, done, thread }
    }

    /// `false` if the thread has panicked.
    fn take_turns(&self, turns: &'program [Turn]) -> bool {
        self.turns.send(turns).is_ok() && self.done.recv().is_ok()
    }

    /// Waits for the end of the thread, its thread-local destructors included.
    fn end(self) {
        drop(self.turns);
        if let Err(panic) = self.thread.join() {
            resume_unwind(panic);
        }
    }
}

fn take_turns<A: GlobalAlloc + Default>(shadow: &Mutex<Shadow<A>>, turns: &[Turn]) {
    let mut shadow = shadow.lock().unwrap_or_else(PoisonError::into_inner);
    for turn in turns {
        if let Turn::Step { step, .. } = turn {
            shadow.take_step(step);
        }
    }
}

/// Runs a program, then frees what it left. `audit` is called when all threads of the program are quiet, with what the
/// statistics have to say: after the last turn, while they run, and when they have ended and all is freed.
///
/// # Panics
/// Where the allocator does not do what a heap has to.
pub fn run<A: GlobalAlloc + Default>(turns: &[Turn], audit: impl Fn(&Counts)) {
    let shadow = Mutex::new(Shadow::<A>::new());
    thread::scope(|scope| {
        let mut threads: [Option<Running<'_, '_>>; THREADS] = [const { None }; THREADS];
        // The turn is handed on as seldom as possible: it costs two switches of threads.
        for turns in turns.chunk_by(|turn, next| matches!(turn, Turn::Step { .. }) && turn.thread() == next.thread()) {
            let number = turns[0].thread();
            if number == 0 {
                take_turns(&shadow, turns);
                continue;
            }
            let place = &mut threads[number];
            if matches!(turns[0], Turn::Step { .. }) {
                let running = place.get_or_insert_with(|| Running::start(scope, &shadow));
                if !running.take_turns(turns) {
                    place.take().into_iter().for_each(Running::end);
                }
            }
            if matches!(turns.last(), Some(Turn::End { .. })) {
                place.take().into_iter().for_each(Running::end);
            }
        }
        audit(shadow.lock().unwrap_or_else(PoisonError::into_inner).counts());
        threads.into_iter().flatten().for_each(Running::end);
    });
    let mut shadow = shadow.into_inner().unwrap_or_else(PoisonError::into_inner);
    shadow.finish();
    audit(shadow.counts());
}
