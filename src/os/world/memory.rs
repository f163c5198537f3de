//! The memory of the process, read through `/proc/self/mem`: a read of an address that is no longer mapped does not
//! fault.

use super::refusal::Refusal;
use crate::os::memory::{KeepErrno, page_bytes};
use crate::os::proc_file::ProcFile;
use static_assertions::assert_eq_size;

/// The process's own memory as a file, and the page tables, where the kernel shows them.
pub(crate) struct Memory {
    memory: ProcFile,
    pages: Option<ProcFile>,
    page: usize,
}

/// Largest number of pages for one question to the page table or `mincore`. `PAGEMAP_SCAN` is asked about a range of
/// any length, and answers with at most a quarter of this number of parts.
const PAGES_AT_ONCE: usize = 2048;

/// The argument of `PAGEMAP_SCAN` (`linux/fs.h`, since Linux 6.7).
#[repr(C)]
#[derive(Default)]
struct ScanQuestion {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    /// Address at which the kernel has stopped.
    walk_end: u64,
    parts: u64,
    parts_length: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// A part of the answer to `PAGEMAP_SCAN`: a range, and its categories.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ScanPart {
    start: u64,
    end: u64,
    categories: u64,
}

// The kernel checks the size that the question states: 12 words of 8 bytes.
assert_eq_size!(ScanQuestion, [u64; 12]);

impl Memory {
    /// Opens the files, and tests that memory can be read: where the kernel refuses that, a search would find no
    /// pointer.
    pub(crate) fn open() -> Result<Self, Refusal> {
        let known = core::hint::black_box(&0x706F_6F6C_6D61_6C6C_u64);
        let can_read = |memory: &ProcFile| {
            let mut word = [0];
            memory.words_at(core::ptr::from_ref(known).addr(), &mut word) == 1 && word[0] == *known
        };
        let of = |[memory, pages]: [&[u8]; 2]| {
            let memory = ProcFile::open(memory).filter(can_read)?;
            Some(Self { memory, pages: ProcFile::open(pages), page: page_bytes() })
        };
        of([b"/proc/self/mem\0", b"/proc/self/pagemap\0"])
            // When the first thread has ended, `/proc/self/mem` shows no memory any more.
            .or_else(|| of([b"/proc/thread-self/mem\0", b"/proc/thread-self/pagemap\0"]))
            .ok_or(Refusal::NoProc)
    }

    /// Reads words from an address, a multiple of 8. Returns the number of words that could be read.
    pub(crate) fn read(&self, address: usize, to: &mut [u64]) -> usize {
        self.memory.words_at(address, to)
    }

    /// Calls `each` with the used parts of a range of private memory: pages that are in memory or in the swap, and
    /// pages about which the kernel says nothing.
    pub(crate) fn each_used(&self, (mut at, end): (usize, usize), mut each: impl FnMut(usize, usize)) {
        while at < end {
            at = match self.scan((at, end), &mut each) {
                Some(at) => at,
                None => self.each_used_by_page((at, end), &mut each),
            };
        }
    }

    /// Asks the kernel for the used parts of a range. Returns the address up to which it answered; `None` if it cannot
    /// answer.
    fn scan(&self, (at, end): (usize, usize), each: &mut impl FnMut(usize, usize)) -> Option<usize> {
        /// `PAGE_IS_PRESENT` and `PAGE_IS_SWAPPED`.
        const USED: u64 = 1 << 3 | 1 << 4;
        /// `_IOWR('f', 16, struct pm_scan_arg)`.
        const PAGEMAP_SCAN: libc::c_ulong = 0xC060_6610;
        let _errno = KeepErrno::new();
        let mut parts = [ScanPart::default(); PAGES_AT_ONCE / 4];
        let mut question = ScanQuestion {
            size: size_of::<ScanQuestion>() as u64,
            start: (at & !(self.page - 1)) as u64,
            end: end.next_multiple_of(self.page) as u64,
            parts: parts.as_mut_ptr().expose_provenance() as u64,
            parts_length: parts.len() as u64,
            category_anyof_mask: USED,
            return_mask: USED,
            ..ScanQuestion::default()
        };
        let file = self.pages.as_ref()?.0;
        // SAFETY: the question has the form that the kernel expects, and room for the number of parts that it names.
        let count = unsafe { libc::syscall(libc::SYS_ioctl, file, PAGEMAP_SCAN, &raw mut question) };
        let parts = parts.get(..usize::try_from(count).ok()?)?;
        for part in parts {
            let (from, to) = ((part.start as usize).max(at), (part.end as usize).min(end));
            if from < to {
                each(from, to);
            }
        }
        Some(question.walk_end as usize).filter(|stop| *stop > at)
    }

