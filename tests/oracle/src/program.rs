//! Programs of several threads that take their steps one after another, so that each run of a program is the same.
//!
//! All threads share the blocks: a step may free or resize a block that another thread allocated. The threads are real
//! ones. They pass the turn on to each other, and that fixes the order of the steps.

use std::alloc::GlobalAlloc;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::shadow::{Counts, Shadow, Step};

/// Number of threads that a program may name. Thread 0 is the one that runs the program; it does not end when the
/// program ends.
pub const THREADS: usize = 4;

/// A part of a program: a step of a thread, or the end of a thread.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Turn {
    /// A thread takes a step. It is started first if it is not running.
    Step {
        /// Number of the thread, modulo [`THREADS`].
        thread: u8,
        /// The step.
        step: Step,
    },
    /// A thread ends, if it is running and is not thread 0. The blocks that it allocated stay live.
    End {
        /// Number of the thread, modulo [`THREADS`].
        thread: u8,
    },
}

/// A program made of all the bytes of a fuzzer's input. A `Vec` would use up input before each turn, to decide whether
/// another turn follows.
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

/// A running thread of a program, with one channel that brings turns to it, and one on which it says that it has taken
/// them.
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

    /// Passes `turns` to the thread, and waits until it has taken them. Returns `false` if the thread has panicked.
    fn take_turns(&self, turns: &'program [Turn]) -> bool {
        self.turns.send(turns).is_ok() && self.done.recv().is_ok()
    }

    /// Ends the thread, and waits until its thread-local destructors have run.
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

/// Runs a program, then frees the blocks that are left. Calls `audit` twice, with the figures that the statistics must
/// show: after the last turn, while the threads of the program are running but quiet, and again when they have ended
/// and all blocks are freed.
///
/// # Panics
/// If the allocator fails a check of the shadow.
pub fn run<A: GlobalAlloc + Default>(turns: &[Turn], audit: impl Fn(&Counts)) {
    let shadow = Mutex::new(Shadow::<A>::new());
    thread::scope(|scope| {
        let mut threads: [Option<Running<'_, '_>>; THREADS] = [const { None }; THREADS];
        // Steps of one thread that follow each other are passed on together: each pass costs two switches of threads.
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
