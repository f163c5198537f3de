//! The supply: where a heap gets arenas and magazines from. In a process it is
//! [`SharedState`](crate::process::SharedState).

use crate::region::{ArenaId, Region, Slot};

/// The shared pools, as a heap sees them: it gets arenas and magazines there, and gives wholly free arenas back.
pub(crate) trait Supply {
    /// An arena without an owner, for a heap that has `owned` arenas. `None` if the region is used up or the system
    /// refuses memory.
    fn take_arena(&self, owned: usize) -> Option<ArenaId>;
    /// Gives a wholly free arena back.
    fn give_arena(&self, region: &Region, arena: ArenaId);
    /// Calls `each` with the top of each new magazine, or not at all if there is no memory.
    fn take_magazines(&self, each: &mut dyn FnMut(*mut Slot));
}
