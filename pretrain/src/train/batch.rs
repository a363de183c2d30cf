//! A batch of packed sequences as tensors, and the losses of its tokens by kind.

use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor, TensorData};
use mixes::Sequence;
use shards::{TokenKind, VocabLayout};

use crate::metrics::Breakdown;
use crate::model::attention_mask;

/// `batch` sequences of `time` tokens on a device.
pub struct Batch<B: Backend> {
    /// `[batch, time]`.
    pub tokens: Tensor<B, 2, Int>,
    /// The next token of each; the last of a sequence has none, and weight 0.
    pub targets: Tensor<B, 2, Int>,
    /// Loss weights that sum to 1 over the batch.
    pub weights: Tensor<B, 2>,
    /// See [`attention_mask`].
    pub mask: Tensor<B, 4, Bool>,
    /// Target and unnormalised weight of each position, in the order of the flattened tensors.
    scored: Vec<(u32, f32)>,
}

impl<B: Backend> Batch<B> {
    /// Uploads sequences of equal length.
    pub fn new(sequences: &[Sequence], device: &B::Device) -> Self {
        let (batch, time) = (sequences.len(), sequences[0].tokens.len());
        let ints = |ids: Vec<i32>| Tensor::from_data(TensorData::new(ids, [batch, time]), device);
        let tokens = sequences
            .iter()
            .flat_map(|s| s.tokens.iter().map(|&id| id as i32))
            .collect();
        let scored: Vec<(u32, f32)> = sequences.iter().flat_map(scored).collect();
        let total = scored
            .iter()
            .map(|(_, weight)| f64::from(*weight))
            .sum::<f64>()
            .max(f64::MIN_POSITIVE);
        let weights: Vec<f32> = scored
            .iter()
            .map(|(_, weight)| (f64::from(*weight) / total) as f32)
            .collect();
        let segments: Vec<&[u32]> = sequences.iter().map(|s| s.segment_ids.as_slice()).collect();
        Self {
            tokens: ints(tokens),
            targets: ints(scored.iter().map(|(target, _)| *target as i32).collect()),
            weights: Tensor::from_data(TensorData::new(weights, [batch, time]), device),
            mask: attention_mask(&segments, device),
            scored,
        }
    }

    /// Adds each token's negative log-likelihood to `losses`.
    pub fn score(&self, nll: &[f32], losses: &mut Losses) {
        for (&(target, weight), &nll) in self.scored.iter().zip(nll) {
            losses.add(target, f64::from(weight), f64::from(nll));
        }
    }
}

/// Target and weight of each position of a sequence.
pub(super) fn scored(sequence: &Sequence) -> impl Iterator<Item = (u32, f32)> + '_ {
    let next = sequence
        .tokens
        .iter()
        .skip(1)
        .chain(std::iter::once(&sequence.tokens[0]));
    next.copied().zip(sequence.loss_weights.iter().copied())
}

/// Weighted sums of losses by token kind.
pub struct Losses<'a> {
    vocab: &'a VocabLayout,
    /// (kind, Σ weight, Σ weight · nll) in the order of the vocabulary.
    sums: Vec<(TokenKind, f64, f64)>,
}

impl<'a> Losses<'a> {
    /// No losses yet.
    pub fn new(vocab: &'a VocabLayout) -> Self {
        let sums = TokenKind::all(vocab.codebooks)
            .into_iter()
            .map(|kind| (kind, 0.0, 0.0))
            .collect();
        Self { vocab, sums }
    }

    /// Adds one token.
    pub fn add(&mut self, target: u32, weight: f64, nll: f64) {
        if weight == 0.0 {
            return;
        }
        let kind = self.vocab.kind(target);
        if let Some(sum) = self.sums.iter_mut().find(|(other, ..)| *other == kind) {
            sum.1 += weight;
            sum.2 += weight * nll;
        }
    }

    /// Mean over all tokens, in nats; NaN without tokens.
    pub fn mean(&self) -> f64 {
        let (weight, loss) = self
            .sums
            .iter()
            .fold((0.0, 0.0), |(w, l), (_, weight, loss)| {
                (w + weight, l + loss)
            });
        loss / weight
    }

    /// Means of the kinds that occurred, in nats.
    pub fn by_kind(&self) -> Breakdown {
        let present = self.sums.iter().filter(|(_, weight, _)| *weight > 0.0);
        present
            .map(|(kind, weight, loss)| (kind.to_string(), loss / weight))
            .collect()
    }
}
