//! Blocks of every size and alignment, live at the same time: for the tests of this machine and of simulated ones.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::block::{Block, assert_disjoint, layout};
use crate::oracle::assert_nothing_left;

/// Powers of two from 1 to `most`.
pub fn powers_of_two(most: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |power| Some(power * 2)).take_while(move |power| *power <= most)
}

/// Checks all blocks while all are live, then frees them in a random order.
fn check_and_free(mut blocks: Vec<Block>) {
    assert_disjoint(&blocks);
    let mut random = SmallRng::seed_from_u64(blocks.len() as u64);
    blocks.shuffle(&mut random);
    blocks.iter().for_each(Block::check);
    blocks.into_iter().for_each(Block::free);
}

/// Three live blocks of every size to 520 at every alignment to 4096: 1560 blocks at a time.
pub fn every_small_size_and_alignment() {
    assert_nothing_left(|| {
        for align in powers_of_two(4096) {
            let blocks = (0..3 * 520).map(|i| Block::new(layout(1 + i % 520, align), i)).collect();
            check_and_free(blocks);
        }
    });
}

/// Three live blocks of each size: all sizes to 1024, then the powers of two to 64 MiB and their neighbors.
pub fn size_matrix() {
    assert_nothing_left(|| {
        let blocks = (0..3 * 1024).map(|i| Block::new(layout(1 + i % 1024, 1), i)).collect();
        check_and_free(blocks);
        for power in powers_of_two(64 << 20).filter(|power| *power > 1024) {
            let sizes = [power - 1, power, power + 1];
            for size in sizes {
                let blocks = (0..3).map(|seed| Block::new(layout(size, 1), seed)).collect();
                check_and_free(blocks);
            }
        }
    });
}

/// Three live blocks at every alignment to 2 MiB, in sizes on both sides of the pools' limit.
pub fn align_matrix() {
    assert_nothing_left(|| {
        for align in powers_of_two(2 << 20) {
            for size in [1, 8, 9, 16, 24, 40, 100, 255, 256, 257, 1000, 4096, 65_537] {
                let blocks = (0..3).map(|seed| Block::new(layout(size, align), seed)).collect();
                check_and_free(blocks);
            }
        }
    });
}
