//! Where nobody has written how threads are stopped.

use super::{Refusal, Stop};
use std::time::Duration;

pub(crate) const IS_SUPPORTED: bool = false;

#[derive(Clone, Copy)]
pub(crate) struct Stopped {
    pub(crate) thread: u32,
    pub(crate) stack: Option<usize>,
    pub(crate) pointer: usize,
    pub(crate) on_signal_stack: bool,
}

pub(crate) enum World {}

impl Stop {
    pub(crate) fn choose_signal(&self, _: i32) {
        let _ = (&self.round, &self.places, &self.signal, &self.installed);
    }

    pub(crate) fn stop(&self) -> Result<World, Refusal> {
        Err(Refusal::Unsupported)
    }

    pub(crate) fn table_range() -> (usize, usize) {
        (0, 0)
    }
}

impl World {
    pub(crate) fn threads(&self) -> impl Iterator<Item = Stopped> {
        core::iter::empty()
    }

    pub(crate) fn is_held_up(&self) -> bool {
        match *self {}
    }

    pub(crate) fn stopped_for(&self) -> Duration {
        match *self {}
    }
}

pub(crate) struct Caller {
    pub(crate) stack: usize,
    pub(crate) own: (usize, usize),
    pub(crate) signal_stack: usize,
    pub(crate) on_signal_stack: bool,
}

pub(crate) fn clear_stack() {}

pub(crate) fn on_own_stack<R>(_: impl FnOnce(&Caller) -> R) -> Option<R> {
    None
}

pub(crate) fn this_thread() -> u32 {
    0
}

pub(crate) fn thread_pointer() -> usize {
    0
}

#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) is_root: bool,
    pub(crate) is_closed: bool,
    pub(crate) is_private: bool,
    pub(crate) name: Name,
}

#[derive(Clone, Copy)]
pub(crate) struct Name;

impl Name {
    pub(crate) fn bytes(&self) -> &[u8] {
        b""
    }
}

pub(crate) fn each_mapping(_: impl FnMut(Mapping) -> Option<()>) -> Result<(), Refusal> {
    Err(Refusal::Unsupported)
}

pub(crate) struct Memory;

impl Memory {
    pub(crate) fn open() -> Result<Self, Refusal> {
        Err(Refusal::Unsupported)
    }

    pub(crate) fn read(&self, _: usize, _: &mut [u64]) -> usize {
        0
    }

    pub(crate) fn each_used(&self, _: (usize, usize), _: impl FnMut(usize, usize)) {}

    pub(crate) fn each_used_shared(&self, _: (usize, usize), _: impl FnMut(usize, usize)) {}
}

pub(crate) fn thread_record(pointer: usize) -> (usize, usize) {
    (pointer, pointer)
}

pub(crate) fn is_thread_pointer() -> Option<impl Fn(usize, &[u64]) -> bool> {
    None::<fn(usize, &[u64]) -> bool>
}
