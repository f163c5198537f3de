//! A stack of things without an owner: wholly free arenas, parked heaps. Each thing has a link to the one below it, so
//! a stack of any length needs no memory.
//!
//! Stack invariant 1: a stack and the links of the things on it are used by one thread alone, or by the holder of one
//! lock. So a thread that pops a thing sees everything that was done with it before the push, and is its only owner.
//! Stack invariant 2: a thing lies on one stack at most.

/// Access to the links of things. The links lie outside the stack.
pub(crate) trait StackLinks<T> {
    /// The thing below this one, from the last [`set_below`](Self::set_below).
    fn below(&self, thing: T) -> Option<T>;
    /// Links a thing to the one below it.
    fn set_below(&self, thing: T, below: Option<T>);
}

/// A stack of things: the last one pushed is popped first.
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

    /// Adds a thing that the caller owns and no other thread knows. The caller owns it no longer.
    pub(crate) fn push(&mut self, links: &impl StackLinks<T>, thing: T) {
        links.set_below(thing, self.top);
        self.top = Some(thing);
        self.length += 1;
    }

    /// Takes the thing that came last. The caller owns it.
    pub(crate) fn pop(&mut self, links: &impl StackLinks<T>) -> Option<T> {
        let thing = self.top?;
        self.top = links.below(thing);
        self.length -= 1;
        Some(thing)
    }
}
