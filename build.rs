//! Refuses targets that cannot work, in one sentence, before the compiler lists what is missing there. Tells the library
//! whether it can stop the threads of its process, as the search for leaks must.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let cfg = |name: &str| std::env::var(format!("CARGO_CFG_{name}")).unwrap_or_default();
    if cfg("TARGET_POINTER_WIDTH") != "64" || std::env::var_os("CARGO_CFG_UNIX").is_none() {
        println!(
            "cargo::error=poolmalloc needs a 64-bit Unix target (Linux, macOS or a BSD): it reserves more addresses than others have"
        );
    }
    // Only for these targets has src/os/world been written.
    println!("cargo::rustc-check-cfg=cfg(can_stop_threads)");
    if cfg("TARGET_OS") == "linux" && ["x86_64", "aarch64"].contains(&cfg("TARGET_ARCH").as_str()) {
        println!("cargo::rustc-cfg=can_stop_threads");
    }
}
