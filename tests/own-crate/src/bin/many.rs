//! The work in twenty modules, of which the compiler makes several units.

use poolmalloc::PoolMalloc;

#[global_allocator]
static ALLOC: PoolMalloc = PoolMalloc::new();

macro_rules! modules {
    ($($module:ident $words:literal)*) => {
        $(mod $module {
            poolmalloc_own_crate::work!($words);
        })*

        fn main() {
            $($module::work(100);)*
        }
    };
}

modules! {
    a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8 i 9 j 10 k 11 l 12 m 13 n 14 o 15 p 16 q 17 r 18 s 19 t 20
}
