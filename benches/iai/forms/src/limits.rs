//! The limits on the instructions of one operation, for the optimized build on x86-64 with the compiler that CI uses.
//! `benches/iai/README.md` says how to change one.

use crate::forms::Form;
use crate::operations::{Counts, OPERATIONS};

// In the order of `OPERATIONS`: pair, batch, mix, realloc, zeroed, grow to 256, grow to 4096.
pub(crate) const OWN: Counts = [36.72, 53.31, 80.17, 15.30, 45.90, 833.34, 2578.80];
pub(crate) const OWN_SMALL: Counts = [40.80, 57.56, 149.52, 31.62, 181.56, 1264.80, 3477.60];
pub(crate) const CALLS: Counts = [55.08, 66.48, 90.34, 28.56, 77.52, 795.60, 2473.20];
pub(crate) const LIBRARY: Counts = [74.46, 92.02, 109.73, 42.84, 93.84, 957.78, 2809.20];
pub(crate) const FAT: Counts = [34.68, 45.14, 76.09, 15.30, 42.84, 727.26, 2300.40];
pub(crate) const PLUGIN: Counts = [36.72, 53.58, 78.22, 15.30, 45.90, 1030.20, 3040.80];
pub(crate) const STATIC_PIE: Counts = [36.72, 53.31, 80.17, 15.30, 45.90, 833.34, 2547.60];

/// The line of this file that follows from new counts.
pub(crate) fn line(form: &Form, counts: Counts) -> String {
    let limits = OPERATIONS.iter().zip(counts).map(|(operation, count)| format!("{:.2}", count * operation.leeway));
    let name = form.name.to_uppercase().replace('-', "_");
    format!("pub(crate) const {name}: Counts = [{}];", limits.collect::<Vec<_>>().join(", "))
}
