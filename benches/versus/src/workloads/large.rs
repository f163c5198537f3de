//! large: blocks of 300 bytes to 8 KiB are replaced at random.
//!
//! Stands for programs of buffers and long vectors. poolmalloc passes every one of these requests on to the system's
//! malloc, and finds out at each free that the block is not its own. The row shows the cost of that.
//!
//! Requests: 1.6 M, none of them small.
//!
//! Caveat: the loop does nothing else. Real programs fill their large blocks, which costs far more than passing
//! requests on.

use versus::workload::{Group, Run, Scale, Workload, random};

use super::replace::replace;

pub(super) const WORKLOAD: Workload = Workload {
    name: "large",
    group: Group::Large,
    about: "blocks of 300 bytes to 8 KiB replaced at random among 2 k",
    operations: None,
    prepare,
};

const SLOTS: usize = 2000;
const FULL_STEPS: usize = 1_600_000;

fn prepare(scale: Scale) -> Run {
    let steps = scale.of(FULL_STEPS);
    Box::new(move || replace(random(11), 300..=8192, SLOTS, steps))
}
