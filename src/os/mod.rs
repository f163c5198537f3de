//! The interface to the operating system and the processor. The library's system calls are in this folder, and most
//! code that depends on the platform.

pub(crate) mod memory;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) mod proc_file;
pub(crate) mod huge_pages;
pub(crate) mod mapped;
pub(crate) mod text;
pub(crate) mod output;
pub(crate) mod environment;
pub(crate) mod exit_entry;
pub(crate) mod loaded;
pub(crate) mod process;
pub(crate) mod valgrind;
pub(crate) mod maps_line;
#[cfg(can_stop_threads)]
pub(crate) mod world;

pub(crate) use environment::environment;
pub(crate) use exit_entry::exit_entry;
pub(crate) use huge_pages::{are_huge_pages_off, join_pages, prefer_huge_pages, put_huge_page, split_huge_pages};
pub(crate) use mapped::MappedSlice;
#[cfg(feature = "profile")]
pub(crate) use maps_line::MapsLine;
pub(crate) use memory::{
    address_space_limit, give_back, let_read, open, page_bytes, physical_memory, release, reserve, resident_bytes,
    trim_backend, unreserve, word_wiped_on_fork,
};
pub(crate) use output::{BufferedOutput, Output, write_stderr};
pub(crate) use process::{ThreadExitKey, abort, abort_without_handler, nap, process_id};
pub(crate) use text::Text;
pub(crate) use valgrind::is_memcheck;
