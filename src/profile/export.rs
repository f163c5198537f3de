//! Profiles as files: pprof's format (<https://github.com/google/pprof/blob/main/proto/profile.proto>), and collapsed
//! stacks (<https://github.com/brendangregg/FlameGraph>).

use super::samples::{Profile, Site};
use super::symbols::{SourceLine, SourceLines};
use crate::os::MapsLine;
use crate::traces::Quiet;
use flate2::Compression;
use flate2::write::GzEncoder;
use object::read::ReadCache;
use object::read::elf::ElfFile64;
use object::{Endianness, Object};
use prost::Message;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::time::UNIX_EPOCH;

/// One of the four figures of a [`Site`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// [`Site::alloc_objects`]
    AllocObjects,
    /// [`Site::alloc_space`]
    AllocSpace,
    /// [`Site::inuse_objects`]
    InuseObjects,
    /// [`Site::inuse_space`]
    InuseSpace,
}

impl Measure {
    /// The figures with their names and units, in the order of pprof's heap profiles.
    const ALL: [(Self, &str, &str); 4] = [
        (Self::AllocObjects, "alloc_objects", "count"),
        (Self::AllocSpace, "alloc_space", "bytes"),
        (Self::InuseObjects, "inuse_objects", "count"),
        (Self::InuseSpace, "inuse_space", "bytes"),
    ];

    fn of(self, site: &Site) -> u64 {
        match self {
            Self::AllocObjects => site.alloc_objects,
            Self::AllocSpace => site.alloc_space,
            Self::InuseObjects => site.inuse_objects,
            Self::InuseSpace => site.inuse_space,
        }
    }
}

impl Profile {
    /// Writes the profile in pprof's format: compressed, with the names of functions, files and lines.
    ///
    /// The first call in a process reads the program's debug information, which may take seconds and much memory.
    ///
    /// # Errors
    /// Returns the error of `out`, if `out` fails. Also fails while this thread takes or prints a backtrace, as in a
    /// signal handler that interrupts it.
    pub fn write_pprof(&self, mut out: impl Write) -> io::Result<()> {
        let file = named(|lines| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&Builder::build(self, lines).encode_to_vec())?;
            encoder.finish()
        })??;
        out.write_all(&file)?;
        out.flush()
    }

    /// Writes one of the figures as collapsed stacks, from which tools draw flame graphs.
    ///
    /// Each stack is a line like `main;caller;function 1234`. A `;` in a function's name becomes a `:`.
    ///
    /// The first call in a process reads the program's debug information, which may take seconds and much memory.
    ///
    /// # Errors
    /// Returns the error of `out`, if `out` fails. Also fails while this thread takes or prints a backtrace, as in a
    /// signal handler that interrupts it.
    pub fn write_collapsed(&self, mut out: impl Write, measure: Measure) -> io::Result<()> {
        let stacks = named(|lines| self.collapsed(lines, measure))?;
        for (stack, value) in stacks {
            writeln!(out, "{stack} {value}")?;
        }
        out.flush()
    }

    fn collapsed(&self, lines: &mut SourceLines<'_>, measure: Measure) -> BTreeMap<String, u64> {
        let mut stacks = BTreeMap::new();
        for site in self.sites.iter().filter(|site| measure.of(site) > 0) {
            let mut names = Vec::new();
            for address in &site.backtrace {
                names.extend(lines.of(*address).iter().map(|line| line.function.replace(';', ":")));
            }
            if names.is_empty() {
                names.push(String::from("[unknown]"));
            }
            names.reverse();
            *stacks.entry(names.join(";")).or_default() += measure.of(site);
        }
        stacks
    }
}

