//! The mappings of the process, as `/proc/self/maps` lists them.

use super::refusal::Refusal;
use crate::os::maps_line::MapsLine;
use crate::os::proc_file::ProcFile;

/// A mapping of the process, with the facts that the search for leaks needs.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether it can be read and may hold pointers.
    pub(crate) is_root: bool,
    /// Whether it has no rights. It may be the guard of a stack then.
    pub(crate) is_closed: bool,
    /// Whether it is private to the process. Its pages without an entry in the page table then hold nothing.
    pub(crate) is_private: bool,
    pub(crate) name: MappingName,
}

/// The end of a mapping's name, at most 48 bytes: a path, or the kernel's own name in brackets. Empty without a name.
#[derive(Clone, Copy)]
pub(crate) struct MappingName {
    bytes: [u8; 48],
    length: u8,
}

impl MappingName {
    fn of(name: &[u8]) -> Self {
        let mut bytes = [0; 48];
        let tail = &name[name.len().saturating_sub(bytes.len())..];
        bytes[..tail.len()].copy_from_slice(tail);
        Self { bytes, length: tail.len() as u8 }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// Calls `each` with each mapping, in the order of their addresses. Ends with [`Refusal::NoMemory`] if `each` returns
/// `None`.
pub(crate) fn each_mapping(mut each: impl FnMut(Mapping) -> Option<()>) -> Result<(), Refusal> {
    // When the first thread of the process has ended, `/proc/self/maps` is empty.
    if each_mapping_in(b"/proc/self/maps\0", &mut each)? || each_mapping_in(b"/proc/thread-self/maps\0", &mut each)? {
        return Ok(());
    }
    Err(Refusal::NoProc)
}

/// Calls `each` with each mapping of the list at `path`. Returns whether there was a mapping: some kernels refuse to
/// open a list that would be empty.
fn each_mapping_in(path: &[u8], each: &mut impl FnMut(Mapping) -> Option<()>) -> Result<bool, Refusal> {
    let Some(file) = ProcFile::open(path) else { return Ok(false) };
    let mut text = [0_u8; 16 * 1024];
    let mut held = 0;
    let mut found = false;
    loop {
        let length = held + file.read(&mut text[held..]);
        let mut rest = &text[..length];
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if let Some(mapping) = parsed(&rest[..end]) {
                found = true;
                each(mapping).ok_or(Refusal::NoMemory)?;
            }
            rest = &rest[end + 1..];
        }
        let kept = rest.len();
        if length < text.len() {
            return Ok(found);
        }
        // A line takes the longest path and some numbers at most, so a full buffer without a line's end is no such
        // list.
        if kept == length {
            return Err(Refusal::NoProc);
        }
        text.copy_within(length - kept..length, 0);
        held = kept;
    }
}

/// Parses a line, and decides whether the mapping may hold pointers. `None` if the line has another form.
fn parsed(line: &[u8]) -> Option<Mapping> {
    let line = MapsLine::parse(line)?;
    let name = line.name;
    let is_private = line.has(3, b'p');
    let is_anonymous = line.inode == b"0";
    let is_kernels = name.starts_with(b"[v");
    // A private mapping of a file is taken to hold pointers only if it is writable, a shared mapping only if its file
    // is in memory. Another shared mapping may be a device, which may not tolerate being read.
    let in_memory = [&b"/dev/zero"[..], b"/dev/shm/", b"/memfd:", b"/SYSV", b"/anon_hugepage", b"[anon_shmem"];
    let is_in_memory = in_memory.iter().any(|prefix| name.starts_with(prefix));
    let is_worth_it = if is_private { is_anonymous || line.has(1, b'w') } else { is_in_memory };
    Some(Mapping {
        start: line.start,
        end: line.end,
        is_root: line.has(0, b'r') && is_worth_it && !is_kernels,
        is_closed: line.rights.starts_with(b"---"),
        is_private,
        name: MappingName::of(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let root = |line: &str| parsed(line.as_bytes()).unwrap().is_root;
        assert!(root("55d0c0e00000-55d0c0e21000 rw-p 00000000 00:00 0                          [heap]"));
        assert!(root("7f0000000000-7f0000001000 r--p 00000000 00:00 0 "));
        assert!(root("7f0000000000-7f0000001000 rw-p 00003000 fe:01 1234                       /usr/lib/libc.so.6"));
        assert!(root("7f0000000000-7f0000001000 rw-s 00000000 00:01 7                          /dev/zero (deleted)"));
        assert!(root(
            "7f0000000000-7f0000200000 rw-s 00000000 00:0f 9                          /anon_hugepage (deleted)"
        ));
        assert!(!root("7f0000000000-7f0000001000 r--p 00003000 fe:01 1234                       /usr/lib/libc.so.6"));
        assert!(!root("7f0000000000-7f0000001000 rw-s 00003000 fe:01 1234                       /dev/dri/card0"));
        assert!(!root("7ffd2b5f6000-7ffd2b5fa000 r--p 00000000 00:00 0                          [vvar]"));
        let closed = parsed(b"7f0000000000-7f0000001000 ---p 00000000 00:00 0 ").unwrap();
        assert!(closed.is_closed && !closed.is_root);
        assert_eq!((closed.start, closed.end), (0x7f00_0000_0000, 0x7f00_0000_1000));
        assert_eq!(parsed(b"no mapping").map(|mapping| mapping.start), None);
        let named = parsed(b"1000-2000 rw-p 00000000 00:00 0    [stack]").unwrap();
        assert_eq!(named.name.bytes(), b"[stack]");
    }
}
