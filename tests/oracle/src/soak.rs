//! Threads that take random steps at the same time, hand blocks to each other, end and are replaced, and meet at quiet
//! points, where the heap can be compared with what has to be live.
//!
//! Each *worker* has a shadow of its own, which outlives its threads: the next thread of the worker goes on with the blocks
//! of the one before. Everything that the soak needs comes from the process's global allocator, which must not be the one
//! under test, so that the counts are exact.
//!
//! # Ordering
//! * Slots: the `swap` that makes a slot busy is `Acquire` and pairs with the `Release` of whoever freed it: the block in
//!   it, and what was written into the block, are seen.
//! * Meetings: `arrived` is `AcqRel` and pairs with the `Acquire` of the one who waits for all: what the workers did is
//!   seen at the quiet point. `meeting` is `Release` and pairs with the workers' `Acquire`: what was done there is seen by
//!   them.

use std::alloc::GlobalAlloc;
use std::cell::UnsafeCell;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::block::{Block, layout};
use crate::shadow::{Counts, Shadow, Step, random_pick, random_step};

/// Most blocks that a worker keeps between its bursts.
const TARGET_MOST: usize = 5000;
/// Blocks that a burst makes and then drops.
const BURST: usize = 100_000;
/// Places where blocks lie for other workers.
const SLOTS: usize = 4096;
/// One step in so many is an exchange of a block.
const EXCHANGE: u32 = 8;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Workers, each with one thread at a time.
    pub workers: usize,
    /// Steps of each worker between two quiet points.
    pub steps: usize,
    /// Most steps of a thread before it ends and is replaced.
    pub life: usize,
    /// Where all that is random starts from.
    pub seed: u64,
}

/// What is known at a quiet point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    /// What the statistics have to say.
    pub counts: Counts,
    /// Calls of the allocator so far.
    pub operations: u64,
    /// Blocks that went from a worker to another one, or back to itself.
    pub handed_over: u64,
    /// Bursts that were begun.
    pub bursts: u64,
    /// Threads that were started.
    pub threads: u64,
}

impl Quiet {
    fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.operations += other.operations;
        self.handed_over += other.handed_over;
        self.bursts += other.bursts;
        self.threads += other.threads;
    }
}

/// A place for one block.
struct Slot<A> {
    is_busy: AtomicBool,
    block: UnsafeCell<Option<Block<A>>>,
}

// SAFETY: only the thread that made the slot busy touches what is in it.
unsafe impl<A> Sync for Slot<A> {}

impl<A> Slot<A> {
    const fn new() -> Self {
        Self { is_busy: AtomicBool::new(false), block: UnsafeCell::new(None) }
    }

    /// Puts a block, or nothing, in, and returns what was there; a busy slot gives the block straight back.
    fn exchange(&self, block: Option<Block<A>>) -> Option<Block<A>> {
        if self.is_busy.swap(true, Ordering::Acquire) {
            return block;
        }
        // SAFETY: this thread made the slot busy.
        let place = unsafe { &mut *self.block.get() };
        let found = mem::replace(place, block);
        self.is_busy.store(false, Ordering::Release);
        found
    }
}

/// What all workers share.
struct Shared<A> {
    soak: Soak,
    slots: Box<[Slot<A>]>,
    /// One burst at a time: memory would grow for as long as ever more of them happen to fall together.
    is_bursting: AtomicBool,
    /// Workers that wait at the meeting.
    arrived: AtomicUsize,
    /// Meetings that are over.
    meetings: AtomicUsize,
    is_over: AtomicBool,
    sum: Mutex<Quiet>,
}

