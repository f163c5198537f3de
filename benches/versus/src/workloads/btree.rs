//! btree: a `BTreeMap<String, String>` under churn.
//!
//! Stands for an ordered table in memory: a store's index, a scheduler's queue, a configuration tree. Keys and values
//! are separate requests; the map's own nodes (about 550 bytes for a leaf) are over 256 bytes and go to the backend.
//!
//! Requests: 1.2 M, 99 % for 256 bytes or less, half for 16 or less; more than half are `realloc`s of the key's
//! `String` while it is formatted.
//!
//! Caveat: most of the time is spent on comparing keys on the way down, so the row shows where blocks lie (locality) as
//! much as the cost of the allocator.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hash::Hasher;

use rand::RngExt;
use versus::workload::{Group, Random, Run, Scale, Workload, random};

pub(super) const WORKLOAD: Workload = Workload {
    name: "btree",
    group: Group::Program,
    about: "BTreeMap<String, String> of 50 k entries: insert, remove, look up, scan",
    operations: None,
    prepare,
};

/// Twice the number of entries that the map settles at.
const KEYS: u32 = 100_000;
const FULL_STEPS: usize = 350_000;

fn prepare(scale: Scale) -> Run {
    let steps = scale.of(FULL_STEPS);
    Box::new(move || churn(steps))
}

fn churn(steps: usize) -> u64 {
    let mut random = random(2);
    let mut seen = rustc_hash::FxHasher::default();
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for step in 0..steps {
        let key = key(random.random_range(0..KEYS));
        match step % 8 {
            0 => seen.write_usize(map.get(&key).map_or(0, String::len)),
            1 => map.range(key..).take(8).for_each(|(key, value)| seen.write_usize(key.len() + value.len())),
            // A key that is present is removed, and an absent one is inserted. So the map settles at half of all keys.
            _ => {
                if map.remove(&key).is_none() {
                    map.insert(key, value(&mut random));
                }
            }
        }
    }
    map.iter().for_each(|(key, value)| seen.write(key.as_bytes().get(..8).unwrap_or(value.as_bytes())));
    seen.finish()
}

/// A key of 12 to 44 bytes. Successive numbers are scattered over the order of the keys.
fn key(number: u32) -> String {
    let scattered = number.wrapping_mul(0x9E37_79B9);
    let mut key = format!("{scattered:08x}/");
    match number % 3 {
        0 => write!(key, "user/{number}/session/state/attributes"),
        1 => write!(key, "file/{number}/meta"),
        _ => write!(key, "n{number}x"),
    }
    .expect("a string takes all text");
    key
}

fn value(random: &mut Random) -> String {
    "v".repeat(random.random_range(8..=120))
}
