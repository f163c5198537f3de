//! The real workloads, one module each. A module says which programs it stands for, which requests it makes, and what
//! its row does not show.
//!
//! The figures on requests were counted with a counting allocator over a full run, input included, on x86-64. There
//! "small" means 256 bytes or less.
//!
//! The files of this folder are compiled into the library `versus`, and again into each worker.

mod block;
pub mod text;

mod btree;
mod channel;
mod grow;
mod hashmap;
mod hello;
mod index;
mod json;
mod large;
mod lisp;
mod markdown;
mod rc_graph;
mod rc_tree;
mod regex;
mod replace;
mod sort;
mod syn;
mod threads;
mod tokio;
pub mod synthetic;

use versus::workload::Workload;

/// All real workloads, in the order of the table.
pub static ALL: [Workload; 20] = [
    rc_tree::WORKLOAD,
    rc_graph::WORKLOAD,
    grow::WORKLOAD,
    replace::ONE,
    replace::TWO,
    replace::FOUR,
    channel::WORKLOAD,
    threads::WORKLOAD,
    json::WORKLOAD,
    syn::WORKLOAD,
    btree::WORKLOAD,
    hashmap::WORKLOAD,
    index::WORKLOAD,
    lisp::WORKLOAD,
    regex::WORKLOAD,
    markdown::WORKLOAD,
    tokio::WORKLOAD,
    sort::WORKLOAD,
    large::WORKLOAD,
    hello::WORKLOAD,
];

/// Both sets of workloads.
pub static SETS: [&[Workload]; 2] = [&ALL, &synthetic::ALL];
