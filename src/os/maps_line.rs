//! A line of `/proc/self/maps`.

/// One mapping, as the kernel lists it: `start-end rights offset device inode name`.
pub(crate) struct MapsLine<'l> {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// `r`, `w`, `x`, and `p` for private or `s` for shared; `-` for each that is not there.
    pub(crate) rights: &'l [u8],
    /// Where in the file it begins.
    #[cfg_attr(not(feature = "profile"), allow(dead_code, reason = "profiles list it"))]
    pub(crate) offset: usize,
    /// `0` for anonymous memory.
    pub(crate) inode: &'l [u8],
    /// A path, or a name in brackets; empty if it has none.
    pub(crate) name: &'l [u8],
}

impl<'l> MapsLine<'l> {
    /// Takes a line apart. `None` if it is no such line.
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

    /// Whether the right at a position is this one.
    pub(crate) fn has(&self, position: usize, right: u8) -> bool {
        self.rights.get(position) == Some(&right)
    }
}
