//! Stops the other threads of the process and reads its memory, for the search for leaks. It exists on Linux on x86-64
//! and aarch64 only.

pub(crate) mod refusal;
pub(crate) mod maps;
pub(crate) mod memory;
pub(crate) mod threads;
pub(crate) mod places;
pub(crate) mod stop;
pub(crate) mod stack;

pub(crate) use maps::{Mapping, MappingName, each_mapping};
pub(crate) use memory::Memory;
pub(crate) use refusal::Refusal;
pub(crate) use stack::{Caller, clear_stack, on_own_stack};
pub(crate) use stop::{STOP, Stop, World};
pub(crate) use threads::{is_thread_pointer, this_thread, thread_descriptor, thread_pointer};
