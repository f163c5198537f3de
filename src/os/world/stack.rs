//! A stack for the search, and the registers and stacks of the calling thread.

use crate::os::memory::{KeepErrno, open, page_bytes, reserve, unreserve};
use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

/// Bytes of the leak finder's own stack.
const STACK_BYTES: usize = 512 * 1024;

/// Bytes above the first frame, which stay zero. A backtrace that is taken on this stack looks there for the return
/// address of the first frame's caller. It finds 0 and ends, so it does not read beyond the stack.
const ABOVE_FIRST_FRAME: usize = 512;

/// Returns the calling thread's signal stack, as the kernel describes it.
fn signal_stack() -> libc::stack_t {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: the call only asks, and `stack` has room for the answer.
    unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
    // SAFETY: all zero is a legal value too.
    unsafe { stack.assume_init() }
}

/// Whether the calling thread runs on its signal stack. Never inlined, so that the answer lies in a frame that is not
/// scanned.
#[inline(never)]
fn on_signal_stack() -> bool {
    signal_stack().ss_flags & libc::SS_ONSTACK != 0
}

/// Blocks all signals of the calling thread until this value is dropped, by the kernel's own system call. The C
/// library's function does not block the signals by which it ends a canceled thread. A thread that ended here would
/// leave the others stopped.
struct SignalMask(u64);

impl SignalMask {
    fn new() -> Self {
        Self(Self::set(u64::MAX))
    }

    /// Sets which signals are blocked. Returns those that were blocked before.
    fn set(signals: u64) -> u64 {
        let _errno = KeepErrno::new();
        let (how, mut before) = (libc::SIG_SETMASK, 0_u64);
        // SAFETY: the kernel reads one set of signals and writes another one, each of the size that is passed.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const signals, &raw mut before, size_of::<u64>()) };
        before
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        Self::set(self.0);
    }
}

/// Facts about the caller, for the body of [`on_own_stack`].
pub(crate) struct Caller {
    /// Address of the caller's saved registers. The caller's stack goes on above them.
    pub(crate) stack: usize,
    /// Start and end of the stack that the body runs on.
    pub(crate) own: (usize, usize),
    /// Start of the caller's signal stack. Perhaps only the kernel has a pointer to it.
    pub(crate) signal_stack: usize,
    /// Whether the caller runs on its signal stack.
    pub(crate) on_signal_stack: bool,
}

/// Runs `body` on a stack of its own, with all signals blocked and with the caller's registers saved on the caller's
/// stack. So `body` leaves nothing on the caller's stack, and the part of that stack that it scans has no frames of
/// `body`. `None` if there is no memory for the stack. `body` must not unwind.
#[inline(never)]
pub(crate) fn on_own_stack<R>(body: impl FnOnce(&Caller) -> R) -> Option<R> {
    struct Call<F, R> {
        body: Option<F>,
        own: (usize, usize),
        on_signal_stack: bool,
        result: Option<R>,
    }
    unsafe extern "C" fn begin<F: FnOnce(&Caller) -> R, R>(call: *mut c_void, stack: usize) {
        // SAFETY: `on_own_stack` passes its `Call`, and waits.
        let call = unsafe { &mut *call.cast::<Call<F, R>>() };
        if let Some(body) = call.body.take() {
            let Call { own, on_signal_stack, .. } = *call;
            // The kernel is asked here, so that no word of the caller's stack holds the answer.
            let signal_stack = signal_stack().ss_sp.addr();
            call.result = Some(body(&Caller { stack, own, signal_stack, on_signal_stack }));
        }
    }
    fn begin_of<F: FnOnce(&Caller) -> R, R>(_: &Call<F, R>) -> unsafe extern "C" fn(*mut c_void, usize) {
        begin::<F, R>
    }
    let start = reserve(STACK_BYTES)?;
    let own = (start.addr().get(), start.addr().get() + STACK_BYTES);
    // The lowest page stays closed, to catch an overflow.
    let page = page_bytes();
    // SAFETY: inside what was reserved.
    let bottom = unsafe { start.add(page) };
    // SAFETY: inside what was reserved.
    let is_open = unsafe { open(bottom, STACK_BYTES - page) };
    let mut result = None;
    if is_open {
        let _blocked = SignalMask::new();
        let call = Call { body: Some(body), own, on_signal_stack: on_signal_stack(), result: None };
        let begin = begin_of(&call);
        // The call lies at the low end of the new stack. On the caller's stack, the room for its result would keep old
        // content, which would be scanned.
        let place = bottom.cast();
        // SAFETY: fresh memory, aligned to a page, and larger than any call.
        unsafe { place.write(call) };
        // SAFETY: inside what was reserved; both sizes keep it aligned.
        let top = unsafe { start.add(STACK_BYTES - ABOVE_FIRST_FRAME) };
        // SAFETY: the stack is fresh and large enough; `begin` takes the call, and neither unwinds nor keeps it.
        unsafe { switch(place.as_ptr().cast(), top.as_ptr(), begin) };
        // SAFETY: written above, and read once.
        result = unsafe { place.read() }.result;
    }
    // SAFETY: no code runs on it any more.
    unsafe { unreserve(start, STACK_BYTES) };
    result
}

