//! The kernel on a processor.
//!
//! Everything is made of products of small blocks that stay in cache ([`tile`]). Scores have the queries along the vectors,
//! one row a key, so that a softmax needs no sums across a vector. A key head is packed ([`pack`]) and finished before the
//! next one, for all query heads that it serves. What is hidden is skipped, to the width of a vector.
//!
//! Sums have an order that depends on shapes and documents alone, so results are the same bits for any number of threads.

mod backward;
mod documents;
mod forward;
mod pack;
mod rows;
mod tile;

use burn::tensor::{DType, Shape};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use self::backward::Made;
use self::documents::Documents;
use self::rows::{Head, Rows};
use super::{AttentionInput, Sizes, reference};
use crate::gemm::lanes::Isa;
use crate::gemm::word::Word;
use crate::storage::{contiguous, slice, tensor};

type Input = AttentionInput<FlexTensor, FlexTensor>;

/// Operands in memory as `[batch, time, heads, head_dim]`, and what to compute with.
struct Call<'a, W> {
    isa: Isa,
    sizes: Sizes,
    query: &'a [W],
    key: &'a [W],
    value: &'a [W],
    /// Of each sequence.
    documents: Vec<Documents>,
}

impl<W: Word> Call<'_, W> {
    /// The key heads of all sequences.
    fn kv_heads(&self) -> impl IndexedParallelIterator<Item = Head> {
        let heads = self.sizes.kv_heads;
        let all = (0..self.sizes.batch * heads).into_par_iter();
        all.map(move |index| Head {
            batch: index / heads,
            head: index % heads,
            heads,
        })
    }

    /// One of the query heads that a key head serves.
    fn query_head(&self, kv_head: Head, index: usize) -> Head {
        Head {
            batch: kv_head.batch,
            head: kv_head.head * self.sizes.group() + index,
            heads: self.sizes.heads,
        }
    }

    fn rows<'b>(&self, values: &'b [W], head: Head) -> Rows<'b, W> {
        Rows::new(values, head, [self.sizes.time, self.sizes.head_dim])
    }
}

/// See [`crate::KernelsWithGrads::attention_forward`].
pub(crate) fn forward(isa: Isa, input: Input) -> (FlexTensor, FlexTensor) {
    match dtype(&input) {
        Some(DType::F32) => forward_of::<f32>(isa, input),
        Some(DType::BF16) => forward_of::<u16>(isa, input),
        _ => reference::forward::<Flex>(input),
    }
}

/// See [`crate::KernelsWithGrads::attention_backward`].
pub(crate) fn backward(
    isa: Isa,
    input: Input,
    out: FlexTensor,
    logsumexp: FlexTensor,
    upstream: FlexTensor,
) -> [FlexTensor; 3] {
    match dtype(&input) {
        Some(DType::F32) => backward_of::<f32>(isa, input, [out, logsumexp, upstream]),
        Some(DType::BF16) => backward_of::<u16>(isa, input, [out, logsumexp, upstream]),
        _ => reference::backward::<Flex>(input, out, logsumexp, upstream),
    }
}

/// The type of all operands, if it is the same.
fn dtype(input: &Input) -> Option<DType> {
    let dtype = input.query.dtype();
    let same = [&input.key, &input.value].map(|tensor| tensor.dtype()) == [dtype; 2];
    same.then_some(dtype)
}

fn forward_of<W: Word>(isa: Isa, input: Input) -> (FlexTensor, FlexTensor) {
    let sizes = Sizes::of(&input);
    let tensors = [input.query, input.key, input.value].map(contiguous);
    let (out, logsumexp) = call::<W>(isa, sizes, &tensors, &input.starts).forward();
    let shape = [sizes.batch, sizes.heads, sizes.time];
    (
        tensor(out, tensors[0].layout().shape().clone()),
        tensor(logsumexp, Shape::new(shape)),
    )
}

fn backward_of<W: Word>(
    isa: Isa,
    input: Input,
    [out, logsumexp, upstream]: [FlexTensor; 3],
) -> [FlexTensor; 3] {
    let sizes = Sizes::of(&input);
    let tensors = [input.query, input.key, input.value].map(contiguous);
    let [out, logsumexp, upstream] = [out, logsumexp, upstream].map(contiguous);
    let call = call::<W>(isa, sizes, &tensors, &input.starts);
    let made = Made {
        out: slice(&out),
        logsumexp: slice(&logsumexp),
        upstream: slice(&upstream),
    };
    let [query, key, value] = call.backward(made);
    let [of_query, of_key, of_value] = tensors.map(|tensor| tensor.layout().shape().clone());
    [
        tensor(query, of_query),
        tensor(key, of_key),
        tensor(value, of_value),
    ]
}

fn call<'a, W: Word>(
    isa: Isa,
    sizes: Sizes,
    [query, key, value]: &'a [FlexTensor; 3],
    starts: &FlexTensor,
) -> Call<'a, W> {
    Call {
        isa,
        sizes,
        query: slice(query),
        key: slice(key),
        value: slice(value),
        documents: documents::read(starts, sizes.time),
    }
}
