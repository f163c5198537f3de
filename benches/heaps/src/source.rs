//! The text: sources of the library itself.

use std::sync::OnceLock;

/// Times that it is taken, so that it fills some arenas.
const TIMES: usize = 20;

pub(crate) fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        let sources = [
            include_str!("../../../src/arena.rs"),
            include_str!("../../../src/global.rs"),
            include_str!("../../../src/heap/fill.rs"),
            include_str!("../../../src/heap/flush.rs"),
            include_str!("../../../src/heap/mod.rs"),
            include_str!("../../../src/magazine.rs"),
            include_str!("../../../src/region.rs"),
            include_str!("../../../src/shared.rs"),
            include_str!("../../../src/stats.rs"),
        ];
        sources.concat().repeat(TIMES)
    })
}