/// Clears the part of the stack where the frames of the next calls will lie. These frames keep registers of the caller,
/// so the search scans them, down to the point where it changes to a stack of its own. Old content of the frames would
/// make blocks look held.
#[inline(always)]
pub(crate) fn clear_stack() {
    /// Number of words to clear: more than those frames take in a build without optimization.
    const WORDS: usize = 512;
    // The words are cleared downwards, so that the write hits the guard first if the stack is too small.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an `asm` block without `nostack` may push, so the compiler keeps nothing below the stack pointer.
    unsafe {
        asm!("2:", "mov qword ptr [rsp + 8*{0}], 0", "dec {0}", "cmp {0}, {1}", "jne 2b",
            inout(reg) -1_isize => _, in(reg) -(WORDS as isize));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        asm!("mov {0}, sp", "sub {1}, {0}, {1}", "2:", "str xzr, [{0}, #-8]!", "cmp {0}, {1}", "b.ne 2b",
            out(reg) _, inout(reg) 8 * WORDS => _);
    }
}

/// Saves the registers that a callee must preserve, and calls `begin(call, stack pointer)` on another stack.
///
/// # Safety
/// * `top` is the end of a stack that is not in use. It is aligned to 16 bytes, and has zeros above it.
/// * `begin` may be called with `call`, and does not unwind.
#[inline(never)]
unsafe fn switch(call: *mut c_void, top: *mut u8, begin: unsafe extern "C" fn(*mut c_void, usize)) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller's promises; all that is pushed is popped.
    unsafe {
        asm!(
            "push rbx", "push rbp", "push r12", "push r13", "push r14", "push r15",
            "mov rsi, rsp",
            "mov r12, rsp",
            "mov rsp, rdx",
            "call rcx",
            "mov rsp, r12",
            "pop r15", "pop r14", "pop r13", "pop r12", "pop rbp", "pop rbx",
            in("rdi") call,
            in("rdx") top,
            in("rcx") begin,
            clobber_abi("C"),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller's promises; all that is stored is loaded again.
    unsafe {
        asm!(
            "sub sp, sp, #160",
            "stp x19, x20, [sp]", "stp x21, x22, [sp, #16]", "stp x23, x24, [sp, #32]", "stp x25, x26, [sp, #48]",
            "stp x27, x28, [sp, #64]", "stp x29, x30, [sp, #80]",
            "stp d8, d9, [sp, #96]", "stp d10, d11, [sp, #112]", "stp d12, d13, [sp, #128]", "stp d14, d15, [sp, #144]",
            "mov x1, sp",
            "mov x20, sp",
            "mov sp, x2",
            "blr x3",
            "mov sp, x20",
            "ldp x19, x20, [sp]", "ldp x29, x30, [sp, #80]",
            "add sp, sp, #160",
            in("x0") call,
            in("x2") top,
            in("x3") begin,
            clobber_abi("C"),
        );
    }
}