/// Runs `body` with the lookup of names. The requests of `body` are not sampled. No code of the program runs inside.
fn named<R>(body: impl FnOnce(&mut SourceLines<'_>) -> R) -> io::Result<R> {
    // This fails while this thread takes or prints a backtrace: in a signal handler, or in a writer that a leak report
    // is printed to.
    let quiet = Quiet::begin().ok_or_else(|| io::Error::other("this thread is in the middle of a backtrace"))?;
    Ok(body(&mut SourceLines::new(&quiet)))
}

/// The parts of pprof's format that are used here, with its names.
mod proto {
    use prost::Message;

    #[derive(Message)]
    pub(super) struct ProfileMessage {
        #[prost(message, repeated, tag = "1")]
        pub(super) sample_type: Vec<ValueTypeMessage>,
        #[prost(message, repeated, tag = "2")]
        pub(super) sample: Vec<SampleMessage>,
        #[prost(message, repeated, tag = "3")]
        pub(super) mapping: Vec<MappingMessage>,
        #[prost(message, repeated, tag = "4")]
        pub(super) location: Vec<LocationMessage>,
        #[prost(message, repeated, tag = "5")]
        pub(super) function: Vec<FunctionMessage>,
        #[prost(string, repeated, tag = "6")]
        pub(super) string_table: Vec<String>,
        #[prost(int64, tag = "9")]
        pub(super) time_nanos: i64,
        #[prost(message, optional, tag = "11")]
        pub(super) period_type: Option<ValueTypeMessage>,
        #[prost(int64, tag = "12")]
        pub(super) period: i64,
        #[prost(int64, tag = "14")]
        pub(super) default_sample_type: i64,
    }

    #[derive(Clone, Copy, Message)]
    pub(super) struct ValueTypeMessage {
        #[prost(int64, tag = "1")]
        pub(super) r#type: i64,
        #[prost(int64, tag = "2")]
        pub(super) unit: i64,
    }

    #[derive(Message)]
    pub(super) struct SampleMessage {
        #[prost(uint64, repeated, tag = "1")]
        pub(super) location_id: Vec<u64>,
        #[prost(int64, repeated, tag = "2")]
        pub(super) value: Vec<i64>,
    }

    #[derive(Message)]
    pub(super) struct MappingMessage {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(uint64, tag = "2")]
        pub(super) memory_start: u64,
        #[prost(uint64, tag = "3")]
        pub(super) memory_limit: u64,
        #[prost(uint64, tag = "4")]
        pub(super) file_offset: u64,
        #[prost(int64, tag = "5")]
        pub(super) filename: i64,
        #[prost(int64, tag = "6")]
        pub(super) build_id: i64,
        #[prost(bool, tag = "7")]
        pub(super) has_functions: bool,
        #[prost(bool, tag = "8")]
        pub(super) has_filenames: bool,
        #[prost(bool, tag = "9")]
        pub(super) has_line_numbers: bool,
        #[prost(bool, tag = "10")]
        pub(super) has_inline_frames: bool,
    }

    #[derive(Message)]
    pub(super) struct LocationMessage {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(uint64, tag = "2")]
        pub(super) mapping_id: u64,
        #[prost(uint64, tag = "3")]
        pub(super) address: u64,
        #[prost(message, repeated, tag = "4")]
        pub(super) line: Vec<LineMessage>,
    }

    #[derive(Message)]
    pub(super) struct LineMessage {
        #[prost(uint64, tag = "1")]
        pub(super) function_id: u64,
        #[prost(int64, tag = "2")]
        pub(super) line: i64,
    }

    #[derive(Message)]
    pub(super) struct FunctionMessage {
        #[prost(uint64, tag = "1")]
        pub(super) id: u64,
        #[prost(int64, tag = "2")]
        pub(super) name: i64,
        #[prost(int64, tag = "4")]
        pub(super) filename: i64,
    }
}

/// Builds the message. It lists each text, function and location once. All other parts of the message name them by
/// number.
#[derive(Default)]
struct Builder {
    message: proto::ProfileMessage,
    /// The place of each text in the table of texts.
    texts: BTreeMap<String, i64>,
    /// The number of each function, by the places of its name and its file.
    functions: BTreeMap<(i64, i64), u64>,
    /// The number of each address; 0 if only functions of the allocator are there.
    locations: BTreeMap<usize, u64>,
}

