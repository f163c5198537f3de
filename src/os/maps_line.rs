//! A line of `/proc/self/maps`.

/// One mapping, as the kernel lists it: `start-end rights offset device inode name`.
pub(crate) struct MapsLine<'l> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Four letters: `r`, `w` and `x`, or `-` for each right that is missing; then `p` for private or `s` for shared.
    pub(crate) rights: &'l [u8],
    /// Offset in the mapped file at which the mapping begins.
    #[cfg_attr(not(feature = "profile"), allow(dead_code, reason = "profiles list it"))]
    pub(crate) offset: usize,
    /// Inode of the mapped file; `0` for anonymous memory.
    pub(crate) inode: &'l [u8],
    /// A path, or a name in brackets; empty if the mapping has no name.
    pub(crate) name: &'l [u8],
}

impl<'l> MapsLine<'l> {
    /// Parses a line. `None` if it has another form.
    pub(crate) fn parse(line: &'l [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let number = |digits: &[u8]| usize::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok();
        let range = fields.next()?;
        let dash = range.iter().position(|byte| *byte == b'-')?;
        let (rights, offset, _device, inode) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let name = fields.next().unwrap_or(b"").trim_ascii_start();
        let (start, end) = (number(&range[..dash])?, number(&range[dash + 1..])?);
        Some(Self { start, end, rights, offset: number(offset)?, inode, name })
    }

    /// Whether the letter at `position` of the rights is `right`.
    pub(crate) fn has(&self, position: usize, right: u8) -> bool {
        self.rights.get(position) == Some(&right)
    }
}
