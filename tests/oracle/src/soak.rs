//! Threads that take random steps at the same time, hand blocks to each other, end and are replaced. They meet at quiet
//! points, where the heap can be compared with the blocks that must be live.
//!
//! Each *worker* has a shadow of its own, which outlives its threads: the next thread of the worker goes on with the
//! blocks of the one before. All memory that the soak itself needs comes from the global allocator of the process. That
//! must not be the allocator under test, so that the counts are exact.
//!
//! # Ordering
//! * Slots: the `swap` that makes a slot busy is `Acquire` and pairs with the `Release` store that freed the slot. So
//!   the thread sees the block in the slot, and the content of the block.
//! * Meetings: `arrived` is `AcqRel` and pairs with the `Acquire` load of the thread that waits for all workers. At the
//!   quiet point that thread sees the work of all workers. `meetings` is `Release` and pairs with the `Acquire` loads
//!   of the workers. They see what was done at the quiet point.

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

/// Maximum target of a worker between its bursts, in blocks.
const TARGET_MOST: usize = 5000;
/// Blocks that a burst makes and then drops.
const BURST: usize = 100_000;
/// Number of slots, in which a worker leaves a block for other workers.
const SLOTS: usize = 4096;
/// Of this many steps, one exchanges a block.
const EXCHANGE: u32 = 8;

/// Settings of a soak.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// Number of workers. Each has one thread at a time.
    pub workers: usize,
    /// Number of steps of each worker between two quiet points.
    pub steps: usize,
    /// Maximum number of steps of a thread before it ends and is replaced.
    pub life: usize,
    /// Seed of all random numbers.
    pub seed: u64,
}

/// Sums over all workers at a quiet point.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet {
    /// Figures that the statistics must show.
    pub counts: Counts,
    /// Number of calls of the allocator so far.
    pub operations: u64,
    /// Number of blocks that went from a worker to another one, or back to itself.
    pub handed_over: u64,
    /// Number of bursts that began.
    pub bursts: u64,
    /// Number of threads that were started.
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

// SAFETY: only the thread that made the slot busy touches its content.
unsafe impl<A> Sync for Slot<A> {}

impl<A> Slot<A> {
    const fn new() -> Self {
        Self { is_busy: AtomicBool::new(false), block: UnsafeCell::new(None) }
    }

    /// Puts a block, or nothing, into the slot and returns its old content. If the slot is busy, returns `block`
    /// itself.
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

/// The data that all workers share.
struct Shared<A> {
    soak: Soak,
    slots: Box<[Slot<A>]>,
    /// Set while a worker bursts. Only one may burst at a time: otherwise ever more bursts would coincide by chance,
    /// and the peak of memory would go on growing.
    is_bursting: AtomicBool,
    /// Number of workers that wait at the meeting.
    arrived: AtomicUsize,
    /// Number of meetings that are over.
    meetings: AtomicUsize,
    is_over: AtomicBool,
    sum: Mutex<Quiet>,
}

impl<A> Shared<A> {
    /// Waits until `is_done` returns `true`, or until the soak is over.
    fn wait_until(&self, is_done: impl Fn() -> bool) {
        while !is_done() && !self.is_over.load(Ordering::Acquire) {
            thread::sleep(Duration::from_micros(500));
        }
    }

    /// Adds to the sums of the next quiet point.
    fn add(&self, part: &Quiet) {
        self.sum.lock().unwrap_or_else(PoisonError::into_inner).add(part);
    }

