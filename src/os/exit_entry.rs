//! The loader's entry for a function that runs when the process ends.

/// Defines a static with this name, which makes the loader call `$function` after the functions that the program gave
/// to `atexit`, if the process ends by `exit` or a return from `main`.
macro_rules! exit_entry {
    ($name:ident, $function:path) => {
        #[used]
        #[cfg_attr(not(target_vendor = "apple"), unsafe(link_section = ".fini_array"))]
        #[cfg_attr(target_vendor = "apple", unsafe(link_section = "__DATA,__mod_term_func"))]
        static $name: extern "C" fn() = $function;
    };
}
pub(crate) use exit_entry;
