//! Under valgrind's memcheck a program with this allocator gets the same reports as with malloc: leaks, uses of
//! undefined memory and of freed blocks, overruns, double and invalid frees. Under valgrind's other tools there are
//! pools.
//!
//! A child of this binary makes the errors under memcheck, once with the system's allocator and once with this one.
//! Memcheck must report the same for both. Without valgrind the tests are left out.
//!
//! To see it fail: keep the pools under memcheck; leave them out under all of valgrind's tools.
//!
//! `cargo test --test valgrind`; needs valgrind (`apt-get install valgrind`)

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};
use std::{env, thread};

use poolmalloc::{PoolMalloc, stats};

use poolmalloc_support::process::{ROLE, command, role, say, succeed, told};
use poolmalloc_support::tests;

/// The variable that is set in children which use the system's allocator.
const SYSTEM: &str = "POOLMALLOC_TEST_SYSTEM";

/// This crate's allocator, or the system's if the environment says so.
struct Chosen;

#[global_allocator]
static ALLOC: Chosen = Chosen;

static POOLMALLOC: PoolMalloc = PoolMalloc::new();

impl Chosen {
    fn is_system() -> bool {
        /// 0 until it is known, then 1 for this crate's allocator, 2 for the system's.
        static CHOICE: AtomicU8 = AtomicU8::new(0);
        if CHOICE.load(Ordering::Relaxed) == 0 {
            // SAFETY: the name ends with a zero, and these children do not change their environment.
            let is_set = !unsafe { libc::getenv(c"POOLMALLOC_TEST_SYSTEM".as_ptr()) }.is_null();
            CHOICE.store(1 + u8::from(is_set), Ordering::Relaxed);
        }
        CHOICE.load(Ordering::Relaxed) == 2
    }
}

