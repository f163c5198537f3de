//! A queue of things without an owner. Each thing has a link to the next, so a queue of any length needs no memory.
//!
//! Stack invariants 1 and 2 hold for queues too: one lock guards the queue and its links, and a thing lies on one stack
//! or queue at most.

use super::stack::StackLinks;

/// A queue of things: the first one pushed is popped first.
pub(crate) struct Queue<T> {
    first: Option<T>,
    last: Option<T>,
    length: usize,
}

impl<T: Copy> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { first: None, last: None, length: 0 }
    }

    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// The thing that came first.
    pub(crate) fn first(&self) -> Option<T> {
        self.first
    }

    /// Adds a thing that the caller owns and no other thread knows. The caller owns it no longer.
    pub(crate) fn push(&mut self, links: &impl StackLinks<T>, thing: T) {
        links.set_below(thing, None);
        match self.last {
            Some(last) => links.set_below(last, Some(thing)),
            None => self.first = Some(thing),
        }
        self.last = Some(thing);
        self.length += 1;
    }

    /// Takes the thing that came first. The caller owns it.
    pub(crate) fn pop(&mut self, links: &impl StackLinks<T>) -> Option<T> {
        let thing = self.first?;
        self.first = links.below(thing);
        if self.first.is_none() {
            self.last = None;
        }
        self.length -= 1;
        Some(thing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    struct Next(RefCell<[Option<usize>; 4]>);

    impl StackLinks<usize> for Next {
        fn below(&self, thing: usize) -> Option<usize> {
            self.0.borrow()[thing]
        }

        fn set_below(&self, thing: usize, below: Option<usize>) {
            self.0.borrow_mut()[thing] = below;
        }
    }

    #[test]
    fn things_leave_in_the_order_in_which_they_came() {
        let (mut queue, links) = (Queue::new(), Next(RefCell::new([Some(9); 4])));
        for round in 0..3 {
            assert_eq!((queue.pop(&links), queue.first(), queue.length()), (None, None, 0), "round {round}");
            (0..3).for_each(|thing| queue.push(&links, thing));
            assert_eq!((queue.pop(&links), queue.length()), (Some(0), 2));
            queue.push(&links, 3);
            queue.push(&links, 0);
            assert_eq!(std::array::from_fn(|_| queue.pop(&links)), [Some(1), Some(2), Some(3), Some(0)]);
        }
    }
}