impl<A> Shared<A> {
    /// Waits until `is_done`, or until the soak is over.
    fn wait_until(&self, is_done: impl Fn() -> bool) {
        while !is_done() && !self.is_over.load(Ordering::Acquire) {
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Adds to what is known at the next quiet point.
    fn add(&self, part: &Quiet) {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner).add(part);
    }

    fn take_sum(&self) -> Quiet {
        mem::take(&mut *self.sum.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends the soak for all when the thread that holds it is done with it, or panics.
struct OverOnDrop<'a>(&'a AtomicBool);

impl Drop for OverOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a worker is about.
#[derive(Clone, Copy)]
enum Phase {
    /// Keeps about so many blocks, for so many steps.
    Churn { target: usize, left: usize },
    /// Only allocates.
    Fill { left: usize },
    /// Only frees: the newest block first, or by this pick.
    Drop { left: usize, pick: Option<usize> },
}

struct Worker<A> {
    shadow: Shadow<A>,
    random: SmallRng,
    phase: Phase,
    /// Steps until the next quiet point.
    left: usize,
    handed_over: u64,
    bursts: u64,
    threads: u64,
}

impl<A: GlobalAlloc + Default> Worker<A> {
    fn new(soak: &Soak, index: usize) -> Self {
        Self {
            // Twice the target is what `random_step` may reach.
            shadow: Shadow::with_room(2 * TARGET_MOST + BURST),
            random: SmallRng::seed_from_u64(soak.seed.wrapping_mul(1000).wrapping_add(index as u64)),
            phase: Phase::Churn { target: TARGET_MOST, left: 0 },
            left: soak.steps,
            handed_over: 0,
            bursts: 0,
            threads: 0,
        }
    }

    /// A thread's life: until the soak is over, or by chance.
    fn live(&mut self, shared: &Shared<A>) {
        self.threads += 1;
        let mut life = self.random.random_range(1..=shared.soak.life);
        while life > 0 {
            if self.left == 0 {
                self.meet(shared);
                if shared.is_over.load(Ordering::Acquire) {
                    return;
                }
            }
            // After a burst's filling, half of the threads end: what they made is for others to drop.
            let was_filling = matches!(self.phase, Phase::Fill { .. });
            self.step(shared);
            (life, self.left) = (life - 1, self.left - 1);
            if was_filling && matches!(self.phase, Phase::Drop { .. }) && self.random.random() {
                return;
            }
        }
    }

    /// Waits at the quiet point.
    fn meet(&mut self, shared: &Shared<A>) {
        self.shadow.check();
        shared.add(&self.known());
        let meeting = shared.meetings.load(Ordering::Acquire);
        shared.arrived.fetch_add(1, Ordering::AcqRel);
        shared.wait_until(|| shared.meetings.load(Ordering::Acquire) != meeting);
        self.left = shared.soak.steps;
    }

    fn known(&self) -> Quiet {
        Quiet {
            counts: *self.shadow.counts(),
            operations: self.shadow.operations(),
            handed_over: self.handed_over,
            bursts: self.bursts,
            threads: self.threads,
        }
    }

    /// One thread after the other; then frees all.
    fn live_again_and_again(mut self, shared: &Shared<A>) {
        let _over = OverOnDrop(&shared.is_over);
        while !shared.is_over.load(Ordering::Acquire) {
            // Joined, so that the thread's end is over before the worker meets again.
            thread::scope(|scope| scope.spawn(|| self.live(shared)).join())
                .unwrap_or_else(|panic| resume_unwind(panic));
            // Its heap stays parked for a while: others may need what it holds.
            thread::sleep(Duration::from_millis(self.random.random_range(0..20)));
        }
        self.shadow.finish();
        shared.add(&self.known());
    }

    fn step(&mut self, shared: &Shared<A>) {
        let step = match &mut self.phase {
            Phase::Churn { left: 0, .. } => {
                self.phase = self.next_phase(shared);
                return;
            }
            Phase::Churn { target, left } => {
                *left -= 1;
                if self.random.random_ratio(1, EXCHANGE) {
                    self.exchange(shared);
                    return;
                }
                random_step(&mut self.random, self.shadow.length(), *target)
            }
            Phase::Fill { left: 0 } => {
                let pick = self.random.random::<bool>().then(|| random_pick(&mut self.random));
                self.phase = Phase::Drop { left: BURST, pick };
                return;
            }
            Phase::Fill { left } => {
                *left -= 1;
                Step::Alloc(layout(self.random.random_range(1..=256), 1))
            }
            Phase::Drop { left: 0, .. } => {
                shared.is_bursting.store(false, Ordering::Relaxed);
                self.phase = Phase::Churn { target: TARGET_MOST, left: 0 };
                return;
            }
            Phase::Drop { left, pick } => {
                *left -= 1;
                // A pick of all blocks in turn is neither their order nor the reverse of it.
                let last = self.shadow.length().wrapping_sub(1);
                Step::Free { pick: pick.map_or(last, |pick| pick.wrapping_add(*left)) }
            }
        };
        self.shadow.take_step(&step);
    }

    fn next_phase(&mut self, shared: &Shared<A>) -> Phase {
        // Relaxed: nothing is read on the strength of it.
        if self.random.random_ratio(1, 4) && !shared.is_bursting.swap(true, Ordering::Relaxed) {
            self.bursts += 1;
            return Phase::Fill { left: BURST };
        }
        let power = self.random.random_range(0..=3_u32);
        let target = self.random.random_range(1..=TARGET_MOST / 10_usize.pow(power));
        Phase::Churn { target, left: self.random.random_range(1..=200_000) }
    }

    /// Gives a block up for one of another worker.
    fn exchange(&mut self, shared: &Shared<A>) {
        let ours = self.shadow.take(random_pick(&mut self.random));
        let slot = &shared.slots[self.random.random_range(0..SLOTS)];
        if let Some(theirs) = slot.exchange(ours) {
            self.handed_over += 1;
            self.shadow.put(theirs);
        }
    }
}

/// Runs threads until `at_quiet_point` breaks off, then frees everything and calls it a last time.
///
/// # Panics
/// Where the allocator does not do what a heap has to, and where `at_quiet_point` panics.
pub fn run<A: GlobalAlloc + Default>(soak: Soak, mut at_quiet_point: impl FnMut(&Quiet) -> ControlFlow<()>) {
    let shared = &Shared::<A> {
        soak,
        slots: (0..SLOTS).map(|_| Slot::new()).collect(),
        is_bursting: AtomicBool::new(false),
        arrived: AtomicUsize::new(0),
        meetings: AtomicUsize::new(0),
        is_over: AtomicBool::new(false),
        sum: Mutex::new(Quiet::default()),
    };
    thread::scope(|scope| {
        let start = |index| scope.spawn(move || Worker::<A>::new(&soak, index).live_again_and_again(shared));
        let workers: Vec<_> = (0..soak.workers).map(start).collect();
        let over = OverOnDrop(&shared.is_over);
        loop {
            shared.wait_until(|| shared.arrived.load(Ordering::Acquire) == soak.workers);
            if shared.is_over.load(Ordering::Acquire) || at_quiet_point(&shared.take_sum()).is_break() {
                break;
            }
            // Relaxed: the workers count again only after they have seen the meeting's end.
            shared.arrived.store(0, Ordering::Relaxed);
            shared.meetings.fetch_add(1, Ordering::Release);
        }
        drop(over);
        // The scope itself does not wait until the threads have given their heaps back.
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    let mut rest = Shadow::<A>::with_room(SLOTS);
    shared.slots.iter().filter_map(|slot| slot.exchange(None)).for_each(|block| rest.put(block));
    rest.finish();
    shared.add(&Quiet { counts: *rest.counts(), operations: rest.operations(), ..Quiet::default() });
    // Over, whatever it says.
    let _ = at_quiet_point(&shared.take_sum());
}
