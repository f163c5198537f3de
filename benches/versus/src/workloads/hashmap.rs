//! hashmap: a `HashMap<String, Vec<u8>>` under churn.
//!
//! Stands for a session store or a cache in a server: entries are added, read, extended and removed. The hash is the
//! standard library's, with fixed keys, so that every run is the same.
//!
//! Requests: 1.1 M, 99 % for 256 bytes or less: keys of 32 bytes, data of 16 to 200.
//!
//! Caveat: the map's own table is one large block that doubles while the map fills. That block is the backend's work,
//! and it sets the peak of memory. Hashing and missing the processor's caches take much of the time.

use std::hash::Hasher;

use rand::RngExt;
use versus::workload::{Group, HashMap, Random, Run, Scale, Workload, random};

pub(super) const WORKLOAD: Workload = Workload {
    name: "hashmap",
    group: Group::Program,
    about: "HashMap<String, Vec<u8>> of 100 k sessions: come, read, grow, go",
    operations: None,
    prepare,
};

/// Twice the number of entries that the map settles at.
const KEYS: u32 = 200_000;
const FULL_STEPS: usize = 800_000;

fn prepare(scale: Scale) -> Run {
    let steps = scale.of(FULL_STEPS);
    Box::new(move || churn(steps))
}

fn churn(steps: usize) -> u64 {
    let mut random = random(3);
    let mut seen = rustc_hash::FxHasher::default();
    let mut sessions: HashMap<String, Vec<u8>> = HashMap::default();
    for step in 0..steps {
        let key = format!("session:{:08x}:user", random.random_range(0..KEYS).wrapping_mul(0x9E37_79B9));
        match step % 4 {
            0 => seen.write_usize(sessions.get(&key).map_or(0, |data| usize::from(data[0]) + data.len())),
            1 => {
                if let Some(data) = sessions.get_mut(&key) {
                    data.extend_from_slice(&[0; 16]);
                }
            }
            // A key that is present is removed, and an absent one is inserted. So the map settles at half of all keys.
            _ => {
                if sessions.remove(&key).is_none() {
                    sessions.insert(key, session(&mut random));
                }
            }
        }
    }
    let bytes: usize = sessions.values().map(Vec::len).sum();
    seen.write_usize(bytes + sessions.len());
    seen.finish()
}

fn session(random: &mut Random) -> Vec<u8> {
    vec![random.random(); random.random_range(16..=160)]
}
