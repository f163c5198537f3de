//! Real workloads under system malloc and under poolmalloc: everything that a driver and its workers share.
//!
//! One measurement goes like this. The driver (`versus`) starts a worker (`versus-system` or `versus-poolmalloc`),
//! which is a program that sets its `#[global_allocator]` and calls [`worker::main`]. The worker finds the
//! [`Workload`](workload::Workload) that its arguments name, prepares the input, measures one run, and prints a
//! [`Sample`](sample::Sample) as JSON. The driver gathers samples round by round, and [`summary`] makes a row of them.
//!
//! The [`workloads`] are compiled into this library, and again from the same files into each worker. The
//! [`Form`](form::Form) of a measurement says which of them run. To compile in both places, the files in the folder
//! `workloads` name this library `versus`, and name each other by `super`. `src/chosen.rs` is no part of this library:
//! the workers include it.
//!
//! This library knows no allocator. Another allocator needs only a binary such as `src/bin/versus-system.rs`, in this
//! package or another, and a line in the driver's list.

extern crate self as versus;

pub mod clock;
pub mod driver;
pub mod form;
mod meter;
pub mod sample;
pub mod summary;
pub mod worker;
pub mod workload;
pub mod workloads;
