//! The supply: where a heap gets arenas and magazines from. In a process it is [`Shared`](crate::process::Shared).

use crate::region::{ArenaId, Region, Slot};

/// Where a heap gets arenas and magazines from, and gives wholly free arenas back to: what all heaps share.
pub(crate) trait Supply {
    /// An arena that nobody owns; `None` if the region is used up or the system refuses.
    fn take_arena(&self) -> Option<ArenaId>;
    /// Gives a wholly free arena back.
    fn give_arena(&self, region: &Region, arena: ArenaId);
    /// Several new magazines, given to `each` by their tops; none if there is no memory for them.
    fn take_magazines(&self, each: &mut dyn FnMut(*mut Slot));
}
