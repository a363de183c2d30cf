//! Causal attention within documents, by the fastest of LibTorch's operators that knows the device.
//!
//! On GPUs in bf16 it is flash attention over all documents at once, on processors the same algorithm document by document,
//! and elsewhere plain operations.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use tch::{Device, Kind, Tensor};

use super::documents::Documents;
use super::flash;
use crate::attention::{AttentionInput, reference};

/// Operands of attention.
type Input = AttentionInput<TchTensor, TchTensor>;

/// Result `[batch, time, heads, head_dim]`, and the logsumexp of each query's scaled scores `[batch, heads, time]`, f32.
pub(super) fn forward(input: Input) -> (TchTensor, TchTensor) {
    let operands = operands(&input);
    let (out, logsumexp) = match Way::of(operands[0]) {
        Way::Flash => flash::forward(operands, &Documents::of(&input.starts)),
        Way::Piecewise => piecewise_forward(operands, &Documents::of(&input.starts)),
        Way::Plain => return reference::forward::<LibTorch>(on_device(input)),
    };
    (TchTensor::new(out), TchTensor::new(logsumexp))
}

/// Gradients of query, key and value, given what the forward pass made and the gradient of its result.
pub(super) fn backward(
    input: Input,
    out: TchTensor,
    logsumexp: TchTensor,
    upstream: TchTensor,
) -> [TchTensor; 3] {
    let operands = operands(&input);
    let results = [&out.tensor, &logsumexp.tensor, &upstream.tensor];
    let grads = match Way::of(operands[0]) {
        Way::Flash => flash::backward(operands, &Documents::of(&input.starts), results),
        Way::Piecewise => piecewise_backward(operands, &Documents::of(&input.starts), results),
        Way::Plain => {
            return reference::backward::<LibTorch>(on_device(input), out, logsumexp, upstream);
        }
    };
    grads.map(TchTensor::new)
}

/// How it is computed.
enum Way {
    Flash,
    Piecewise,
    Plain,
}

impl Way {
    fn of(query: &Tensor) -> Self {
        match query.device() {
            Device::Cpu => Self::Piecewise,
            _ if flash::takes(query) => Self::Flash,
            _ => Self::Plain,
        }
    }
}

fn operands(input: &Input) -> [&Tensor; 3] {
    [&input.query, &input.key, &input.value].map(|tensor| &tensor.tensor)
}

/// With the starts where the other operands are.
fn on_device(input: Input) -> Input {
    let AttentionInput { query, starts, .. } = &input;
    let starts = TchTensor::from_existing(
        starts.tensor.to_device(query.tensor.device()),
        starts.storage.clone(),
    );
    Input { starts, ..input }
}

/// [`forward`] on a processor.
fn piecewise_forward(operands: [&Tensor; 3], documents: &Documents) -> (Tensor, Tensor) {
    let [query, key, value] = by_head(operands);
    let out = query.empty_like();
    let logsumexp = Tensor::empty(&query.size()[..3], (Kind::Float, Device::Cpu));
    for place in documents.places() {
        let (part, sums) = Tensor::internal_scaled_dot_product_flash_attention_for_cpu(
            &place.of(&query),
            &place.of(&key),
            &place.of(&value),
            0.0,
            true,
            None::<Tensor>,
            None::<f64>,
        );
        place.of(&out).copy_(&part);
        place.of(&logsumexp).copy_(&sums);
    }
    (out.transpose(1, 2), logsumexp)
}

/// [`backward`] on a processor.
fn piecewise_backward(
    operands: [&Tensor; 3],
    documents: &Documents,
    [out, logsumexp, upstream]: [&Tensor; 3],
) -> [Tensor; 3] {
    let kv_heads = operands[1].size()[2];
    let inputs @ [query, key, value] = &by_head(operands);
    let grads = inputs.each_ref().map(Tensor::empty_like);
    let [out, upstream] = [out, upstream].map(|x| x.transpose(1, 2));
    for place in documents.places() {
        let parts = Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
            &place.of(&upstream),
            &place.of(query),
            &place.of(key),
            &place.of(value),
            &place.of(&out),
            &place.of(logsumexp),
            0.0,
            true,
            None::<Tensor>,
            None::<f64>,
        );
        for (grad, part) in grads.iter().zip([parts.0, parts.1, parts.2]) {
            place.of(grad).copy_(&part);
        }
    }
    let [query, key, value] = grads;
    let sum_groups = |x: Tensor| {
        let groups = x.unflatten(1, [kv_heads, -1]);
        let sum = groups.sum_dim_intlist([2].as_slice(), false, Kind::Float);
        sum.to_kind(x.kind())
    };
    [query, sum_groups(key), sum_groups(value)].map(|grad| grad.transpose(1, 2))
}

/// Operands `[batch, heads, time, head_dim]`, the keys' heads repeated for each query head.
fn by_head([query, key, value]: [&Tensor; 3]) -> [Tensor; 3] {
    let group = query.size()[2] / key.size()[2];
    let repeat = |x: &Tensor| x.repeat_interleave_self_int(group, 2, None::<i64>);
    [query.shallow_clone(), repeat(key), repeat(value)].map(|x| x.transpose(1, 2))
}
