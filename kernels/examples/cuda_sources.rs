//! Writes the CUDA C++ of every kernel, as it is compiled at run time, to a folder: `cuda_sources FOLDER`.
//!
//! `scripts/check_cuda.py` compiles them without a GPU.

use std::path::PathBuf;

use kernels::attention::cuda::source::Variant;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.expect("the folder to write to is the argument");
    std::fs::create_dir_all(&folder)?;
    for variant in Variant::all() {
        let name = format!("{}_{}.cu", variant.entry(), variant.head_dim);
        std::fs::write(folder.join(name), variant.source())?;
    }
    Ok(())
}
