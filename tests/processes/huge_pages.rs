//! Huge pages: by default only for heaps of several MiB; `POOLMALLOC_HUGE_PAGES` names another place of the region.
//!
//! Each setting is tested in a child. The child allocates 80 MiB of blocks, and reads in `/proc/self/smaps` which pages
//! the kernel was asked for at their addresses. The answer does not depend on whether the kernel has a huge page to
//! give. The tests of the default then count the huge pages of a child (`AnonHugePages`). They are left out where the
//! kernel gives none.
//!
//! To see it fail: ask for huge pages from another place on; ask for them where the environment says never; do not warn
//! of a word without a meaning, or warn at each request; give no heap a huge page; give light heaps huge pages; leave a
//! range with the advice for huge pages.
//!
//! `cargo test --test processes huge_pages::`

use std::alloc::Layout;
use std::sync::Barrier;
use std::{fs, ptr, thread};

use poolmalloc::{PrivateHeap, check_heap, release_unused};
use poolmalloc_support::block::{Block, layout};
use poolmalloc_support::oracle::{CLASSES, size_of_class};
use poolmalloc_support::process::{resident_bytes, say, succeed, told};
use poolmalloc_support::{Test, command, tests};

const MIB: usize = 1 << 20;

/// Returns a letter for each of these addresses: `h` if the kernel was asked for huge pages, `n` if it was asked to use
/// none, `.` if it was asked for neither. `None` if the kernel does not say.
fn asked_for(addresses: &[usize]) -> Option<String> {
    // A kernel without huge pages does not have this folder, and refuses the library's request.
    fs::metadata("/sys/kernel/mm/transparent_hugepage").ok()?;
    let text = fs::read_to_string("/proc/self/smaps").ok()?;
    let mut ranges = vec![];
    for line in text.lines() {
        let first = line.split_whitespace().next()?;
        if let Some((start, end)) = first.split_once('-') {
            let number = |text| usize::from_str_radix(text, 16).ok();
            ranges.push((number(start)?..number(end)?, '.'));
        } else if first == "VmFlags:" {
            let flag = line.split_whitespace().find(|flag| ["hg", "nh"].contains(flag));
            ranges.last_mut()?.1 = flag.map_or('.', |flag| if flag == "hg" { 'h' } else { 'n' });
        }
    }
    let of = |address| ranges.iter().find(|(range, _)| range.contains(address)).map(|(_, letter)| *letter);
    addresses.iter().map(of).collect()
}

/// Allocates 80 MiB of blocks, and prints what was asked for at 1, 3, 15, 17, 63 and 66 MiB of them.
fn hold() {
    let size = size_of_class(CLASSES - 1).expect("a size that is served by 256 bytes");
    let blocks: Vec<Block> = (0..80 * MIB / 256).map(|at| Block::new(layout(size, 8), at)).collect();
    let mut addresses: Vec<usize> = blocks.iter().map(Block::address).collect();
    addresses.sort_unstable();
    let places: Vec<usize> = [1, 3, 15, 17, 63, 66].iter().map(|mib| addresses[mib * MIB / 256]).collect();
    let answer = asked_for(&places).unwrap_or_else(|| "unknown".to_owned());
    say(&answer);
}

