//! The backends that a model trains on: those of [`kernels::backend`], with autodiff.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::BalancedCheckpointing;
pub use kernels::Devices;
pub use kernels::backend::{BackendChoice, BackendKind};

use burn::tensor::backend::AutodiffBackend;
use kernels::Kernels;

use crate::error::Result;
use crate::memory;
use crate::world::{Collective, ThroughHosts, World};

/// What the backward pass needs of norms, rotation and SwiGLU is computed again there, which costs less than keeping it.
type Differentiable<B> = Autodiff<B, BalancedCheckpointing>;

/// The processor (burn-flex).
pub type Cpu = Differentiable<burn_flex::Flex>;

/// One NVIDIA GPU (burn-cuda).
#[cfg(feature = "cuda")]
pub type Cuda = Differentiable<burn::backend::Cuda>;

/// LibTorch (burn-tch).
#[cfg(feature = "tch")]
pub type Tch = Differentiable<burn::backend::LibTorch>;

/// A backend that models are trained on, by one process or several.
pub trait TrainingBackend: AutodiffBackend + Kernels {
    /// What moves tensors between the processes' devices.
    ///
    /// # Errors
    /// [`crate::Error::World`] where the library for it is missing.
    fn collective(
        world: &World,
        device: &Self::Device,
    ) -> Result<Box<dyn Collective<Self::InnerBackend>>>;
}

/// Through the hosts' memories.
macro_rules! through_hosts {
    ($($backend:ty),*) => {$(
        impl TrainingBackend for $backend {
            fn collective(
                world: &World,
                device: &Self::Device,
            ) -> Result<Box<dyn Collective<Self::InnerBackend>>> {
                Ok(Box::new(ThroughHosts::new(world.hosts(), device)))
            }
        }
    )*};
}

through_hosts!(Cpu);
#[cfg(all(feature = "cuda", not(feature = "nccl")))]
through_hosts!(Cuda);
#[cfg(feature = "tch")]
through_hosts!(Tch);

#[cfg(feature = "nccl")]
impl TrainingBackend for Cuda {
    fn collective(
        world: &World,
        _: &Self::Device,
    ) -> Result<Box<dyn Collective<Self::InnerBackend>>> {
        Ok(Box::new(crate::world::nccl::Nccl::new(world)?))
    }
}

/// Bytes of memory that are free where a backend's tensors live, if they can be told.
pub fn free_memory(backend: BackendKind) -> Option<u64> {
    match backend {
        BackendKind::Cpu => Some(memory::available()),
        #[cfg(feature = "cuda")]
        BackendKind::Cuda => kernels::backend::cuda_free_memory(),
        #[cfg(feature = "tch")]
        BackendKind::Tch => None,
    }
}

/// Calls a function that is generic over the autodiff backend with the chosen one as its first type argument, and with a
/// device before the other arguments: `with_backend!(kind, train(plan, options))` calls `train::<Cpu>(&device, plan, options)`.
#[macro_export]
macro_rules! with_backend {
    ($kind:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $kind {
            $crate::backend::BackendKind::Cpu => {
                use $crate::backend::{Cpu, Devices};
                $function::<Cpu>(&Cpu::device(), $($argument),*)
            }
            #[cfg(feature = "cuda")]
            $crate::backend::BackendKind::Cuda => {
                use $crate::backend::{Cuda, Devices};
                $function::<Cuda>(&Cuda::device(), $($argument),*)
            }
            #[cfg(feature = "tch")]
            $crate::backend::BackendKind::Tch => {
                use $crate::backend::{Devices, Tch};
                $function::<Tch>(&Tch::device(), $($argument),*)
            }
        }
    };
}
