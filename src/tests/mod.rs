//! Unit tests that need several layers.

pub(crate) mod shared;
pub(crate) mod verify;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod steps;