fn every_setting() {
    const WARNING: &str =
        "poolmalloc: POOLMALLOC_HUGE_PAGES is neither `never` nor `always` nor a number of MiB; ignored\n";
    for (value, expected, warning) in [
        (None, "nnnnnn", ""),
        (Some(""), "nnnnnn", ""),
        (Some("never"), "nnnnnn", ""),
        (Some("always"), "nhhhhh", ""),
        (Some("16"), "nnnhhh", ""),
        (Some("64"), "nnnnnh", ""),
        (Some("some"), "nnnnnn", WARNING),
    ] {
        let mut child = command!("hold");
        match value {
            Some(value) => child.env("POOLMALLOC_HUGE_PAGES", value),
            None => child.env_remove("POOLMALLOC_HUGE_PAGES"),
        };
        let output = child.output().expect("starting the child");
        assert!(output.status.success(), "{}", told(&output));
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        if answer == "unknown" {
            println!("left out: this system does not say which pages it was asked for");
            return;
        }
        assert_eq!(answer, expected, "{value:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), warning, "{value:?}");
        println!("{:>8}: {answer}", value.unwrap_or("unset"));
    }
}

/// Bytes of this process that lie in huge pages. `None` if the kernel does not say.
fn huge_bytes() -> Option<usize> {
    let text = fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text.lines().find(|line| line.starts_with("AnonHugePages:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<usize>().ok()? * 1024)
}

/// Advises the kernel about 2 MiB of new memory. Touches all of it: before the advice if `is_touched`, else after it.
/// Returns whether the kernel took the advice, and whether there is a huge page then.
fn advise_new_memory(advice: i32, is_touched: bool) -> (bool, bool) {
    const BYTES: usize = 4 * MIB;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory.
    let start = unsafe { libc::mmap(ptr::null_mut(), BYTES, rights, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) };
    assert_ne!(start, libc::MAP_FAILED);
    let before = huge_bytes();
    // SAFETY: the memory above.
    let touch = || unsafe { start.cast::<u8>().write_bytes(1, BYTES) };
    if is_touched {
        touch();
    }
    let aligned = start.map_addr(|address| address.next_multiple_of(2 * MIB));
    // SAFETY: inside the memory above. The advice changes no content.
    let is_taken = unsafe { libc::madvise(aligned, 2 * MIB, advice) } == 0;
    if !is_touched {
        touch();
    }
    let is_huge = before.zip(huge_bytes()).is_some_and(|(before, now)| now > before);
    // SAFETY: the memory above, which nothing uses any more.
    unsafe { libc::munmap(start, BYTES) };
    (is_taken, is_huge)
}

/// Whether the kernel gives a huge page to a program that asks for one.
fn gives_huge_pages() -> bool {
    advise_new_memory(libc::MADV_HUGEPAGE, false).1
}

/// Whether the kernel takes this advice for huge pages.
fn takes(advice: i32) -> bool {
    advise_new_memory(advice, true).0
}

/// `MADV_COLD`: Linux 5.4 or later.
const COLD: i32 = 20;
/// `MADV_COLLAPSE`: Linux 6.1 or later.
const COLLAPSE: i32 = 25;

/// Number of huge pages that the kernel has split since it started. `None` if it does not say.
fn split_pages() -> Option<u64> {
    let text = fs::read_to_string("/proc/vmstat").ok()?;
    let line = text.lines().find(|line| line.starts_with("thp_split_page "))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Blocks of 256 bytes that fill so many bytes.
#[expect(clippy::vec_box, reason = "each block is a request")]
fn blocks(bytes: usize) -> Vec<Box<[u8; 256]>> {
    (0..bytes / 256).map(|number| Box::new([number as u8; 256])).collect()
}

fn is_intact(blocks: &[Box<[u8; 256]>]) -> bool {
    blocks.iter().all(|block| block.iter().all(|byte| *byte == block[0]))
}

/// Fails unless the kernel may make no huge page in the region by itself, apart from the blocks' own reservation.
fn forbidden_everywhere(blocks: &[Box<[u8; 256]>]) {
    let addresses: Vec<usize> = blocks.iter().map(|block| (&raw const **block).addr()).step_by(4096).collect();
    let answer = asked_for(&addresses).expect("the kernel has said how many huge pages there are");
    assert!(answer.bytes().all(|letter| letter == b'n'), "{answer}");
}

/// A heap of 40 MiB lies in huge pages, but for the parts that the heap had while it was small.
fn heavy() {
    let (before, resident) = (huge_bytes().expect("as in the probe"), resident_bytes().expect("the resident size"));
    let held = blocks(40 * MIB);
    let huge = huge_bytes().expect("as in the probe") - before;
    let resident = (resident_bytes().expect("the resident size") - resident) as usize;
    assert!(is_intact(&held));
    let least = if takes(COLLAPSE) { 36 } else { 30 };
    assert!(huge >= least * MIB, "{huge} bytes of 40 MiB are in huge pages");
    // The tables take a little, and the last chunk may be unused for the most part.
    assert!(resident <= 40 * MIB + 40 * MIB / 16 + 3 * MIB, "{resident} bytes for 40 MiB");
    forbidden_everywhere(&held);
    check_heap().expect("a valid heap");
}

/// A heap of 1.5 MiB, and 100 threads with a heap of 20 blocks each, use no huge page.
fn light() {
    let held = blocks(3 * MIB / 2);
    const THREADS: usize = 100;
    let (ready, done) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let held = blocks(20 * 256);
                ready.wait();
                done.wait();
                drop(held);
            });
        }
        ready.wait();
        let (huge, resident) = (huge_bytes(), resident_bytes().expect("the resident size"));
        done.wait();
        assert_eq!(huge, Some(0));
        // 1.5 MiB of blocks, the program, and about 35 KiB for each thread: most of it for the stack and the heap.
        assert!(resident < 20 << 20, "{resident}");
    });
    assert!(is_intact(&held));
}

