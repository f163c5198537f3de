//! Stacks of what nobody owns: wholly free arenas, heaps without a thread. Each thing is linked to the one below it by
//! a place of its own, so that a stack of any length needs no memory.
//!
//! Stack invariant 1: a stack, and the links of what lies on it, are used by one thread alone or by the holder of one
//! lock. So whoever pops a thing sees what was done with it before it was pushed, and is the only one who has it.
//! Stack invariant 2: a thing lies on one stack at most.

/// Where the links of things lie.
pub(crate) trait Links<T> {
    /// The thing below this one, as [`set_below`](Self::set_below) was told.
    fn below(&self, thing: T) -> Option<T>;
    /// Links a thing to the one below it.
    fn set_below(&self, thing: T, below: Option<T>);
}

/// Things in the reverse order in which they came.
pub(crate) struct Stack<T> {
    top: Option<T>,
    length: usize,
}

impl<T: Copy> Stack<T> {
    pub(crate) const fn new() -> Self {
        Self { top: None, length: 0 }
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The thing that came last.
    pub(crate) fn top(&self) -> Option<T> {
        self.top
    }

    /// Gives up a thing that the caller owns and nobody else knows.
    pub(crate) fn push(&mut self, links: &impl Links<T>, thing: T) {
        links.set_below(thing, self.top);
        self.top = Some(thing);
        self.length += 1;
    }

    /// Takes the thing that came last; it is the caller's.
    pub(crate) fn pop(&mut self, links: &impl Links<T>) -> Option<T> {
        let thing = self.top?;
        self.top = links.below(thing);
        self.length -= 1;
        Some(thing)
    }
}
