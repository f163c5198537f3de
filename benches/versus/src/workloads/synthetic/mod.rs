//! Synthetic workloads, one module for each kind: loops that isolate one thing each. They are written anew from the
//! published descriptions of common benchmarks of allocators.
//!
//! The time includes as little else as possible. Where tables would take much of the time, they are made before the
//! clock starts or while it pauses. Only a byte or two of each block is touched. An operation is an allocation and its
//! free, unless a module says otherwise.
//!
//! Caveat for all rows: no program does so little between its requests. The caches hold only the loop's own blocks, and
//! the processor predicts every branch.

mod aligned;
mod batches;
mod bytes;
mod caches;
mod churn;
mod larson;
mod live;
mod mixes;
mod pairs;
mod pipes;
mod resizes;
mod stacks;

use versus::workload::Workload;

/// All synthetic workloads, in the order of the table.
pub static ALL: [Workload; 66] = [
    pairs::of::<8>("pair_8"),
    pairs::of::<16>("pair_16"),
    pairs::of::<24>("pair_24"),
    pairs::of::<32>("pair_32"),
    pairs::of::<48>("pair_48"),
    pairs::of::<64>("pair_64"),
    pairs::of::<100>("pair_100"),
    pairs::of::<128>("pair_128"),
    pairs::of::<200>("pair_200"),
    pairs::of::<256>("pair_256"),
    aligned::ALIGNED,
    batches::same::<10>("batch_10_same"),
    batches::same::<100>("batch_100_same"),
    batches::same::<1000>("batch_1k_same"),
    batches::same::<1_000_000>("batch_1m_same"),
    batches::reverse::<10>("batch_10_reverse"),
    batches::reverse::<100>("batch_100_reverse"),
    batches::reverse::<1000>("batch_1k_reverse"),
    batches::reverse::<1_000_000>("batch_1m_reverse"),
    batches::random::<10>("batch_10_random"),
    batches::random::<100>("batch_100_random"),
    batches::random::<1000>("batch_1k_random"),
    batches::random::<1_000_000>("batch_1m_random"),
    batches::FRESH,
    batches::AGAIN,
    batches::FREE,
    stacks::STACK,
    resizes::STEPS_OF_8,
    live::of::<100>("live_100"),
    live::of::<1000>("live_1k"),
    live::of::<10_000>("live_10k"),
    live::of::<100_000>("live_100k"),
    live::of::<1_000_000>("live_1m"),
    live::of::<10_000_000>("live_10m"),
    mixes::ONE,
    mixes::FOUR,
    live::on_threads::<1>("live_t1"),
    live::on_threads::<2>("live_t2"),
    live::on_threads::<4>("live_t4"),
    live::on_threads::<8>("live_t8"),
    live::on_threads::<16>("live_t16"),
    larson::of::<1>("larson_t1"),
    larson::of::<2>("larson_t2"),
    larson::of::<4>("larson_t4"),
    larson::of::<8>("larson_t8"),
    larson::of::<16>("larson_t16"),
    pipes::pipe::<1, 1>("pipe_1_1"),
    pipes::pipe::<1, 3>("pipe_1_3"),
    pipes::pipe::<3, 1>("pipe_3_1"),
    pipes::pipe::<4, 4>("pipe_4_4"),
    pipes::ring::<2>("ring_t2"),
    pipes::ring::<4>("ring_t4"),
    caches::scratch::<2>("cache_scratch_t2"),
    caches::scratch::<4>("cache_scratch_t4"),
    caches::thrash::<2>("cache_thrash_t2"),
    caches::thrash::<4>("cache_thrash_t4"),
    churn::of::<64>("churn_64"),
    churn::of::<4000>("churn_4k"),
    bytes::of::<8>("bytes_8"),
    bytes::of::<16>("bytes_16"),
    bytes::of::<24>("bytes_24"),
    bytes::of::<40>("bytes_40"),
    bytes::of::<56>("bytes_56"),
    bytes::of::<100>("bytes_100"),
    bytes::of::<200>("bytes_200"),
    bytes::PHASES,
];
