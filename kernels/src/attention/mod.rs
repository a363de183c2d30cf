//! Causal attention within documents, with grouped queries (GQA, arXiv 2305.13245).
//!
//! Scores never exist in full: they are made a block at a time, and the softmax is corrected as larger scores appear
//! (FlashAttention, arXiv 2205.14135). The backward pass makes them again from each query's logsumexp
//! (FlashAttention-2, arXiv 2307.08691).
//!
//! `cpu` has the kernels of processors, [`cuda`] those of NVIDIA GPUs, for bf16 and head dimensions of 64, 96 and 128. All
//! else, f32 on a GPU too, takes the plain kernel, which makes the scores of a block of queries in full.

pub(crate) mod autodiff;
pub(crate) mod cpu;
pub mod cuda;
pub(crate) mod reference;

use burn::tensor::{Int, Tensor, TensorMetadata, TensorPrimitive};

use crate::Kernels;

/// Operands of [`attention`] as backend primitives.
#[derive(Clone, Debug)]
pub struct AttentionInput<F, I> {
    /// `[batch, time, heads, head_dim]`.
    pub query: F,
    /// `[batch, time, kv_heads, head_dim]`; each head serves `heads / kv_heads` consecutive query heads.
    pub key: F,
    /// Shaped like `key`.
    pub value: F,
    /// First position of each token's document, `[batch, time]`.
    pub starts: I,
}

/// `softmax(Q Kᵀ / √head_dim) V`, where position `i` sees the positions `starts[i] ..= i`.
///
/// # Shapes
/// - `query` and the result: `[batch, time, heads, head_dim]`
/// - `key`, `value`: `[batch, time, kv_heads, head_dim]`; each head serves `heads / kv_heads` consecutive query heads
/// - `starts`: `[batch, time]`, the first position of each token's document
///
/// # Panics
/// If shapes or types do not fit each other, or `head_dim` is odd; on a processor also if the starts are not those of
/// documents, one after the other. CUDA does not read them on the host: what it returns is then not defined.
pub fn attention<B: Kernels>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    starts: Tensor<B, 2, Int>,
) -> Tensor<B, 4> {
    check(query.dims(), key.dims(), value.dims(), starts.dims());
    let types = [query.dtype(), key.dtype(), value.dtype()];
    assert!(
        types == [types[0]; 3],
        "attention: query, key and value are {types:?}, not of one type"
    );
    let out = <B as Kernels>::attention(AttentionInput {
        query: query.into_primitive().tensor(),
        key: key.into_primitive().tensor(),
        value: value.into_primitive().tensor(),
        starts: starts.into_primitive(),
    });
    Tensor::from_primitive(TensorPrimitive::Float(out))
}

fn check(query: [usize; 4], key: [usize; 4], value: [usize; 4], starts: [usize; 2]) {
    let [batch, time, heads, head_dim] = query;
    let kv_heads = key[2];
    assert!(
        key == [batch, time, kv_heads, head_dim] && value == key,
        "attention: the query is {query:?}, the key {key:?}, the value {value:?}; \
         all are [batch, time, heads, head_dim] and differ in heads only, key and value in nothing"
    );
    assert!(
        kv_heads > 0 && heads.is_multiple_of(kv_heads),
        "attention: {heads} query heads are no multiple of {kv_heads} key heads"
    );
    assert!(
        head_dim.is_multiple_of(2),
        "attention: the head dimension {head_dim} is odd"
    );
    assert!(
        starts == [batch, time],
        "attention: the documents' starts are {starts:?}, not [batch, time] = {:?}",
        [batch, time]
    );
}

/// Sizes of a call.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    batch: usize,
    time: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Sizes {
    fn of<F: TensorMetadata, I>(input: &AttentionInput<F, I>) -> Self {
        let [batch, time, heads, head_dim] = input.query.shape().dims();
        let [_, _, kv_heads, _] = input.key.shape().dims();
        Self {
            batch,
            time,
            heads,
            kv_heads,
            head_dim,
        }
    }

    /// Query heads of a key head.
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Factor of the scores.
    fn scale(&self) -> f32 {
        (self.head_dim as f32).sqrt().recip()
    }
}

#[cfg(test)]
mod tests;
