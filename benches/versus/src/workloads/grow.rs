//! grow: vectors and strings grow by pushes, past 256 bytes.
//!
//! Stands for the most common pattern of all: a collection whose size is not known in advance. Each growth is a
//! `realloc` that doubles: 16, 32, 64, 128, 256 bytes within the pools, and the step to 512 moves the block to the
//! backend.
//!
//! Requests: 5.1 M, three in four of them a `realloc`; 97 % for 256 bytes or less, every tenth for exactly 256.
//!
//! Caveat: a system malloc extends a block in place if the next one is free, but an allocator with size classes must
//! copy. How often malloc can do so depends on the live blocks around the block: here those of the last 64 pairs.

use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(super) const WORKLOAD: Workload = Workload {
    name: "grow",
    group: Group::Small,
    about: "Vec and String growing by pushes, past 256 bytes",
    operations: None,
    prepare,
};

/// Pairs of collections that live together.
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

/// 4 to 100 numbers, and three bytes of text for each. Short collections are more frequent than long ones.
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
