//! Keeps a shared library that contains this allocator from being unloaded. Each thread that used the allocator calls
//! into the library once more at its end, so `dlclose` must not unload it.
//!
//! The library takes a handle of itself that it never closes. It does this when it is loaded, not at the first request,
//! for two reasons. The loader holds its lock while a constructor runs. If the constructor waits for a thread that
//! makes the first request, a `dlopen` in that thread would wait for ever. And a program may allocate just before it
//! asks `dlerror` about an error; a call of `dlopen` at that point would change the answer.
//!
//! musl unloads nothing, and a static program loads nothing.

/// Does nothing at run time. References the entry below. Otherwise a linker that extracts only referenced objects from
/// a static library would leave the entry out.
pub(super) fn name_entry() {
    #[cfg(all(
        any(all(target_os = "linux", target_env = "gnu"), target_os = "android", target_os = "freebsd"),
        not(target_feature = "crt-static")
    ))]
    core::hint::black_box(&entry::AT_LOAD);
}

#[cfg(all(
    any(all(target_os = "linux", target_env = "gnu"), target_os = "android", target_os = "freebsd"),
    not(target_feature = "crt-static")
))]
mod entry {
    use core::ffi::{c_char, c_int, c_void};
    use core::ptr;

    /// Type of a segment that is mapped, in the ELF standard.
    const PT_LOAD: u32 = 1;

    /// The loader's entry for `stay_loaded`. It runs when the program or shared library with this code is loaded,
    /// before any thread could unload it.
    #[used]
    #[unsafe(link_section = ".init_array")]
    pub(super) static AT_LOAD: extern "C" fn() = stay_loaded;

    extern "C" fn stay_loaded() {
        let mut name: *const c_char = ptr::null();
        // SAFETY: `name_of_this` writes a pointer, to the variable that it is passed.
        unsafe { libc::dl_iterate_phdr(Some(name_of_this), (&raw mut name).cast()) };
        // SAFETY: if it is not null, it is the loader's name of this object, which ends in a zero byte.
        if name.is_null() || unsafe { *name } == 0 {
            // glibc gives the program itself an empty name. Elsewhere it has a name; one more handle of it does no
            // harm.
            return;
        }
        // The loader knows the name of a loaded object, so it opens no file. A failure is ignored: the library can be
        // unloaded then.
        // SAFETY: the name ends in a zero byte; no constructor runs, since nothing is loaded.
        unsafe { libc::dlopen(name, libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    }

    /// If the object of `info` contains this function, writes the object's name to `name` and returns 1, which ends the
    /// iteration; returns 0 otherwise. The loader calls this function for each loaded object, the program first.
    unsafe extern "C" fn name_of_this(info: *mut libc::dl_phdr_info, _: usize, name: *mut c_void) -> c_int {
        // SAFETY: the loader passes a description that is valid until this function returns.
        let info = unsafe { &*info };
        let segments = usize::from(info.dlpi_phnum);
        // SAFETY: the loader gives the address of the segments and their number.
        let segments = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, segments) };
        let here = (name_of_this as *const () as usize).wrapping_sub(info.dlpi_addr as usize);
        let is_inside = segments.iter().any(|segment| {
            segment.p_type == PT_LOAD && here.wrapping_sub(segment.p_vaddr as usize) < segment.p_memsz as usize
        });
        if is_inside {
            // SAFETY: `stay_loaded` passes a place for the name.
            unsafe { name.cast::<*const c_char>().write(info.dlpi_name) };
        }
        c_int::from(is_inside)
    }
}
