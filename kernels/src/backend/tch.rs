//! LibTorch's device.

use burn::backend::libtorch::LibTorchDevice;

/// Its first GPU, else the processor.
pub fn tch_device() -> LibTorchDevice {
    match tch::Cuda::is_available() {
        true => LibTorchDevice::Cuda(0),
        false => LibTorchDevice::Cpu,
    }
}
