//! Where tensors live: chosen at run time among the backends compiled in.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;

/// What the backward pass needs of norms, rotation and SwiGLU is computed again there, which costs less than keeping it.
type Differentiable<B> = Autodiff<B, BalancedCheckpointing>;

/// The processor (burn-flex).
pub type Cpu = Differentiable<burn_flex::Flex>;

/// One NVIDIA GPU (burn-cuda).
#[cfg(feature = "cuda")]
pub type Cuda = Differentiable<burn::backend::Cuda>;

/// LibTorch (burn-tch): the first GPU that it sees, or else the processor.
#[cfg(feature = "tch")]
pub type Tch = Differentiable<burn::backend::LibTorch>;

/// Backends of this build, as `--backend` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum BackendKind {
    /// The processor.
    Cpu,
    /// One NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda,
    /// LibTorch, on the first GPU that it sees or else the processor.
    #[cfg(feature = "tch")]
    Tch,
}

impl std::fmt::Display for BackendKind {
    /// As `--backend` takes it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self).expect("no backend is hidden");
        f.write_str(value.get_name())
    }
}

/// Calls a function that is generic over the autodiff backend with the chosen one as its first type
/// argument: `with_backend!(kind, train(plan, options))`.
#[macro_export]
macro_rules! with_backend {
    ($kind:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $kind {
            $crate::backend::BackendKind::Cpu => $function::<$crate::backend::Cpu>($($argument),*),
            #[cfg(feature = "cuda")]
            $crate::backend::BackendKind::Cuda => $function::<$crate::backend::Cuda>($($argument),*),
            #[cfg(feature = "tch")]
            $crate::backend::BackendKind::Tch => $function::<$crate::backend::Tch>($($argument),*),
        }
    };
}
