//! A shared library has the allocator inside (tests/plugin). A program with an allocator of its own loads the library,
//! uses it from threads, and closes it while they run.
//!
//! The library must stay loaded, since each thread that used it calls it once more when the thread ends. This binary
//! starts children. They load the library, or copies of its file, close it, and let the threads end.
//!
//! To see it fail: do not keep the library loaded (a thread jumps to where its code was, and the child dies of
//! `SIGSEGV`); keep the library loaded from its first allocation on instead of from the beginning (the constructor
//! waits for the thread that makes this allocation, the thread waits for the loader's lock, and the child hangs until
//! its alarm).
//!
//! `cargo test --test builds unload::`; in a program that has this allocator too,
//! `cargo test --test processes unload_among_pools::`

use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::{env, fs, thread};

use poolmalloc_support::block::{fill, is_filled};
use poolmalloc_support::cargo::build_library;
use poolmalloc_support::process::{say, succeed};
use poolmalloc_support::{Test, command, raw_thread};

/// The variable that names the library's file to the child.
const PLUGIN: &str = "POOLMALLOC_TEST_PLUGIN";

/// The library, as one opening of its file gives it.
struct Plugin {
    handle: *mut c_void,
    make: extern "C" fn(usize) -> *mut u8,
    free: unsafe extern "C" fn(*mut u8, usize),
    live_blocks: extern "C" fn() -> u64,
    heaps_in_use: extern "C" fn() -> u64,
    first_block: extern "C" fn() -> *mut u8,
}

// SAFETY: a handle and functions that any thread may call.
unsafe impl Sync for Plugin {}

impl Plugin {
    fn open(path: &Path) -> Self {
        let name = CString::new(path.as_os_str().as_bytes()).expect("a path without a zero byte");
        // SAFETY: the file is the library that this test has built, whose constructors have no preconditions.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "dlopen {path:?}");
        let find = |name: &std::ffi::CStr| {
            // SAFETY: the handle is open, and the name ends in a zero byte.
            let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
            assert!(!symbol.is_null(), "dlsym {name:?}");
            symbol
        };
        Self {
            handle,
            // SAFETY: the library defines the function with this type.
            make: unsafe { std::mem::transmute::<*mut c_void, extern "C" fn(usize) -> *mut u8>(find(c"plugin_make")) },
            // SAFETY: as above.
            free: unsafe {
                std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut u8, usize)>(find(c"plugin_free"))
            },
            // SAFETY: as above.
            live_blocks: unsafe {
                std::mem::transmute::<*mut c_void, extern "C" fn() -> u64>(find(c"plugin_live_blocks"))
            },
            // SAFETY: as above.
            heaps_in_use: unsafe {
                std::mem::transmute::<*mut c_void, extern "C" fn() -> u64>(find(c"plugin_heaps_in_use"))
            },
            // SAFETY: as above.
            first_block: unsafe {
                std::mem::transmute::<*mut c_void, extern "C" fn() -> *mut u8>(find(c"plugin_first_block"))
            },
        }
    }

    /// Closes the handle. The functions must stay usable: these tests are about that.
    fn close(&self) {
        // SAFETY: `open` opened it, and each handle is closed once.
        assert_eq!(unsafe { libc::dlclose(self.handle) }, 0, "dlclose");
    }

    /// Returns a block of the library's allocator, filled.
    fn make(&self, bytes: usize) -> *mut u8 {
        let block = (self.make)(bytes);
        assert!(!block.is_null(), "{bytes} bytes of the library");
        // SAFETY: the block has `bytes` bytes, and only this function has it.
        fill(unsafe { std::slice::from_raw_parts_mut(block, bytes) }, bytes);
        block
    }

    /// Checks a block of [`make`](Self::make), and gives it back.
    fn free(&self, block: *mut u8, bytes: usize) {
        // SAFETY: the block has `bytes` bytes, and no thread writes there.
        assert!(is_filled(unsafe { std::slice::from_raw_parts(block, bytes) }, bytes), "content lost");
        // SAFETY: the callers pass on what `make` gave them, once.
        unsafe { (self.free)(block, bytes) };
    }

    /// Allocates and frees, small blocks and larger ones.
    fn work(&self) {
        let blocks: [_; 40] = std::array::from_fn(|i| self.make(1 + 8 * i));
        blocks.into_iter().enumerate().for_each(|(i, block)| self.free(block, 1 + 8 * i));
    }
}

