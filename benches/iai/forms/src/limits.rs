//! The limits on the instructions of one operation, for the optimized build on x86-64 with the compiler that CI uses.
//! `benches/iai/README.md` says how to change one.

use crate::forms::Form;
use crate::operations::{Counts, OPERATIONS};

// In the order of `OPERATIONS`: pair, batch, mix, realloc, zeroed, grow to 256, grow to 4096.
pub(crate) const OWN: Counts = [34.68, 51.27, 78.13, 15.30, 43.86, 821.10, 2564.40];
pub(crate) const OWN_SMALL: Counts = [53.04, 70.76, 147.48, 31.62, 179.52, 1252.56, 3463.20];
pub(crate) const CALLS: Counts = [53.04, 64.44, 88.30, 28.56, 75.48, 783.36, 2458.80];
pub(crate) const LIBRARY: Counts = [72.42, 89.98, 107.69, 42.84, 91.80, 945.54, 2793.60];
pub(crate) const FAT: Counts = [32.64, 43.10, 74.05, 15.30, 40.80, 715.02, 2286.00];
pub(crate) const PLUGIN: Counts = [34.68, 51.54, 76.18, 15.30, 43.86, 1017.96, 3025.20];
pub(crate) const STATIC_PIE: Counts = [34.68, 51.27, 78.13, 15.30, 43.86, 821.10, 2533.20];

/// The line of this file that follows from new counts.
pub(crate) fn line(form: &Form, counts: Counts) -> String {
    let limits = OPERATIONS.iter().zip(counts).map(|(operation, count)| format!("{:.2}", count * operation.leeway));
    let name = form.name.to_uppercase().replace('-', "_");
    format!("pub(crate) const {name}: Counts = [{}];", limits.collect::<Vec<_>>().join(", "))
}