/// Released memory stays released although a live block is left in every `step` bytes, and it can be used again.
fn released(step: usize) {
    let full = resident_bytes().expect("the resident size");
    let mut held = blocks(64 * MIB);
    let full = resident_bytes().expect("the resident size") - full;
    let mut number = 0;
    held.retain(|_| {
        number += 1;
        number % (step / 256) == 0
    });
    let split = split_pages();
    let released = release_unused();
    // Else the kernel keeps the whole of each huge page, although it is no longer in the resident size.
    if let (true, Some(before), Some(after)) = (takes(COLD), split, split_pages()) {
        assert!(after - before >= 28, "{} of 32 huge pages are split", after - before);
    }
    assert!(released.bytes as usize > 58 * MIB, "{released} of {full}");
    assert_eq!(held.len(), 64 * MIB / 256 / (step / 256));
    // Where the kernel may make no huge page by itself, it cannot fill the memory again.
    forbidden_everywhere(&held);
    let small = resident_bytes().expect("the resident size");
    let again = blocks(32 * MIB);
    let grown = (resident_bytes().expect("the resident size") - small) as usize;
    assert!(grown < 36 * MIB, "{grown} bytes for 32 MiB in released memory");
    assert!(is_intact(&held) && is_intact(&again));
    check_heap().expect("a valid heap");
}

/// A private heap releases its part of the chunk. Then the main heap grows, and must not bring this part back.
fn private() {
    let heap = PrivateHeap::new();
    let layout = Layout::new::<[u8; 256]>();
    let held: Vec<_> = (0..3 * MIB / 256).map(|_| heap.alloc(layout).expect("memory")).collect();
    // SAFETY: a block of this size.
    held.iter().for_each(|block| unsafe { block.write_bytes(1, 256) });
    assert_eq!(huge_bytes(), Some(0), "the heap has begun its first chunk, and uses less than six arenas of it");
    // One block in each arena stays live, so the heap keeps its arenas.
    let (kept, freed): (Vec<_>, Vec<_>) = (0..held.len()).partition(|number| number % 700 == 0);
    // SAFETY: each block is live, of this heap and layout.
    freed.into_iter().for_each(|number| unsafe { heap.dealloc(held[number], layout) });
    assert!(heap.release_unused().bytes as usize > 2 * MIB);
    let grown = blocks(7 * MIB / 2);
    assert_eq!(huge_bytes(), Some(0));
    assert!(is_intact(&grown));
    // SAFETY: as above.
    kept.into_iter().for_each(|number| unsafe { heap.dealloc(held[number], layout) });
}

/// The child of a fork writes into huge pages that it shares with its parent, and grows on.
fn forked() {
    let mut held = blocks(24 * MIB);
    // As if another thread were putting a huge page into this range.
    let address = (&raw const *held[held.len() / 2]).addr() & !(2 * MIB - 1);
    // SAFETY: the range lies in the library's region. The advice changes no content.
    let status = unsafe { libc::madvise(ptr::without_provenance_mut(address), 2 * MIB, libc::MADV_HUGEPAGE) };
    assert_eq!(status, 0);
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    held.iter_mut().step_by(97).for_each(|block| block.fill(if child == 0 { 7 } else { 9 }));
    let more = blocks(24 * MIB);
    assert!(is_intact(&held) && is_intact(&more));
    let expected = if child == 0 { 7 } else { 9 };
    assert!(held.iter().step_by(97).all(|block| block[255] == expected));
    check_heap().expect("a valid heap");
    if child == 0 {
        forbidden_everywhere(&held);
        // SAFETY: no preconditions.
        unsafe { libc::_exit(0) };
    }
    let mut status = -1;
    // SAFETY: `status` is writable.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

/// Runs a child without the variable, if the kernel gives huge pages.
fn by_default(role: &str) {
    if gives_huge_pages() {
        succeed(command!(role).env_remove("POOLMALLOC_HUGE_PAGES"));
    } else {
        println!("left out: this system gives no huge pages");
    }
}

fn heavy_heaps_have_huge_pages() {
    by_default("heavy");
}

fn light_heaps_have_none() {
    by_default("light");
}

fn what_was_released_stays_released() {
    by_default("released");
    // With a live block in each arena, no arena is free as a whole.
    by_default("sparse");
}

fn what_a_private_heap_released_stays_released() {
    by_default("private");
}

fn a_fork_copies_huge_pages() {
    by_default("forked");
}

pub(crate) fn tests() -> Vec<Test> {
    tests![
        every_setting,
        heavy_heaps_have_huge_pages,
        light_heaps_have_none,
        what_was_released_stays_released,
        what_a_private_heap_released_stays_released,
        a_fork_copies_huge_pages
    ]
}

pub(crate) fn child(role: &str) {
    match role {
        "heavy" => heavy(),
        "light" => light(),
        "released" => released(2 * MIB),
        "sparse" => released(100 << 10),
        "private" => private(),
        "forked" => forked(),
        _ => hold(),
    }
}
