//! The work of two programs: loops that allocate and free by `Box`, `Vec`, `HashMap` and `String`. The program `one`
//! does it in one module, `many` in each of twenty modules.
//!
//! The work is a macro, so its functions belong to the crate of the program, which also defines the allocator.

/// Defines functions that allocate and free, and `work`, which calls them all. Values have `$words` words.
///
/// The map has a hasher without a thread-local. So the allocator's thread-local is the only one on these paths.
#[macro_export]
macro_rules! work {
    ($words:literal) => {
        type Map =
            std::collections::HashMap<u64, Box<[u64; $words]>, std::hash::BuildHasherDefault<std::hash::DefaultHasher>>;

        #[inline(never)]
        fn hot_boxes(rounds: u64) {
            for round in 0..rounds {
                drop(std::hint::black_box(Box::new([round; $words])));
            }
        }

        #[inline(never)]
        fn hot_vectors(rounds: u64) -> Vec<Vec<u64>> {
            let mut all = Vec::new();
            for round in 0..rounds {
                let mut one = Vec::with_capacity($words);
                for number in 0..round {
                    one.push(number);
                }
                all.push(one);
            }
            all
        }

        #[inline(never)]
        fn hot_maps(rounds: u64) -> u64 {
            let mut map = Map::default();
            for round in 0..rounds {
                map.insert(round, Box::new([round; $words]));
            }
            (0..rounds).filter_map(|round| map.remove(&round)).map(|value| value[$words / 2]).sum()
        }

        #[inline(never)]
        fn hot_strings(rounds: u64) -> usize {
            let mut bytes = 0;
            for round in 0..rounds {
                let mut text = String::from("number ");
                for _ in 0..round % 64 {
                    text.push('x');
                }
                bytes += std::hint::black_box(&text).len();
            }
            bytes
        }

        pub(crate) fn work(rounds: u64) {
            hot_boxes(rounds);
            hot_vectors(rounds);
            hot_maps(rounds);
            hot_strings(rounds);
        }
    };
}
