//! The buffers of a call, in the order of the kernels' parameters. What a kernel writes comes last.

use crate::attention::AttentionInput;

/// Of `attention_forward`.
pub(in crate::attention) fn forward<'a, T>(
    input: &'a AttentionInput<T, T>,
    [out, logsumexp]: [&'a T; 2],
) -> Vec<&'a T> {
    let mut buffers = operands(input).to_vec();
    buffers.extend([out, logsumexp]);
    buffers
}

/// What a backward pass is given beside the operands.
pub(in crate::attention) struct Kept<T> {
    /// The forward pass's result, and the logsumexp of its scores.
    pub(in crate::attention) out: T,
    pub(in crate::attention) logsumexp: T,
    /// The gradient of the result.
    pub(in crate::attention) upstream: T,
}

/// Of `attention_backward_query`.
pub(in crate::attention) fn backward_query<'a, T>(
    input: &'a AttentionInput<T, T>,
    kept: &'a Kept<T>,
    [mean, query_grad]: [&'a T; 2],
) -> Vec<&'a T> {
    let mut buffers = operands(input).to_vec();
    buffers.extend([&kept.out, &kept.logsumexp, &kept.upstream]);
    buffers.extend([mean, query_grad]);
    buffers
}

/// Of `attention_backward_key`. The mean is that which `attention_backward_query` wrote.
pub(in crate::attention) fn backward_key<'a, T>(
    input: &'a AttentionInput<T, T>,
    kept: &'a Kept<T>,
    mean: &'a T,
    [key_grad, value_grad]: [&'a T; 2],
) -> Vec<&'a T> {
    let mut buffers = operands(input).to_vec();
    buffers.extend([&kept.logsumexp, &kept.upstream, mean]);
    buffers.extend([key_grad, value_grad]);
    buffers
}

fn operands<T>(input: &AttentionInput<T, T>) -> [&T; 4] {
    [&input.query, &input.key, &input.value, &input.starts]
}
