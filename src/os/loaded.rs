//! Staying loaded: a shared library that has this allocator inside is called once more at the end of each thread that
//! used it, so `dlclose` must not unload it.
//!
//! It takes a handle of itself that is never closed. It does so when it is loaded, not when it is used first: the first
//! request may come from a thread for which some constructor waits, while the loader's lock is held for that
//! constructor; and a program that is about to ask `dlerror` may allocate before it does.
//!
//! musl unloads nothing, and a static program loads nothing.

/// Has no effect, but that a linker which takes from a static library only what is named takes the entry below, too.
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

    /// Of a segment that is mapped, in the ELF standard.
    const PT_LOAD: u32 = 1;

    /// Runs when the program or shared library that this code is part of is loaded, before anyone could unload it.
    #[used]
    #[unsafe(link_section = ".init_array")]
    pub(super) static AT_LOAD: extern "C" fn() = stay_loaded;

    extern "C" fn stay_loaded() {
        let mut name: *const c_char = ptr::null();
        // SAFETY: `name_of_this` writes a pointer to where it is told.
        unsafe { libc::dl_iterate_phdr(Some(name_of_this), (&raw mut name).cast()) };
        // SAFETY: if it is not null, it is the loader's name of this object, which ends in a zero byte.
        if name.is_null() || unsafe { *name } == 0 {
            // The program itself has no name with glibc. Elsewhere it has, and one handle more does no harm.
            return;
        }
        // The loader looks among the names of what is loaded and finds it there, so that it opens no file. Should it
        // fail, there is nobody to tell, and the library is one that can be unloaded.
        // SAFETY: the name ends in a zero byte; no constructor runs, since nothing is loaded.
        unsafe { libc::dlopen(name, libc::RTLD_NOW | libc::RTLD_NOLOAD | libc::RTLD_NODELETE) };
    }

    /// Called with each object that is loaded, the program first; tells the name of the one with this function in it.
    unsafe extern "C" fn name_of_this(info: *mut libc::dl_phdr_info, _: usize, name: *mut c_void) -> c_int {
        // SAFETY: the loader passes a description that is valid until this function returns.
        let info = unsafe { &*info };
        let segments = usize::from(info.dlpi_phnum);
        // SAFETY: the loader says where they are, and how many.
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
