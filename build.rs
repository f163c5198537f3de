//! Exists to refuse targets that cannot work in one sentence, before the compiler lists what all is missing there.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let cfg = |name: &str| std::env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    if cfg("TARGET_POINTER_WIDTH") != "64" || std::env::var_os("CARGO_CFG_UNIX").is_none() {
        println!(
            "cargo::error=poolmalloc needs a 64-bit Unix target (Linux, macOS or a BSD): it reserves more addresses than others have"
        );
    }
}
