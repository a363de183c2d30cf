//! Compiles what `tch` does not wrap of LibTorch.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "tch")]
    flash_attention();
}

/// With the headers of the LibTorch that torch-sys has found.
#[cfg(feature = "tch")]
fn flash_attention() {
    use std::path::PathBuf;

    let source = "src/tch/flash.cpp";
    println!("cargo:rerun-if-changed={source}");
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let found = std::env::var_os("DEP_TCH_LIBTORCH_LIB");
    let libraries = PathBuf::from(found.expect("torch-sys says where LibTorch lies"));
    let root = match std::env::var_os("LIBTORCH_INCLUDE") {
        Some(root) => PathBuf::from(root),
        None => libraries.join(".."),
    };
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .flag("-isystem")
        .flag(root.join("include"))
        .file(source)
        .compile("timbre_flash");
}