const THREADS: usize = 4;

/// Closes the library after threads have used it and before they end.
fn close_among_threads(plugin: &Plugin) {
    let (have_used, is_closed) = (Barrier::new(THREADS + 1), Barrier::new(THREADS + 1));
    thread::scope(|scope| {
        scope.spawn(|| {
            raw_thread::run(THREADS, &|_| {
                plugin.work();
                have_used.wait();
                is_closed.wait();
            });
        });
        have_used.wait();
        plugin.close();
        is_closed.wait();
    });
}

/// Threads that used the library outlive its close.
fn threads_outlive_it(path: &Path) {
    let plugin = Plugin::open(path);
    let block = plugin.make(100);
    let before = (plugin.live_blocks)();
    close_among_threads(&plugin);
    // The library and its blocks are still there, and the threads have given their heaps back.
    plugin.free(block, 100);
    assert_eq!((plugin.live_blocks)(), before - 1);
    assert_eq!((plugin.heaps_in_use)(), 1, "this thread's");
}

/// Opens and closes the same library a hundred times. One block of each time stays live.
fn again_and_again(path: &Path) {
    let blocks: [_; 100] = std::array::from_fn(|i| {
        let plugin = Plugin::open(path);
        let block = plugin.make(1 + i);
        // 1 is the block that the constructor leaves.
        assert_eq!((plugin.live_blocks)(), 1 + 1 + i as u64, "a fresh library was loaded");
        match i % 3 {
            0 => close_among_threads(&plugin),
            1 => {
                raw_thread::run(THREADS, &|_| plugin.work());
                plugin.close();
            }
            _ => plugin.close(),
        }
        block
    });
    let plugin = Plugin::open(path);
    blocks.into_iter().enumerate().for_each(|(i, block)| plugin.free(block, 1 + i));
    assert_eq!((plugin.live_blocks)(), 1);
}

/// Opens copies of the file. Each copy is a library of its own with an allocator of its own, and stays loaded when its
/// file is removed.
fn copies(path: &Path) {
    let copies: [_; 20] = std::array::from_fn(|i| {
        let copy = path.with_file_name(format!("copy-{}-{i}", std::process::id()));
        fs::copy(path, &copy).expect("copying the library");
        let plugin = Plugin::open(&copy);
        fs::remove_file(&copy).expect("removing the copy");
        let block = plugin.make(200);
        assert_eq!((plugin.live_blocks)(), 1 + 1);
        close_among_threads(&plugin);
        (plugin, block)
    });
    for (plugin, block) in copies {
        plugin.free(block, 200);
        assert_eq!((plugin.live_blocks)(), 1);
    }
}

/// The library's constructor waits for a thread, and this thread allocates the library's first block. Meanwhile the
/// loader lets no other thread open or close a library, so the allocator must not ask it to.
fn constructor_waits(path: &Path) {
    // SAFETY: no preconditions. No handler is installed: the signal ends the process if it hangs.
    unsafe { libc::alarm(20) };
    let plugin = Plugin::open(path);
    let block = (plugin.first_block)();
    assert!(!block.is_null());
    // SAFETY: the block has 8 bytes, and the library's constructor has left it to this function.
    unsafe { (plugin.free)(block, 8) };
    assert_eq!((plugin.live_blocks)(), 0);
}

/// What a child does with the library at a path.
type Role = fn(&Path);

const ROLES: [(&str, Role); 4] = [
    ("threads_outlive_it", threads_outlive_it),
    ("again_and_again", again_and_again),
    ("copies", copies),
    ("constructor_waits", constructor_waits),
];

fn in_child(role: &str) {
    let said = succeed(command!(role).env(PLUGIN, library()));
    assert_eq!(said, "done\n");
}

fn library() -> PathBuf {
    build_library(env!("CARGO_TARGET_TMPDIR"), "plugin")
}

pub(crate) fn tests() -> Vec<Test> {
    if !cfg!(all(target_os = "linux", target_env = "gnu", not(target_feature = "crt-static"))) {
        return vec![];
    }
    ROLES.iter().map(|(role, _)| Test::new(*role, move || in_child(role))).collect()
}

pub(crate) fn child(role: &str) {
    let path = env::var_os(PLUGIN).expect("the library's path");
    let (_, run) = ROLES.iter().find(|(name, _)| *name == role).expect("a role of this test");
    run(Path::new(&path));
    say("done\n");
}