    fn take_sum(&self) -> Quiet {
        mem::take(&mut *self.sum.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Ends the soak for all threads when it is dropped, also by a panic.
struct OverOnDrop<'a>(&'a AtomicBool);

impl Drop for OverOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// The kind of work that a worker does at present.
#[derive(Clone, Copy)]
enum Phase {
    /// Keeps about `target` blocks, for `left` steps.
    Churn { target: usize, left: usize },
    /// Only allocates.
    Fill { left: usize },
    /// Only frees. Without a `pick` it frees the newest block first. With a `pick`, each step picks its block by a
    /// number that is lower by 1 than that of the step before, and the last number is `pick`.
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
            // `random_step` may reach twice the target.
            shadow: Shadow::with_room(2 * TARGET_MOST + BURST),
            random: SmallRng::seed_from_u64(soak.seed.wrapping_mul(1000).wrapping_add(index as u64)),
            phase: Phase::Churn { target: TARGET_MOST, left: 0 },
            left: soak.steps,
            handed_over: 0,
            bursts: 0,
            threads: 0,
        }
    }

    /// Lives as one thread, until the soak is over or for a random number of steps.
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
            // When a burst has filled up, half of the threads end: the worker's next thread then drops the blocks.
            let was_filling = matches!(self.phase, Phase::Fill { .. });
            self.step(shared);
            (life, self.left) = (life - 1, self.left - 1);
            if was_filling && matches!(self.phase, Phase::Drop { .. }) && self.random.random() {
                return;
            }
        }
    }

    /// Checks all blocks of the worker, and waits at the quiet point.
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

    /// Runs one thread after the other until the soak is over, then frees all blocks of the worker.
    fn live_again_and_again(mut self, shared: &Shared<A>) {
        let _over = OverOnDrop(&shared.is_over);
        while !shared.is_over.load(Ordering::Acquire) {
            // The join makes sure that the thread's end is over before the worker meets again.
            thread::scope(|scope| scope.spawn(|| self.live(shared)).join())
                .unwrap_or_else(|panic| resume_unwind(panic));
            // The heap of the thread stays parked for a while: other threads may need blocks that it holds.
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
                // When the picks count down, blocks are freed neither in the order of their allocation nor in its
                // reverse.
                let last = self.shadow.length().wrapping_sub(1);
                Step::Free { pick: pick.map_or(last, |pick| pick.wrapping_add(*left)) }
            }
        };
        self.shadow.take_step(&step);
    }

    fn next_phase(&mut self, shared: &Shared<A>) -> Phase {
        // Relaxed: no other memory depends on the flag.
        if self.random.random_ratio(1, 4) && !shared.is_bursting.swap(true, Ordering::Relaxed) {
            self.bursts += 1;
            return Phase::Fill { left: BURST };
        }
        let power = self.random.random_range(0..=3_u32);
        let target = self.random.random_range(1..=TARGET_MOST / 10_usize.pow(power));
        Phase::Churn { target, left: self.random.random_range(1..=200_000) }
    }

    /// Exchanges a block for the one that another worker left in a slot.
    fn exchange(&mut self, shared: &Shared<A>) {
        let ours = self.shadow.take(random_pick(&mut self.random));
        let slot = &shared.slots[self.random.random_range(0..SLOTS)];
        if let Some(theirs) = slot.exchange(ours) {
            self.handed_over += 1;
            self.shadow.put(theirs);
        }
    }
}

/// Runs threads until `at_quiet_point` returns a break, then frees all blocks and calls it a last time.
///
/// # Panics
/// If the allocator fails a check of the shadow, and if `at_quiet_point` panics.
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
            // Relaxed: a worker adds to the count again only after it has seen the end of the meeting.
            shared.arrived.store(0, Ordering::Relaxed);
            shared.meetings.fetch_add(1, Ordering::Release);
        }
        drop(over);
        // The scope itself does not wait until the threads have parked their heaps.
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
    let mut rest = Shadow::<A>::with_room(SLOTS);
    shared.slots.iter().filter_map(|slot| slot.exchange(None)).for_each(|block| rest.put(block));
    rest.finish();
    shared.add(&Quiet { counts: *rest.counts(), operations: rest.operations(), ..Quiet::default() });
    // The soak is over, whatever this call returns.
    let _ = at_quiet_point(&shared.take_sum());
}
