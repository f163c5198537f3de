//! What the allocator asks of the operating system and the processor: address ranges, the page size, thread exit,
//! fork, staying loaded, a line on stderr. All knowledge of platforms is in here.

mod exit;
mod loaded;
mod memory;
mod process;
mod valgrind;
pub(crate) mod world;

pub(crate) use exit::{Buffered, Output, environment, name_exit_entry};
pub(crate) use memory::{
    address_space_limit, give_back, let_read, open, page_bytes, physical_memory, prefer_huge_pages, release, reserve,
    resident_bytes, trim_backend, unreserve, word_wiped_on_fork,
};
pub(crate) use process::{ThreadExitKey, abort, abort_without_handler, nap, process_id, write_stderr};
pub(crate) use valgrind::is_memcheck;
