//! hello: a program that hardly allocates.
//!
//! Stands for small command-line tools. The row shows the resident size of a process before it does anything: the
//! allocator's code, tables and first blocks, on top of the worker itself.
//!
//! Caveat: its run takes microseconds, so its time means nothing, and the table leaves it out.

use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(super) const WORKLOAD: Workload = Workload {
    name: "hello",
    group: Group::Minimal,
    about: "a program that hardly allocates, for its resident size",
    operations: None,
    prepare,
};

fn prepare(_: Scale) -> Run {
    Box::new(|| {
        let names = ["world", "heap"].map(|name| format!("Hello, {name}!"));
        checksum(&names)
    })
}
