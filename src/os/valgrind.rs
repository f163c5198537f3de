//! Whether valgrind's memcheck executes this process. If it does, the backend serves every request, because memcheck
//! knows only the blocks of malloc.
//!
//! The question is a *client request* (valgrind.h): instructions that do nothing on a processor, and that valgrind
//! takes as a call of its tool. Valgrind promises that these instructions stay the same.

/// Memcheck's request for its knowledge of some bytes (`VALGRIND_GET_VBITS` in memcheck.h). No other tool answers it.
/// So callgrind, which counts instructions, sees the pools.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
const GET_VBITS: usize = 0x4D43_0008;

/// Whether memcheck executes this process.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn is_memcheck() -> bool {
    let (byte, mut bits) = (0_u8, 0_u8);
    let request = [GET_VBITS, (&raw const byte).expose_provenance(), (&raw mut bits).expose_provenance(), 1, 0, 0];
    let mut answer = 0_usize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the rotations add up to 128 bits and leave rdi as it was. Only memcheck writes `bits` and the answer.
    unsafe {
        core::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const request,
            inout("rdx") answer,
            options(nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above, with x12.
    unsafe {
        core::arch::asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61",
            "orr x10, x10, x10",
            in("x4") &raw const request,
            inout("x3") answer,
            options(nostack),
        );
    }
    answer == 1
}

/// Whether memcheck executes this process. Always false here: there is no code to ask memcheck on this platform.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn is_memcheck() -> bool {
    false
}
