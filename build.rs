//! Refuses unsupported targets with a one-line error, before the compiler lists everything that is missing there. Sets
//! `cfg(can_stop_threads)` where the library can stop the threads of its process, as the leak finder must.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let cfg = |name: &str| std::env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    if cfg("TARGET_POINTER_WIDTH") != "64" || std::env::var_os("CARGO_CFG_UNIX").is_none() {
        println!(
            "cargo::error=poolmalloc needs a 64-bit Unix target (Linux, macOS or a BSD): \
             it reserves more addresses than others have"
        );
    }
    // src/os/world supports only the targets below.
    println!("cargo::rustc-check-cfg=cfg(can_stop_threads)");
    if cfg("TARGET_OS") == "linux" && ["x86_64", "aarch64"].contains(&cfg("TARGET_ARCH").as_str()) {
        println!("cargo::rustc-cfg=can_stop_threads");
    }
}
