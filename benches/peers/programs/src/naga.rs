//! naga: shaders in WGSL are parsed, validated and translated to SPIR-V.
//!
//! Stands for compilers: source to a syntax tree, to an intermediate form that is checked, to code. This is the
//! compiler of shaders in Firefox and wgpu.
//!
//! Requests: 1.1 M, 85 % for 256 bytes or less, 39 % for 16 or less. The others are growing vectors and hash tables.
//!
//! Caveat: the compiler keeps expressions and types in vectors and refers to them by index. So it makes fewer small
//! blocks than a compiler whose tree has a block for each node, and its vectors grow past 256 bytes.

use naga::back::spv;
use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use versus::workload::{Group, Run, Scale, Workload, checksum};

pub(crate) const WORKLOAD: Workload = Workload {
    name: "naga",
    group: Group::Program,
    about: "shaders compiled from WGSL to SPIR-V (naga)",
    operations: None,
    prepare,
};

const SHADERS: [&str; 3] = [
    include_str!("../inputs/light.wgsl"),
    include_str!("../inputs/particles.wgsl"),
    include_str!("../inputs/terrain.wgsl"),
];
const FULL_PASSES: usize = 130;

fn prepare(scale: Scale) -> Run {
    let passes = scale.of(FULL_PASSES);
    Box::new(move || {
        let results: Vec<u64> = (0..passes).flat_map(|_| SHADERS.map(|shader| checksum(&compile(shader)))).collect();
        checksum(&results)
    })
}

fn compile(source: &str) -> Vec<u32> {
    let module = wgsl::parse_str(source).unwrap_or_else(|error| panic!("{}", error.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .expect("the shader keeps the rules of WGSL");
    spv::write_vec(&module, &info, &spv::Options::default(), None).expect("SPIR-V has all that the shader uses")
}
