//! Processor time and memory of the process so far, as the kernel counts them.

use std::io;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Processor time of all threads, user and system, in nanoseconds; ended and joined threads count too.
pub(crate) fn cpu_ns() -> io::Result<u64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let spent = usage.user_time() + usage.system_time();
    Ok(u64::try_from(spent.num_nanoseconds()).unwrap_or(0))
}

/// The most bytes that were resident at any time.
///
/// Linux keeps `ru_maxrss` across `exec`. So if a larger process has started this one, `ru_maxrss` is the size of that
/// parent. `VmHWM` belongs to the new image alone.
#[cfg(target_os = "linux")]
pub(crate) fn peak_rss_bytes() -> io::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .ok_or_else(|| io::Error::other("no VmHWM in /proc/self/status"))?;
    Ok(kib * 1024)
}

/// The most bytes that were resident at any time.
#[cfg(not(target_os = "linux"))]
pub(crate) fn peak_rss_bytes() -> io::Result<u64> {
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    Ok(u64::try_from(getrusage(UsageWho::RUSAGE_SELF)?.max_rss()).unwrap_or(0) * unit)
}

/// The bytes that are resident now and belong to no file: neither the program's code nor that of libraries.
///
/// Linux updates the figures in `/proc/self/status` in batches of pages for each thread. `smaps_rollup` looks at the
/// pages themselves.
#[cfg(target_os = "linux")]
pub(crate) fn anonymous_bytes() -> io::Result<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let kib = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Anonymous:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .ok_or_else(|| io::Error::other("no Anonymous in /proc/self/smaps_rollup"))?;
    Ok(kib * 1024)
}

/// The peak of the resident bytes: this kernel does not report the bytes that are resident now.
#[cfg(not(target_os = "linux"))]
pub(crate) fn anonymous_bytes() -> io::Result<u64> {
    peak_rss_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_buffer_shows_in_the_peak() {
        const BYTES: usize = 32 << 20;
        let buffer = std::hint::black_box(vec![1_u8; BYTES]);
        let peak = peak_rss_bytes().expect("the kernel counts resident memory");
        assert!(peak >= buffer.len() as u64, "peak of {peak} bytes with {BYTES} touched");
        let anonymous = anonymous_bytes().expect("the kernel counts resident memory");
        assert!(anonymous >= buffer.len() as u64, "{anonymous} bytes of no file with {BYTES} touched");
    }

    #[test]
    fn work_shows_in_the_processor_time() {
        let before = cpu_ns().expect("the kernel counts processor time");
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 100 {
            std::hint::spin_loop();
        }
        assert!(cpu_ns().expect("the kernel counts processor time") > before);
    }
}
