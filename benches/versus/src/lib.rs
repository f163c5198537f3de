//! Real workloads under system malloc and under poolmalloc: everything that a driver and its workers share.
//!
//! One measurement goes like this. The driver (`versus`) starts a worker (`versus-system` or `versus-poolmalloc`),
//! which is a program that sets its `#[global_allocator]` and calls [`worker::main`]. The worker finds the
//! [`Workload`](workload::Workload) that its arguments name, prepares the input, measures one run, and prints a
//! [`Sample`](sample::Sample) as JSON. The driver gathers samples round by round, and [`summary`] makes a row of them.
//!
//! This library knows no allocator, and is linked into every worker as it is. Another allocator needs only a binary
//! such as `src/bin/versus-system.rs`, in this package or another, and a line in the driver's list.

mod block;
mod clock;
pub mod driver;
mod meter;
pub mod sample;
pub mod summary;
pub mod synthetic;
mod text;
pub mod worker;
pub mod workload;
pub mod workloads;
