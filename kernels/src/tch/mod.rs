//! LibTorch: its own operators for what it has faster ones than Burn asks it for.
//!
//! All of it works on any device of LibTorch. Nothing waits for a GPU: what the host must know, such as where documents
//! start, lies in its memory already.

mod adamw;
mod attention;
mod documents;
mod embedding;
mod flash;
mod linear;
mod loss;
mod norm;
mod swiglu;
mod tensors;
#[cfg(test)]
mod tests;

use burn::backend::LibTorch;
use burn::backend::libtorch::{LibTorchDevice, TchTensor};
use burn::tensor::FloatDType;

use crate::adamw::{Begun, Parameter, Rule, Updated};
use crate::attention::AttentionInput;
use crate::linear_cross_entropy::{LossAndGrads, LossInput};
use crate::norm_rope::NormRopeInput;
use crate::rms_norm::NormInput;
use crate::{Devices, KernelsWithGrads, OptimizerKernels};

impl Devices for LibTorch {
    /// The first GPU if LibTorch sees one, else the processor (Burn's default, in either case).
    fn device() -> LibTorchDevice {
        match tch::Cuda::is_available() {
            true => LibTorchDevice::Cuda(0),
            false => LibTorchDevice::Cpu,
        }
    }

    /// The processor: flash attention takes the lengths of documents from the host.
    fn starts_device(_: &LibTorchDevice) -> LibTorchDevice {
        LibTorchDevice::Cpu
    }
}

impl KernelsWithGrads for LibTorch {
    fn linear_cross_entropy_with_grads(
        input: LossInput<Self>,
        need: [bool; 2],
    ) -> LossAndGrads<TchTensor> {
        loss::linear_cross_entropy(input, need)
    }

    fn linear_forward(x: TchTensor, weight: TchTensor) -> TchTensor {
        linear::forward(&x.tensor, &weight.tensor)
    }

    fn linear_backward(
        x: Option<TchTensor>,
        weight: TchTensor,
        upstream: TchTensor,
        of_x: bool,
    ) -> [Option<TchTensor>; 2] {
        linear::backward(x, &weight.tensor, &upstream.tensor, of_x)
    }

    fn attention_forward(input: AttentionInput<TchTensor, TchTensor>) -> (TchTensor, TchTensor) {
        attention::forward(input)
    }

    fn attention_backward(
        input: AttentionInput<TchTensor, TchTensor>,
        out: TchTensor,
        logsumexp: TchTensor,
        upstream: TchTensor,
    ) -> [TchTensor; 3] {
        attention::backward(input, out, logsumexp, upstream)
    }

    fn rms_norm_forward(input: NormInput<TchTensor>) -> TchTensor {
        norm::forward(&input)
    }

    fn rms_norm_backward(
        upstream: TchTensor,
        input: NormInput<TchTensor>,
        existing: Option<TchTensor>,
        need: [bool; 2],
    ) -> [Option<TchTensor>; 2] {
        norm::backward(&upstream.tensor, &input, existing, need)
    }

    fn norm_rope_forward(input: NormRopeInput<TchTensor>) -> TchTensor {
        norm::rope_forward(&input)
    }

    fn norm_rope_backward(
        upstream: TchTensor,
        input: NormRopeInput<TchTensor>,
        need: [bool; 2],
    ) -> [Option<TchTensor>; 2] {
        norm::rope_backward(&upstream.tensor, &input, need)
    }

    fn swiglu_forward(gate: TchTensor, up: TchTensor) -> TchTensor {
        swiglu::forward(&gate.tensor, &up.tensor)
    }

    fn swiglu_backward(upstream: TchTensor, gate: TchTensor, up: TchTensor) -> [TchTensor; 2] {
        swiglu::backward(&upstream.tensor, &gate.tensor, &up.tensor)
    }

    fn embedding_forward(weight: TchTensor, tokens: TchTensor, dtype: FloatDType) -> TchTensor {
        embedding::forward(&weight.tensor, &tokens.tensor, dtype)
    }

    fn embedding_backward(
        upstream: TchTensor,
        tokens: TchTensor,
        existing: Option<TchTensor>,
        vocab: usize,
    ) -> TchTensor {
        embedding::backward(&upstream.tensor, &tokens.tensor, existing, vocab)
    }
}

impl OptimizerKernels for LibTorch {
    fn adamw_begin(parameter: Parameter<TchTensor>, rule: &Rule) -> Begun<TchTensor> {
        adamw::begin(parameter, rule)
    }

    fn adamw_finish(begun: Begun<TchTensor>, elements: usize, measure: bool) -> Updated<TchTensor> {
        adamw::finish(begun, elements, measure)
    }

    fn square_sum(tensor: TchTensor) -> TchTensor {
        adamw::square_sum(&tensor.tensor)
    }
}
