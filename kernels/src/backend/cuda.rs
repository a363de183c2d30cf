//! What CUDA needs on the machine: the driver, a GPU, NVRTC and the toolkit's headers, which kernels include when they are
//! compiled at run time.

use std::path::{Path, PathBuf};

use cudarc::driver::{CudaContext, result};

/// What is missing, and what to do about it.
pub(super) fn missing() -> Option<String> {
    // SAFETY: these load libraries by their names, and drop them again.
    let (driver, nvrtc) = unsafe {
        (
            cudarc::driver::sys::is_culib_present(),
            cudarc::nvrtc::sys::is_culib_present(),
        )
    };
    if !driver {
        return Some("there is no libcuda.so.1; install NVIDIA's driver".into());
    }
    if let Err(error) = result::init() {
        return Some(format!(
            "the driver does not start: {error}; see nvidia-smi"
        ));
    }
    if !matches!(result::device::get_count(), Ok(1..)) {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
        return Some(format!(
            "the driver shows no GPU (CUDA_VISIBLE_DEVICES is {visible:?}); see nvidia-smi"
        ));
    }
    if !nvrtc {
        let package = "install the CUDA toolkit, or PyPI's nvidia-cuda-nvrtc with its lib folder in LD_LIBRARY_PATH";
        return Some(format!(
            "there is no libnvrtc.so, which compiles kernels; {package}"
        ));
    }
    let toolkit = toolkit();
    let has_headers = |path: &Path| path.join("include/cuda_fp16.h").is_file();
    if !toolkit.as_deref().is_some_and(has_headers) {
        let place = match toolkit {
            Some(path) => format!("in {}", path.join("include").display()),
            None => "in /usr/local/cuda/include or /opt/cuda/include".into(),
        };
        let package =
            "or PyPI's nvidia-cuda-runtime, and have CUDA_PATH name the folder above its include";
        return Some(format!(
            "there is no cuda_fp16.h {place}; install the CUDA toolkit, {package}"
        ));
    }
    None
}

/// Where CubeCL looks for the toolkit.
fn toolkit() -> Option<PathBuf> {
    let named = std::env::var_os("CUDA_PATH").map(PathBuf::from);
    let usual = || {
        ["/usr/local/cuda", "/opt/cuda"]
            .map(PathBuf::from)
            .into_iter()
            .find(|path| path.exists())
    };
    named.or_else(usual)
}

/// Free bytes of the first GPU.
pub fn free_memory() -> Option<u64> {
    let context = CudaContext::new(0).ok()?;
    context.bind_to_thread().ok()?;
    let (free, _) = result::mem_get_info().ok()?;
    Some(free as u64)
}
