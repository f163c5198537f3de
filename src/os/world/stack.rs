//! A stack for the search, and the registers and stacks of the calling thread.

use crate::os::memory::{KeepErrno, open, page_bytes, reserve, unreserve};
use core::arch::asm;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr;

/// Bytes of the finder's own stack.
const STACK_BYTES: usize = 512 * 1024;

/// Bytes above its first frame, which stay zero. Whoever takes a backtrace there looks for the caller's caller above
/// that frame: a return address of 0 is where it ends, and what lies beyond the stack is not read.
const ABOVE_FIRST_FRAME: usize = 512;

/// The calling thread's stack for signals.
fn signal_stack() -> libc::stack_t {
    let mut stack = MaybeUninit::<libc::stack_t>::zeroed();
    // SAFETY: a question with room for the answer.
    unsafe { libc::sigaltstack(ptr::null(), stack.as_mut_ptr()) };
    // SAFETY: all zero is a legal value too.
    unsafe { stack.assume_init() }
}

/// Whether the calling thread runs on a stack for signals. In a frame of its own: what lies there is not scanned.
#[inline(never)]
fn on_signal_stack() -> bool {
    signal_stack().ss_flags & libc::SS_ONSTACK != 0
}

/// Signals that are blocked for the calling thread until this is dropped: all, by the kernel's own call. The C
/// library's leaves those open by which it ends a cancelled thread, and others would stay stopped.
struct SignalMask(u64);

impl SignalMask {
    fn new() -> Self {
        Self(Self::set(u64::MAX))
    }

    /// Returns what was blocked before.
    fn set(signals: u64) -> u64 {
        let _errno = KeepErrno::new();
        let (how, mut before) = (libc::SIG_SETMASK, 0_u64);
        // SAFETY: a set of the kernel's, of so many bytes, and room for another.
        unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const signals, &raw mut before, size_of::<u64>()) };
        before
    }
}

impl Drop for SignalMask {
    fn drop(&mut self) {
        Self::set(self.0);
    }
}

/// What the body of [`on_own_stack`] gets.
pub(crate) struct Caller {
    /// Where the caller's registers lie, and above them its stack.
    pub(crate) stack: usize,
    /// The stack that the body runs on.
    pub(crate) own: (usize, usize),
    /// Where the caller's stack for signals begins, which only the kernel may know.
    pub(crate) signal_stack: usize,
    /// Whether the caller's is a stack for signals.
    pub(crate) on_signal_stack: bool,
}

/// Runs `body` on a stack of its own, with all signals blocked, and the caller's registers saved on the caller's stack:
/// so nothing of what `body` does is left on that stack, and what it scans of it ends above its own frames. `None`
/// without memory for the stack. `body` must not unwind.
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
            // Asked here, so that no word of the caller's stack holds it.
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
        // At the low end of the new stack: room for an answer on the caller's would show what was there before.
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
    // SAFETY: nobody runs on it any more.
    unsafe { unreserve(start, STACK_BYTES) };
    result
}

/// Clears the part of the stack where the frames of the next calls will lie. They are scanned down to where the finder
/// changes to a stack of its own, since they keep registers of the caller's; what earlier calls left there would look
/// held.
#[inline(always)]
pub(crate) fn clear_stack() {
    /// More than those frames take in a build without optimisation.
    const WORDS: usize = 512;
    // Downwards, so that a stack that is too small ends at its guard.
    #[cfg(target_arch = "x86_64")]
    // SAFETY: nothing of this thread lies below its stack pointer, as the compiler sees to where a block may push.
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

/// Saves the registers that a call keeps, and calls `begin(call, stack pointer)` on another stack.
///
/// # Safety
/// * `top` is the end of a stack that nobody uses, aligned to 16 bytes, with zeros above it; `begin` may be called with
///   `call`, and does not unwind.
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
