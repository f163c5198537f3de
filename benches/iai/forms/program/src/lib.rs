//! The operations that `forms` counts. The macro [`operations`] defines them in the crate that uses it; this crate uses
//! it too.
//!
//! Each operation is a function `form_*` of one argument, the number of rounds. `forms` counts the instructions between
//! the begin and the end of these functions. They contain no closure, since the name of a closure would match too.

/// Rounds of the first counted call of an operation. The second counted call has twice as many. What `forms` prints is
/// the difference, divided by this number and by the operations of one round.
pub const ROUNDS: usize = 200;

/// Blocks that `form_batch` allocates before it frees them.
pub const BATCH: usize = 1000;

/// Live blocks of `form_mix`.
pub const SLOTS: usize = 64;

#[cfg(feature = "allocator")]
#[global_allocator]
static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();

/// Defines the operations, and `run`, which calls each of them three times. The first call makes pools and fills
/// magazines, and is not counted.
#[macro_export]
macro_rules! operations {
    () => {
        use std::alloc::{Layout, alloc, dealloc, realloc};
        use std::hint::black_box;

        /// Makes a box of 48 bytes and drops it.
        #[inline(never)]
        fn form_pair(rounds: usize) {
            for _ in 0..rounds {
                drop(black_box(Box::<[u64; 6]>::new_uninit()));
            }
        }

        /// Makes a batch of boxes of 48 bytes, and drops them in reverse.
        #[inline(never)]
        fn form_batch(rounds: usize) {
            let mut batch = Vec::with_capacity($crate::BATCH);
            for _ in 0..rounds {
                for _ in 0..$crate::BATCH {
                    batch.push(Box::<[u64; 6]>::new_uninit());
                }
                while let Some(block) = batch.pop() {
                    drop(black_box(block));
                }
            }
        }

        /// Puts a new block of 8 to 256 bytes in the place of an old one. Each place has several sizes in turn.
        #[inline(never)]
        fn form_mix(rounds: usize) {
            let mut slots = [const { None }; $crate::SLOTS];
            let mut state = 1_u32;
            for round in 0..rounds {
                // The usual generator of a linear congruence; its upper bits are the good ones.
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let bytes = 8 + (state >> 16) as usize % 249;
                slots[round % $crate::SLOTS] = Some(black_box(Box::<[u8]>::new_uninit_slice(bytes)));
            }
        }

        /// Reallocates a block between 41 and 48 bytes, one size class. A round is two reallocations.
        #[inline(never)]
        fn form_realloc(rounds: usize) {
            let small = Layout::new::<[u8; 41]>();
            let large = Layout::new::<[u8; 48]>();
            // SAFETY: the layout has a size above zero.
            let mut block = unsafe { alloc(small) };
            for _ in 0..rounds {
                // SAFETY: the block has the layout `small`, from the allocation or from the round before.
                block = black_box(unsafe { realloc(block, small, large.size()) });
                // SAFETY: the line above gave the block the layout `large`.
                block = black_box(unsafe { realloc(block, large, small.size()) });
            }
            // SAFETY: each round ends with the layout `small`.
            unsafe { dealloc(block, small) };
        }

        /// Makes a vector of 48 zeros and drops it.
        #[inline(never)]
        fn form_zeroed(rounds: usize) {
            for _ in 0..rounds {
                drop(black_box(vec![0_u64; 6]));
            }
        }

        /// Grows a vector from 8 bytes to 256 by doubling, and drops it.
        #[inline(never)]
        fn form_grow_256(rounds: usize) {
            for _ in 0..rounds {
                grow_to(256);
            }
        }

        /// Grows a vector from 8 bytes to 4096 by doubling, and drops it. The backend serves its larger blocks.
        #[inline(never)]
        fn form_grow_4096(rounds: usize) {
            for _ in 0..rounds {
                grow_to(4096);
            }
        }

        #[inline(always)]
        fn grow_to(bytes: usize) {
            let mut vector: Vec<u64> = Vec::with_capacity(1);
            while vector.capacity() < bytes / size_of::<u64>() {
                vector.reserve_exact(2 * vector.capacity());
            }
            black_box(vector);
        }

        /// Calls each operation three times. `forms` knows the order, and the numbers of rounds.
        pub fn run() {
            for rounds in [$crate::ROUNDS, $crate::ROUNDS, 2 * $crate::ROUNDS] {
                // Each call has a number that the compiler does not know.
                form_pair(black_box(rounds));
                form_batch(black_box(rounds));
                form_mix(black_box($crate::SLOTS * rounds));
                form_realloc(black_box(rounds));
                form_zeroed(black_box(rounds));
                form_grow_256(black_box(rounds));
                form_grow_4096(black_box(rounds));
            }
        }
    };
}

operations!();

/// [`run`], for the program that loads this library.
#[cfg(feature = "allocator")]
#[unsafe(no_mangle)]
pub extern "C" fn form_entry() {
    run();
}
