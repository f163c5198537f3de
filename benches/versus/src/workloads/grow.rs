//! grow: vectors and strings grow by pushes, past 256 bytes.
//!
//! Stands for the commonest pattern of all: a collection whose size nobody knew. Each growth is a `realloc` that
//! doubles: 16, 32, 64, 128, 256 bytes within the pools, and the step to 512 moves the block to the backend.
//!
//! Requests: 5.1 M, three in four of them a `realloc`; 97 % for 256 bytes or less, every tenth for exactly 256.
//!
//! Caveat: a system malloc extends a block in place where the next one is free; size classes must copy. How often that
//! happens depends on what lives around the block: here the last 64 collections.

use crate::workload::{Group, Run, Scale, Workload, checksum};

pub(super) const WORKLOAD: Workload = Workload {
    name: "grow",
    group: Group::Small,
    about: "Vec and String growing by pushes, past 256 bytes",
    operations: None,
    prepare,
};

/// Collections that live together.
const LIVE: usize = 64;
const FULL_COLLECTIONS: usize = 600_000;

fn prepare(scale: Scale) -> Run {
    let collections = scale.of(FULL_COLLECTIONS);
    Box::new(move || {
        let mut live: Vec<(Vec<u32>, String)> = vec![Default::default(); LIVE];
        let mut sum = 0_u64;
        for number in 0..collections {
            let (numbers, text) = std::mem::replace(&mut live[number % LIVE], grown(number));
            sum = sum.wrapping_mul(31).wrapping_add(checksum(&(numbers.last(), text.len())));
        }
        sum.wrapping_add(checksum(&live.iter().map(|(numbers, text)| numbers.len() + text.len()).collect::<Vec<_>>()))
    })
}

/// 4 to 100 numbers and 3 to 300 bytes of text; the tail of both is rarer than the head.
fn grown(number: usize) -> (Vec<u32>, String) {
    let spread = number.wrapping_mul(0x9E37_79B9) >> 8 & 0xFF;
    let length = 4 + spread * spread * 97 / (256 * 256);
    let (mut numbers, mut text) = (Vec::new(), String::new());
    for at in 0..length {
        numbers.push((number + at) as u32);
        text.push_str("ab,");
    }
    (numbers, text)
}