    /// Calls `each` with the used parts of a range, by the page table, for [`PAGES_AT_ONCE`] pages at most. A page
    /// without a readable entry counts as used. Returns the address up to which it looked.
    fn each_used_by_page(&self, (at, end): (usize, usize), each: &mut impl FnMut(usize, usize)) -> usize {
        /// Present in memory, or in the swap.
        const USED: u64 = 1 << 63 | 1 << 62;
        let mut entries = [0_u64; PAGES_AT_ONCE];
        let first = at / self.page;
        let wanted = (end.div_ceil(self.page) - first).min(PAGES_AT_ONCE);
        let read = self.pages.as_ref().map_or(0, |pages| pages.words_at(first * 8, &mut entries[..wanted]));
        let of = |number: usize| if number < read { entries[number] & USED != 0 } else { true };
        self.each_run((at, end), wanted, of, each)
    }

    /// Calls `each` with the used parts of a range of shared memory:
    /// * pages that are in memory, even if this process has not mapped them yet;
    /// * pages in the swap, if the page table of this process says so;
    /// * pages about which the kernel says nothing.
    ///
    /// The other pages are left out, because reading a page that no process has touched would create it.
    pub(crate) fn each_used_shared(&self, (mut at, end): (usize, usize), mut each: impl FnMut(usize, usize)) {
        /// The bit that says that the page is in memory.
        const RESIDENT: u8 = 1;
        while at < end {
            let first = at & !(self.page - 1);
            let wanted = ((end - first).div_ceil(self.page)).min(PAGES_AT_ONCE);
            let mut resident = [0_u8; PAGES_AT_ONCE];
            let start = core::ptr::without_provenance_mut(first);
            let _errno = KeepErrno::new();
            // SAFETY: the answer has room for a byte for each page; the call writes nothing at the address.
            if unsafe { libc::mincore(start, wanted * self.page, resident.as_mut_ptr()) } == 0 {
                // `mincore` does not know pages in the swap; the page table does.
                let stop = (first + wanted * self.page).min(end);
                self.each_used((at, stop), |from, to| {
                    let pages = (from - first) / self.page..(to - first).div_ceil(self.page);
                    resident[pages].fill(RESIDENT);
                });
                at = self.each_run((at, end), wanted, |number| resident[number] & RESIDENT != 0, &mut each);
            } else {
                at = self.each_run((at, end), wanted, |_| true, &mut each);
            }
        }
    }

    /// Calls `each` with the runs of used pages among the first `pages` pages of a range. Returns the end of these
    /// pages.
    fn each_run(
        &self,
        (at, end): (usize, usize),
        pages: usize,
        is_used: impl Fn(usize) -> bool,
        each: &mut impl FnMut(usize, usize),
    ) -> usize {
        let first = at / self.page;
        let mut number = 0;
        while number < pages {
            let begin = number;
            let is_run_used = is_used(begin);
            while number < pages && is_used(number) == is_run_used {
                number += 1;
            }
            if is_run_used {
                each(((first + begin) * self.page).max(at), ((first + number) * self.page).min(end));
            }
        }
        (first + pages) * self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory::{open, reserve, unreserve};

    #[test]
    fn untouched_pages_of_shared_memory_are_left_so() {
        let page = page_bytes();
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping.
        let start = unsafe { libc::mmap(core::ptr::null_mut(), 4096 * page, rights, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: in the third page.
        unsafe { start.cast::<u64>().wrapping_byte_add(2 * page).write(1) };
        let (memory, base, mut used) = (Memory::open().unwrap(), start.addr(), Vec::new());
        memory.each_used_shared((base + 8, base + 4096 * page), |from, to| used.push((from, to)));
        assert_eq!(used, [(base + 2 * page, base + 3 * page)]);
        // SAFETY: ours, and unused from here on.
        unsafe { libc::munmap(start, 4096 * page) };
        // The mapping is gone. The kernel says nothing about its page, so the page counts as used.
        let mut used = Vec::new();
        memory.each_used_shared((base, base + page), |from, to| used.push((from, to)));
        assert_eq!(used, [(base, base + page)]);
    }

    #[test]
    fn only_pages_in_use_are_read() {
        let page = page_bytes();
        let start = reserve(8 * page).unwrap();
        // SAFETY: inside the reservation.
        assert!(unsafe { open(start, 8 * page) });
        // SAFETY: in the third page.
        let word = unsafe { start.byte_add(2 * page + 8) }.cast::<u64>();
        // SAFETY: as above.
        unsafe { word.write(42) };
        let memory = Memory::open().unwrap();
        let (base, mut used) = (start.addr().get(), Vec::new());
        memory.each_used((base + 8, base + 8 * page), |from, to| used.push((from, to)));
        let third = [(base + 2 * page, base + 3 * page)];
        if memory.pages.is_some() {
            assert_eq!(used, third);
        }
        // As on a kernel without `PAGEMAP_SCAN`.
        let mut used = Vec::new();
        let mut at = base + 8;
        while at < base + 8 * page {
            at = memory.each_used_by_page((at, base + 8 * page), &mut |from, to| used.push((from, to)));
        }
        if memory.pages.is_some() {
            assert_eq!(used, third);
        }
        let mut words = [0; 2];
        assert_eq!(memory.read(base + 2 * page, &mut words), 2);
        assert_eq!(words, [0, 42]);
        // SAFETY: ours, and unused from here on.
        unsafe { unreserve(start, 8 * page) };
        assert_eq!(memory.read(base, &mut words), 0);
    }
}
