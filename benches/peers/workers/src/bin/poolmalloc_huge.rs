//! The worker under poolmalloc with huge pages for all but the first 2 MiB.

use std::process::ExitCode;

#[path = "../chosen.rs"]
pub mod chosen;

#[global_allocator]
static ALLOC: poolmalloc::PoolMalloc = poolmalloc::PoolMalloc::new();

/// Sets the variable before `main`. The allocator reads it at the first request.
#[used]
#[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".init_array"))]
#[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_init_func"))]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn set_up() {
        // SAFETY: both strings end in a zero byte; no other thread exists yet.
        let result = unsafe { libc::setenv(c"POOLMALLOC_HUGE_PAGES".as_ptr(), c"always".as_ptr(), 1) };
        assert_eq!(result, 0, "no memory for the variable");
    }
    set_up
};

fn main() -> ExitCode {
    versus::worker::main("poolmalloc_huge", &chosen::WORKLOADS, None)
}