impl Builder {
    fn build(profile: &Profile, lines: &mut SourceLines<'_>) -> proto::ProfileMessage {
        let mut builder = Self::default();
        // The format demands that the empty text comes first in the table of texts.
        builder.text("");
        for (_, name, unit) in Measure::ALL {
            let value_type = proto::ValueTypeMessage { r#type: builder.text(name), unit: builder.text(unit) };
            builder.message.sample_type.push(value_type);
        }
        builder.add_mappings();
        for site in profile.sites.iter().filter(|site| site.alloc_objects > 0) {
            let ids = site.backtrace.iter().map(|address| builder.location(*address, lines));
            let location_id = ids.filter(|id| *id != 0).collect();
            let value = Measure::ALL.map(|(measure, ..)| measure.of(site) as i64).to_vec();
            builder.message.sample.push(proto::SampleMessage { location_id, value });
        }
        let since_epoch = profile.time.duration_since(UNIX_EPOCH).unwrap_or_default();
        builder.message.time_nanos = since_epoch.as_nanos() as i64;
        builder.message.period_type =
            Some(proto::ValueTypeMessage { r#type: builder.text("space"), unit: builder.text("bytes") });
        builder.message.period = profile.mean_bytes as i64;
        builder.message.default_sample_type = builder.text("inuse_space");
        builder.message
    }

    /// The place of a text in the table of texts. Adds the text if it is new.
    fn text(&mut self, text: &str) -> i64 {
        if let Some(place) = self.texts.get(text) {
            return *place;
        }
        let place = self.message.string_table.len() as i64;
        self.message.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), place);
        place
    }

    fn location(&mut self, address: usize, lines: &mut SourceLines<'_>) -> u64 {
        if let Some(id) = self.locations.get(&address) {
            return *id;
        }
        let line: Vec<_> = lines.of(address).to_vec().iter().map(|line| self.line(line)).collect();
        let id = if line.is_empty() { 0 } else { self.message.location.len() as u64 + 1 };
        if id != 0 {
            // The return address lies right behind the call. The address one byte before it lies inside the call.
            let address = address as u64 - 1;
            let is_in =
                |mapping: &&proto::MappingMessage| (mapping.memory_start..mapping.memory_limit).contains(&address);
            let mapping_id = self.message.mapping.iter().find(is_in).map_or(0, |mapping| mapping.id);
            self.message.location.push(proto::LocationMessage { id, mapping_id, address, line });
        }
        self.locations.insert(address, id);
        id
    }

    fn line(&mut self, line: &SourceLine) -> proto::LineMessage {
        let (name, filename) = (self.text(&line.function), self.text(&line.file));
        let next = self.functions.len() as u64 + 1;
        let function_id = *self.functions.entry((name, filename)).or_insert(next);
        if function_id == next {
            self.message.function.push(proto::FunctionMessage { id: next, name, filename });
        }
        proto::LineMessage { function_id, line: line.line.into() }
    }

    /// Adds the mappings of loaded code, as the kernel lists them. None where there is no such list.
    fn add_mappings(&mut self) {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        for line in maps.lines() {
            let Some((MapsLine { start, end, offset, .. }, path)) = code(line) else { continue };
            let build_id = build_id(path).unwrap_or_default();
            let mapping = proto::MappingMessage {
                id: self.message.mapping.len() as u64 + 1,
                memory_start: start as u64,
                memory_limit: end as u64,
                file_offset: offset as u64,
                filename: self.text(path),
                build_id: self.text(&build_id),
                has_functions: true,
                has_filenames: true,
                has_line_numbers: true,
                has_inline_frames: true,
            };
            self.message.mapping.push(mapping);
        }
    }
}

/// Parses a line of `/proc/self/maps`. Returns it and its path if it is a mapping of code from a file.
fn code(line: &str) -> Option<(MapsLine<'_>, &str)> {
    let line = MapsLine::parse(line.as_bytes())?;
    let path = core::str::from_utf8(line.name).ok()?;
    (line.has(2, b'x') && path.starts_with('/')).then_some((line, path))
}

/// The build id that the linker gave a file, in hexadecimal digits.
fn build_id(path: &str) -> Option<String> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    Some(elf.build_id().ok()??.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        for (line, told) in [
            (
                "7f0-8a0 r-xp 00001000 08:01 1234                       /usr/lib/a b.so",
                Some((0x7f0, 0x8a0, 0x1000, "/usr/lib/a b.so")),
            ),
            ("7f0-8a0 r--p 00001000 08:01 1234                       /usr/lib/a.so", None),
            ("7f0-8a0 r-xp 00000000 00:00 0                          [vdso]", None),
            ("7f0-8a0 r-xp 00000000 00:00 0 ", None),
            ("", None),
        ] {
            let found = code(line).map(|(line, path)| (line.start, line.end, line.offset, path));
            assert_eq!(found, told, "{line}");
        }
    }
}
