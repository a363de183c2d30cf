//! Where a backend's tensors lie.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::tensor::backend::Backend;

/// The devices of a backend.
pub trait Devices: Backend {
    /// The device to compute on.
    fn device() -> Self::Device {
        Self::Device::default()
    }

    /// Where [`attention`](crate::attention::attention) looks for the starts of documents when it computes on `device`. They
    /// may lie elsewhere too, but are then copied at each call, which may wait for the device.
    fn starts_device(device: &Self::Device) -> Self::Device {
        device.clone()
    }
}

impl Devices for burn_flex::Flex {}
#[cfg(feature = "cuda")]
impl Devices for burn::backend::Cuda {}
#[cfg(feature = "wgpu")]
impl Devices for burn::backend::Wgpu {}

impl<B: Devices, C: CheckpointStrategy> Devices for Autodiff<B, C> {
    fn device() -> Self::Device {
        B::device()
    }

    fn starts_device(device: &Self::Device) -> Self::Device {
        B::starts_device(device)
    }
}
