//! The text: sources of the library itself.

use std::sync::OnceLock;

/// Times that it is taken, so that it fills some arenas.
const TIMES: usize = 20;

pub(crate) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let sources = [
            include_str!("../../../src/figures/stats.rs"),
            include_str!("../../../src/global/detoured.rs"),
            include_str!("../../../src/global/front_door.rs"),
            include_str!("../../../src/heap/alloc.rs"),
            include_str!("../../../src/heap/flush.rs"),
            include_str!("../../../src/heap/foreign.rs"),
            include_str!("../../../src/heap/magazine.rs"),
            include_str!("../../../src/heap/state.rs"),
            include_str!("../../../src/private/serve.rs"),
            include_str!("../../../src/process/shared.rs"),
            include_str!("../../../src/process/state.rs"),
            include_str!("../../../src/process/tls.rs"),
            include_str!("../../../src/region/arena.rs"),
            include_str!("../../../src/region/pool.rs"),
            include_str!("../../../src/region/tables.rs"),
        ];
        sources.concat().repeat(TIMES)
    })
}