// SAFETY: each block goes back to the allocator that it came from, which is the same one for the whole process.
unsafe impl GlobalAlloc for Chosen {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::is_system() {
            // SAFETY: the caller's promises.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: the caller's promises.
        unsafe { POOLMALLOC.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if Self::is_system() {
            // SAFETY: the caller's promises.
            return unsafe { System.dealloc(block, layout) };
        }
        // SAFETY: the caller's promises.
        unsafe { POOLMALLOC.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if Self::is_system() {
            // SAFETY: the caller's promises.
            return unsafe { System.realloc(block, layout, new_size) };
        }
        // SAFETY: the caller's promises.
        unsafe { POOLMALLOC.realloc(block, layout, new_size) }
    }
}

/// The errors, in the order in which one child makes them, each with memcheck's name for it. Memcheck reports leaks
/// last.
const ERRORS: [(fn(), &str); 8] = [
    (undefined, "UninitCondition"),
    (read_after_free, "InvalidRead"),
    (write_after_free, "InvalidWrite"),
    (read_behind, "InvalidRead"),
    (write_before, "InvalidWrite"),
    (double_free, "InvalidFree"),
    (invalid_free, "InvalidFree"),
    (leak, "Leak_DefinitelyLost"),
];

const BLOCK: Layout = Layout::new::<[u8; 20]>();

fn take() -> *mut u8 {
    // SAFETY: the size is not zero.
    black_box(unsafe { ALLOC.alloc(BLOCK) })
}

fn give(block: *mut u8) {
    // SAFETY: a block of this layout, or the very error that memcheck must find and make harmless.
    unsafe { ALLOC.dealloc(black_box(block), BLOCK) };
}

/// Reads a byte, and makes the program depend on it.
fn read(byte: *mut u8) {
    // SAFETY: a byte of a block, or the very error that memcheck must find; there is memory in either case.
    if unsafe { byte.read_volatile() } == 1 {
        say("one");
    }
}

fn write(byte: *mut u8) {
    // SAFETY: a byte of a block, or the very error that memcheck must find; the old byte there is not used any more.
    unsafe { byte.write_volatile(0) };
}

/// Makes no error. Checks that there is no region, which shows that malloc serves the requests.
fn clean() {
    assert_eq!(stats().region.reserved_bytes, 0);
    let texts: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let blocks: Vec<usize> = (0..1000).map(|_| take().expose_provenance()).collect();
    thread::spawn(move || blocks.into_iter().for_each(|block| give(std::ptr::with_exposed_provenance_mut(block))))
        .join()
        .expect("a thread that frees");
    assert_eq!(texts.concat().len(), 2890);
}

fn leak() {
    take();
}

fn undefined() {
    let block = take();
    read(block);
    give(block);
}

fn read_after_free() {
    let block = take();
    write(block);
    give(block);
    read(block);
}

fn write_after_free() {
    let block = take();
    give(block);
    write(block.wrapping_add(19));
}

fn read_behind() {
    let block = take();
    // 20 bytes lie in a block of 24.
    read(block.wrapping_add(20));
    give(block);
}

fn write_before() {
    let block = take();
    write(block.wrapping_sub(1));
    give(block);
}

fn double_free() {
    let block = take();
    give(block);
    give(block);
}

/// Uses `realloc`, since memcheck reports errors with the same callers only once.
fn invalid_free() {
    let block = take();
    // SAFETY: the size is not zero; the very error that memcheck must find and make harmless.
    let moved = black_box(unsafe { ALLOC.realloc(block.wrapping_add(8), BLOCK, 1000) });
    assert!(moved.is_null());
    give(block);
}

/// Prints whether there are pools.
fn pools() {
    say(if stats().region.reserved_bytes == 0 { "no pools" } else { "pools" });
}

fn valgrind(role: &str, options: &[&str], is_system: bool) -> Output {
    let mut child = Command::new("valgrind");
    child.args(options).arg(env::current_exe().expect("the path of this binary")).env(ROLE, role);
    if is_system {
        child.env(SYSTEM, "1");
    }
    child.output().expect("starting valgrind")
}

/// Returns the errors that memcheck reports of a child: for each its kind, and what memcheck knows of the place.
fn errors(role: &str, is_system: bool) -> Vec<String> {
    let leaks = ["--leak-check=full", "--show-leak-kinds=definite"];
    let output = valgrind(role, &[&leaks[..], &["--xml=yes", "--xml-fd=2"]].concat(), is_system);
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("</valgrindoutput>"), "{}", told(&output));
    let mut errors: Vec<String> = Vec::new();
    for line in said.lines().map(str::trim) {
        if let Some(kind) = within(line, "kind") {
            errors.push(kind.to_owned());
        } else if let Some(what) = within(line, "auxwhat").or_else(|| within(line, "text")) {
            // Addresses, and the number of other blocks, differ from run to run.
            let stable = what.split(" in loss record").next().unwrap_or_default();
            let words: Vec<&str> = stable.split(' ').filter(|word| !word.starts_with("0x")).collect();
            if let Some(error) = errors.last_mut() {
                error.push_str(": ");
                error.push_str(&words.join(" "));
            }
        }
    }
    errors
}

/// Returns the text of an XML element that fills a line.
fn within<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(&format!("<{name}>"))?.strip_suffix(&format!("</{name}>"))
}

fn errors_are_found() {
    let found = errors("errors", false);
    let kinds: Vec<&str> = found.iter().map(|error| error.split(':').next().unwrap_or_default()).collect();
    assert_eq!(kinds, ERRORS.map(|(_, kind)| kind), "{found:?}");
    assert_eq!(found, errors("errors", true), "left: with poolmalloc, right: with the system's allocator");
}

fn a_clean_program_is_clean() {
    assert_eq!(errors("clean", false), Vec::<String>::new());
}

fn others_have_pools() {
    assert_eq!(succeed(&mut command("pools")), "pools");
    for tool in ["none", "callgrind"] {
        let options = [&format!("--tool={tool}"), "-q", "--callgrind-out-file=/dev/null"];
        let options = if tool == "none" { &options[..2] } else { &options[..] };
        assert_eq!(text(&valgrind("pools", options, false)), "pools", "{tool}");
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", told(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn main() {
    match role().as_deref() {
        Some("errors") => return ERRORS.iter().for_each(|(deed, _)| deed()),
        Some("clean") => return clean(),
        Some("pools") => return pools(),
        _ => {}
    }
    let is_missing = Command::new("valgrind").arg("--version").output().is_err();
    if is_missing {
        println!("valgrind is not installed: these tests are left out");
    }
    let tests = tests![errors_are_found, a_clean_program_is_clean, others_have_pools];
    poolmalloc_support::run(tests.into_iter().map(|test| test.ignored_if(is_missing)).collect());
}
