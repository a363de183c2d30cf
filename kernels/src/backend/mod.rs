//! Which backend a program computes on: chosen at run time among those compiled in.

#[cfg(feature = "cuda")]
mod cuda;

use std::fmt;

use clap::ValueEnum;

#[cfg(feature = "cuda")]
pub use cuda::free_memory as cuda_free_memory;

/// What `--backend` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendChoice {
    /// A GPU if the program is built for it and finds one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// One NVIDIA GPU, in a program built with the feature `cuda`.
    Cuda,
    /// LibTorch on its first GPU, else on the processor, in a program built with the feature `tch`.
    Tch,
}

impl fmt::Display for BackendChoice {
    /// As `--backend` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no backend is hidden");
        f.write_str(value.get_name())
    }
}

/// A backend that is not compiled in, or lacks something on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--backend {backend}: {lacks}; or take --backend cpu")]
pub struct Missing {
    /// Which.
    pub backend: BackendChoice,
    /// What it lacks, and how to get it.
    pub lacks: String,
}

/// A backend that this program has and this machine can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendKind {
    /// The processor.
    #[default]
    Cpu,
    /// One NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda,
    /// LibTorch.
    #[cfg(feature = "tch")]
    Tch,
}

impl fmt::Display for BackendKind {
    /// As `--backend` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let choice = match self {
            Self::Cpu => BackendChoice::Cpu,
            #[cfg(feature = "cuda")]
            Self::Cuda => BackendChoice::Cuda,
            #[cfg(feature = "tch")]
            Self::Tch => BackendChoice::Tch,
        };
        choice.fmt(f)
    }
}

impl BackendChoice {
    /// The backend on this machine.
    ///
    /// # Errors
    /// [`Missing`].
    pub fn resolve(self) -> Result<BackendKind, Missing> {
        let (kind, lacks) = match self {
            Self::Auto => return Ok(gpu().unwrap_or_default()),
            Self::Cpu => return Ok(BackendKind::Cpu),
            Self::Cuda => cuda_kind(),
            Self::Tch => tch_kind(),
        };
        match lacks {
            None => Ok(kind),
            Some(lacks) => Err(Missing {
                backend: self,
                lacks,
            }),
        }
    }
}

fn gpu() -> Option<BackendKind> {
    #[cfg(feature = "cuda")]
    if cuda::missing().is_none() {
        return Some(BackendKind::Cuda);
    }
    #[cfg(feature = "tch")]
    if ::tch::Cuda::is_available() {
        return Some(BackendKind::Tch);
    }
    None
}

#[cfg(feature = "cuda")]
fn cuda_kind() -> (BackendKind, Option<String>) {
    (BackendKind::Cuda, cuda::missing())
}

#[cfg(not(feature = "cuda"))]
fn cuda_kind() -> (BackendKind, Option<String>) {
    (BackendKind::Cpu, Some(not_built("cuda")))
}

#[cfg(feature = "tch")]
fn tch_kind() -> (BackendKind, Option<String>) {
    (BackendKind::Tch, None)
}

#[cfg(not(feature = "tch"))]
fn tch_kind() -> (BackendKind, Option<String>) {
    (BackendKind::Cpu, Some(not_built("tch")))
}

#[cfg(not(all(feature = "cuda", feature = "tch")))]
fn not_built(feature: &str) -> String {
    format!(
        "this program was built without it; build it with `cargo build --release --features {feature}`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(any(feature = "cuda", feature = "tch")))]
    fn a_backend_that_is_not_built_says_how_to_build_it() {
        let said = |choice: BackendChoice| choice.resolve().unwrap_err().to_string();
        let cuda = said(BackendChoice::Cuda);
        assert!(
            cuda.contains("--backend cuda") && cuda.contains("--features cuda"),
            "{cuda}"
        );
        assert!(said(BackendChoice::Tch).contains("--features tch"));
        assert_eq!(BackendChoice::Auto.resolve(), Ok(BackendKind::Cpu));
    }

    #[test]
    fn the_processor_is_always_there() {
        assert_eq!(BackendChoice::Cpu.resolve(), Ok(BackendKind::Cpu));
    }
}
