//! Random programs against a shadow of the heap: which bytes are live and what each of them holds.
//!
//! Short programs come from proptest, which shrinks what fails to the fewest operations; long ones from a fixed seed; and in the last
//! test other threads check and free the blocks. The shadow itself lives in the heap under test.
//!
//! To see it fail: hand a block out twice (leave a bit of the free map set when a block is taken); put a remote free's bit one place
//! too far; copy too little in `realloc`; drop the zeroing.
//!
//! `cargo test --test random_program`

mod support;

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;

use poolmalloc::PoolMalloc;
use proptest::prelude::*;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use support::block::{Block, layout};
use support::scaled;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

/// One step of a program. `pick` chooses among the blocks that are live by then.
#[derive(Debug, Clone)]
enum Step {
    Alloc(Layout),
    Zeroed(Layout),
    Realloc { pick: usize, size: usize },
    Free { pick: usize },
}

/// The live blocks, and their spans by address.
#[derive(Default)]
struct Shadow {
    blocks: Vec<Block>,
    sizes: BTreeMap<usize, usize>,
    made: usize,
}

impl Shadow {
    fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Alloc(layout) => {
                let block = Block::new(layout, self.made);
                self.insert(block);
            }
            Step::Zeroed(layout) => {
                let block = Block::zeroed(layout, self.made);
                self.insert(block);
            }
            Step::Realloc { pick, size } => {
                if let Some(mut block) = self.remove(pick) {
                    block.resize(size);
                    self.insert(block);
                }
            }
            Step::Free { pick } => {
                if let Some(block) = self.remove(pick) {
                    block.free();
                }
            }
        }
    }

    /// Adds a live block; fails if a byte of it belongs to another one.
    fn insert(&mut self, block: Block) {
        let (start, size) = (block.address(), block.layout().size());
        let before = self.sizes.range(..start + size).next_back();
        if let Some((&other, &other_size)) = before {
            assert!(other + other_size <= start, "{block:?} overlaps the {other_size} bytes at {other:#x}");
        }
        self.sizes.insert(start, size);
        self.blocks.push(block);
        self.made += 1;
    }

    fn remove(&mut self, pick: usize) -> Option<Block> {
        if self.blocks.is_empty() {
            return None;
        }
        let block = self.blocks.swap_remove(pick % self.blocks.len());
        self.sizes.remove(&block.address());
        Some(block)
    }

    fn check(&self) {
        self.blocks.iter().for_each(Block::check);
    }

    fn finish(self) {
        self.check();
        self.blocks.into_iter().for_each(Block::free);
    }
}

fn some_size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 1_usize..=256, 2 => 248_usize..=264, 2 => 257_usize..=5000, 1 => 5001_usize..=300_000]
}

fn some_layout() -> impl Strategy<Value = Layout> {
    (some_size(), prop_oneof![4 => 0_u32..=4, 1 => 5_u32..=12]).prop_map(|(size, power)| layout(size, 1 << power))
}

fn some_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => some_layout().prop_map(Step::Alloc),
        1 => some_layout().prop_map(Step::Zeroed),
        2 => (any::<usize>(), some_size()).prop_map(|(pick, size)| Step::Realloc { pick, size }),
        3 => any::<usize>().prop_map(|pick| Step::Free { pick }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: scaled(2048, 8) as u32,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn short_programs(steps in prop::collection::vec(some_step(), 1..300)) {
        let mut shadow = Shadow::default();
        steps.iter().for_each(|step| shadow.take_step(step));
        shadow.finish();
    }
}

/// A step that tends to keep about `target` blocks live.
fn seeded_step(random: &mut SmallRng, live: usize, target: usize) -> Step {
    let size = |random: &mut SmallRng| match random.random_range(0..100) {
        0..85 => random.random_range(1..=256),
        85..99 => random.random_range(1..=1024),
        _ => random.random_range(1..=20_000),
    };
    let pick = random.random_range(0..usize::MAX);
    let is_growing = random.random_range(0..2 * target) >= live;
    match random.random_range(0..10) {
        0..6 if is_growing => {
            let layout = layout(size(random), 1 << random.random_range(0..7));
            if random.random_ratio(1, 4) { Step::Zeroed(layout) } else { Step::Alloc(layout) }
        }
        0..6 => Step::Free { pick },
        6..8 => Step::Realloc { pick, size: size(random) },
        _ => Step::Free { pick },
    }
}

/// Waves of few and of many live blocks, so that pools empty, change their class and fill again.
#[test]
fn long_program() {
    let mut random = SmallRng::seed_from_u64(1);
    let mut shadow = Shadow::default();
    for wave in 0..10 {
        let target = if wave % 2 == 0 { 10_000 } else { 100 };
        for _ in 0..scaled(400_000, 20) {
            let step = seeded_step(&mut random, shadow.blocks.len(), target);
            shadow.take_step(&step);
        }
        shadow.check();
    }
    shadow.finish();
}

/// Four threads run programs of their own; what a program frees goes to the next thread, which resizes some and frees all.
#[test]
fn other_threads_free() {
    const THREADS: usize = 4;
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..THREADS).map(|_| mpsc::sync_channel::<Block>(500)).unzip();
    let threads: Vec<_> = receivers
        .into_iter()
        .enumerate()
        .map(|(index, receiver)| {
            let next = senders[(index + 1) % THREADS].clone();
            thread::spawn(move || {
                let mut random = SmallRng::seed_from_u64(index as u64);
                let mut shadow = Shadow::default();
                let free_received = |mut block: Block, count: usize| {
                    if count.is_multiple_of(3) {
                        block.resize(1 + count % 400);
                    }
                    block.free();
                };
                for count in 0..scaled(500_000, 10) {
                    match seeded_step(&mut random, shadow.blocks.len(), 1000) {
                        Step::Free { pick } => {
                            // A full queue means that the next thread is behind; waiting for it here could be a ring of waits.
                            if let Some(Err(mpsc::TrySendError::Full(block))) =
                                shadow.remove(pick).map(|block| next.try_send(block))
                            {
                                block.free();
                            }
                        }
                        step => shadow.take_step(&step),
                    }
                    receiver.try_iter().for_each(|block| free_received(block, count));
                }
                shadow.finish();
                drop(next);
                receiver.iter().for_each(|block| free_received(block, 1));
            })
        })
        .collect();
    drop(senders);
    for thread in threads {
        thread.join().expect("a thread of the program");
    }
}
