//! The loader's entry for a function that runs when the process ends.

/// Defines the static `$name`, which makes the loader call `$function` when the process ends by `exit` or by a return
/// from `main`. The call comes after the functions that the program gave to `atexit`.
macro_rules! exit_entry {
    ($name:ident, $function:path) => {
        #[used]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".fini_array"))]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_term_func"))]
        static $name: extern "C" fn() = $function;
    };
}
pub(crate) use exit_entry;
