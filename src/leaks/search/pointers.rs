//! The pointers to a block, the pointers from a block, and all live blocks.

use super::finder::look;
use super::found::{Node, ScanPlace};
use super::scan::Scan;
use crate::figures::Address;
use crate::leaks::answers::{Holder, LiveBlock, Referrer};
use crate::leaks::error::LeakError;
use crate::os::world::{MappingName, Refusal, World};
use crate::os::{MappedSlice, world};

/// Returns the words that point into the block that contains the address `of`. The caller has cleared the stack.
#[inline(never)]
pub(crate) fn referrers(of: Address) -> Result<Vec<Referrer>, LeakError> {
    #[derive(Clone, Copy)]
    struct FoundPointer {
        address: Address,
        block: Option<LiveBlock>,
        thread: Option<u32>,
        name: Option<MappingName>,
    }
    let found = look(
        |scan, world| {
            let Some(node) = scan.node_of(of.get()) else { return Ok(None) };
            let mut all = MappedSlice::new();
            let mut is_whole = true;
            let whole = scan.each_pointer_to(node, |holder, address| {
                let (block, thread, name) = match holder {
                    ScanPlace::Block(node) => (Some(live_block(scan, node)), None, None),
                    ScanPlace::Root(mapping) => {
                        (None, thread_in(scan, world, mapping), Some(scan.mappings[mapping].name))
                    }
                };
                is_whole &= all.push(FoundPointer { address: Address::from(address), block, thread, name }).is_some();
            });
            whole.filter(|()| is_whole).ok_or(Refusal::NoMemory)?;
            Ok(Some(all))
        },
        |all| {
            let all = all.ok_or(LeakError::NoBlock)?;
            let name = |name: Option<MappingName>| {
                String::from_utf8_lossy(name.as_ref().map_or(b"", |name| name.bytes())).into_owned()
            };
            let referrer = |found: &FoundPointer| Referrer {
                address: found.address,
                holder: match (found.block, found.thread) {
                    (Some(block), _) => Holder::Block(block),
                    (None, Some(thread)) => Holder::Thread(thread),
                    (None, None) => Holder::Mapping(name(found.name)),
                },
            };
            Ok(all.iter().map(referrer).collect::<Vec<_>>())
        },
    );
    found.map(|found| *found)
}

/// Returns the live blocks that a block points to. `of` is an address inside that block.
pub(crate) fn referents(of: Address) -> Result<Vec<LiveBlock>, LeakError> {
    let found = look(
        |scan, _| {
            let Some(node) = scan.node_of(of.get()) else { return Ok(None) };
            let (mut all, mut is_whole) = (MappedSlice::new(), true);
            scan.each_pointer_from(node, |target| is_whole &= all.push(live_block(scan, target)).is_some());
            if is_whole { Ok(Some(all)) } else { Err(Refusal::NoMemory) }
        },
        |all| {
            let mut all = all.ok_or(LeakError::NoBlock)?.to_vec();
            all.sort_unstable_by_key(|block| block.address);
            all.dedup();
            Ok(all)
        },
    );
    found.map(|found| *found)
}

/// Returns all live blocks, by size and then by address.
pub(crate) fn live_blocks() -> Result<Vec<LiveBlock>, LeakError> {
    let found = look(
        |scan, _| {
            let mut all = MappedSlice::new();
            scan.each_live(|node| all.push(live_block(scan, node))).ok_or(Refusal::NoMemory)?;
            Ok(all)
        },
        |all| {
            let mut all = all.to_vec();
            all.sort_unstable_by_key(|block| (block.bytes, block.address));
            Ok(all)
        },
    );
    found.map(|found| *found)
}

fn live_block(scan: &Scan<'_>, node: Node) -> LiveBlock {
    let (start, bytes) = scan.block(node);
    let serial = scan.facts(node).map(|facts| facts.serial);
    LiveBlock { address: Address::from(start), bytes: bytes as u64, serial }
}

/// Number of the thread whose stack lies in a mapping.
fn thread_in(scan: &Scan<'_>, world: &World, mapping: usize) -> Option<u32> {
    let is_in = |address: usize| scan.mapping_of(address) == Some(mapping);
    let own = is_in(scan.caller_stack).then(world::this_thread);
    own.or_else(|| world.threads().find(|thread| thread.stack.is_some_and(is_in)).map(|thread| thread.thread))
}
