//! The loop of a game: 200 projectiles are fired in each tick, and each flies until its time is over.

use std::ops::DerefMut;

use lockfree_object_pool::LinearObjectPool;
use poolmalloc::TypedPool;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::contest::Contest;

const TICKS: u64 = 400;
const NEW: u64 = 200;

/// 80 bytes.
#[derive(Clone, Copy)]
struct Entity {
    place: [f32; 3],
    speed: [f32; 3],
    _turn: [f32; 4],
    left: u32,
    _more: [u64; 4],
}

impl Entity {
    fn fired(random: &mut Pcg64) -> Self {
        let speed = [(); 3].map(|()| random.random_range(0..1000) as f32 / 100.0 - 5.0);
        Self { place: [0.0; 3], speed, _turn: [0.0; 4], left: random.random_range(1..60), _more: [0; 4] }
    }

    /// Moves the projectile for one tick. Returns false if its time is over.
    fn fly(&mut self) -> bool {
        for (place, speed) in self.place.iter_mut().zip(&mut self.speed) {
            *place += *speed / 60.0;
            *speed *= 0.99;
        }
        self.left -= 1;
        self.left > 0
    }
}

/// Plays the game. Returns a checksum of the places where the projectiles ended.
fn play<E: DerefMut<Target = Entity>>(fire: impl Fn(Entity) -> E) -> u64 {
    let mut random = Pcg64::seed_from_u64(7);
    let mut entities = Vec::new();
    let mut sum = 0;
    for _ in 0..TICKS {
        entities.extend((0..NEW).map(|_| fire(Entity::fired(&mut random))));
        let mut number = 0;
        while let Some(entity) = entities.get_mut(number) {
            if entity.fly() {
                number += 1;
            } else {
                sum ^= u64::from(entity.place[0].to_bits());
                entities.swap_remove(number);
            }
        }
    }
    sum
}

fn play_in_slab() -> u64 {
    let mut random = Pcg64::seed_from_u64(7);
    let mut slab = slab::Slab::new();
    let mut entities = Vec::new();
    let mut sum = 0;
    for _ in 0..TICKS {
        entities.extend((0..NEW).map(|_| slab.insert(Entity::fired(&mut random))));
        let mut number = 0;
        while let Some(&key) = entities.get(number) {
            let entity: &mut Entity = &mut slab[key];
            if entity.fly() {
                number += 1;
            } else {
                sum ^= u64::from(slab.remove(key).place[0].to_bits());
                entities.swap_remove(number);
            }
        }
    }
    sum
}

pub fn entities() -> Contest {
    let none = || Entity { place: [0.0; 3], speed: [0.0; 3], _turn: [0.0; 4], left: 0, _more: [0; 4] };
    let pool = TypedPool::with_capacity(8192);
    let others = object_pool::Pool::new(8192, none);
    let lockfree = LinearObjectPool::new(none, |_| {});
    Contest::new("game loop", "entity", TICKS * NEW)
        .way("Box", || play(Box::new))
        .way("TypedPool", move || play(|entity| pool.get(entity)))
        .way("slab", play_in_slab)
        .way("object-pool", move || {
            play(|entity| {
                let mut place = others.pull(none);
                *place = entity;
                place
            })
        })
        .way("lockfree-object-pool", move || {
            play(|entity| {
                let mut place = lockfree.pull();
                *place = entity;
                place
            })
        })
}
