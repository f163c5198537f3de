//! This crate allocates, and the library that it uses defines the allocator.

// Without a name from the library, the compiler would not link it.
use poolmalloc_forms_program as _;

poolmalloc_forms_program::operations!();

fn main() {
    run();
}
