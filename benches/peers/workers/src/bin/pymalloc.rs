//! The worker under CPython's own allocator of small objects: `PyObject_Malloc` and `PyObject_Free` of a libpython that
//! is loaded when the process runs.
//!
//! It serves one thread, so it runs only the synthetic workloads of one thread. Each call goes through a pointer, as
//! calls into a shared library do, and through the interpreter's own pointer to pymalloc.

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::ffi::{OsString, c_int, c_void};
use std::mem::transmute;
use std::process::ExitCode;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::Relaxed;

use libloading::Library;
use versus::workload::{Group, Workload};

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: Python = Python;

fn main() -> ExitCode {
    versus::worker::main_after("pymalloc", &chosen::WORKLOADS, begin)
}

type Malloc = unsafe extern "C" fn(usize) -> *mut c_void;
type Realloc = unsafe extern "C" fn(*mut c_void, usize) -> *mut c_void;
type Free = unsafe extern "C" fn(*mut c_void);

/// The C library's functions, and those of libpython once it is loaded. Those of libpython can free blocks of the C
/// library too: pymalloc passes blocks that are not its own on to `free`.
static MALLOC: AtomicPtr<()> = AtomicPtr::new(libc::malloc as *mut ());
static REALLOC: AtomicPtr<()> = AtomicPtr::new(libc::realloc as *mut ());
static FREE: AtomicPtr<()> = AtomicPtr::new(libc::free as *mut ());

/// The alignment that both sets of functions guarantee.
const ALIGN: usize = 16;

struct Python;

// SAFETY: both sets of functions do what the C standard says of malloc, realloc and free, at an alignment of `ALIGN`;
// the second takes the first's blocks. Only the thread that holds the interpreter's lock uses them.
unsafe impl GlobalAlloc for Python {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > ALIGN {
            // SAFETY: the caller's promise, passed on.
            return unsafe { System.alloc(layout) };
        }
        // SAFETY: `MALLOC` holds only functions of the type `Malloc`.
        let malloc = unsafe { transmute::<*mut (), Malloc>(MALLOC.load(Relaxed)) };
        // SAFETY: any size is allowed.
        unsafe { malloc(layout.size()) }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: `FREE` holds only functions of the type `Free`.
        let free = unsafe { transmute::<*mut (), Free>(FREE.load(Relaxed)) };
        // SAFETY: the block is the C library's or pymalloc's, and in the latter case libpython is loaded.
        unsafe { free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() > ALIGN {
            // SAFETY: the block is the system's, since `alloc` looked at the alignment too.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: `REALLOC` holds only functions of the type `Realloc`.
        let realloc = unsafe { transmute::<*mut (), Realloc>(REALLOC.load(Relaxed)) };
        // SAFETY: as in `dealloc`.
        unsafe { realloc(block.cast(), size) }.cast()
    }
}

/// Loads libpython and switches to its functions.
fn begin(workload: &Workload) -> Result<(), String> {
    if !matches!(workload.group, Group::Pair | Group::Batch | Group::Live | Group::Mix | Group::Block) {
        return Err("pymalloc runs only synthetic workloads of one thread".into());
    }
    let python = load()?;
    // SAFETY: this is its type in every Python 3.
    let initialize = unsafe { symbol::<unsafe extern "C" fn(c_int)>(&python, c"Py_InitializeEx")? };
    // SAFETY: each is only used as a pointer to a function of the type that every Python 3 gives it.
    let [malloc, realloc, free] =
        [c"PyObject_Malloc", c"PyObject_Realloc", c"PyObject_Free"].map(|name| unsafe { symbol(&python, name) });
    let (malloc, realloc, free): (*mut (), *mut (), *mut ()) = (malloc?, realloc?, free?);
    // SAFETY: called once, by the main thread; 0: signals stay as they are.
    unsafe { initialize(0) };
    MALLOC.store(malloc, Relaxed);
    REALLOC.store(realloc, Relaxed);
    FREE.store(free, Relaxed);
    // Its functions are used until the process ends.
    std::mem::forget(python);
    Ok(())
}

/// The newest libpython that the system's loader finds, or the one named by `LIBPYTHON`.
fn load() -> Result<Library, String> {
    let named = env::var_os("LIBPYTHON");
    let usual = (8..20).rev().map(|minor| OsString::from(format!("libpython3.{minor}.so.1.0")));
    let names = named.map_or_else(|| usual.collect(), |name| vec![name]);
    // SAFETY: the initializers of libpython break no promise of this program.
    let found = names.iter().find_map(|name| unsafe { Library::new(name) }.ok());
    found.ok_or_else(|| "no libpython3 found (LIBPYTHON=FILE names one); on Debian it is in libpython3-dev".into())
}

/// # Safety
/// * The symbol is a function, and `T` a pointer that fits it.
unsafe fn symbol<T: Copy>(python: &Library, name: &std::ffi::CStr) -> Result<T, String> {
    // SAFETY: the caller knows the type.
    let found = unsafe { python.get::<T>(name.to_bytes_with_nul()) };
    found.map(|symbol| *symbol).map_err(|error| format!("libpython has no {}: {error}", name.to_string_lossy()))
}
