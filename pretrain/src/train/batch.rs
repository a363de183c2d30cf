//! Packed sequences as tensors, with the weight of each token's loss.

use burn::tensor::{Tensor, TensorData};
use experiments::TokenWeights;
use kernels::Devices;
use mixes::Sequence;
use shards::{TokenKind, VocabLayout};

use crate::error::{Error, Result};
use crate::model::{Batch, document_starts};

/// What the loss of a token weighs, by its kind.
#[derive(Clone, Debug)]
pub struct Objective {
    layout: VocabLayout,
    weights: TokenWeights,
    /// Of each codebook.
    audio: Vec<f64>,
}

impl Objective {
    /// Weights for a vocabulary.
    ///
    /// # Errors
    /// Weights for another number of codebooks.
    pub fn new(weights: &TokenWeights, layout: &VocabLayout) -> Result<Self> {
        let audio = weights.audio(layout.codebooks).map_err(Error::Plan)?;
        Ok(Self {
            layout: layout.clone(),
            weights: weights.clone(),
            audio,
        })
    }

    fn weight(&self, target: u32) -> f64 {
        match self.layout.kind(target) {
            TokenKind::Text => self.weights.text,
            TokenKind::Marker => self.weights.marker,
            TokenKind::Audio(codebook) => self.audio[codebook],
        }
    }

    /// Weight of each position of a sequence: 0 where its successor is not to be predicted.
    pub(super) fn weights(&self, sequence: &Sequence) -> Vec<f64> {
        let weight = |(target, mask): (u32, f32)| match mask {
            0.0 => 0.0,
            mask => f64::from(mask) * self.weight(target),
        };
        scored(sequence).map(weight).collect()
    }

    /// Sum of the weights of sequences, by which those of a batch are divided.
    pub fn total(&self, sequences: &[Sequence]) -> f64 {
        let total = sequences.iter().flat_map(|sequence| self.weights(sequence));
        total.sum::<f64>().max(f64::MIN_POSITIVE)
    }

    /// Uploads sequences of equal length, whose weights are divided by `total`.
    ///
    /// # Errors
    /// A token that is not in the vocabulary.
    pub fn batch<B: Devices>(
        &self,
        sequences: &[Sequence],
        total: f64,
        device: &B::Device,
    ) -> Result<Batch<B>> {
        let (batch, time) = (sequences.len(), sequences[0].tokens.len());
        let tokens: Vec<i32> = sequences
            .iter()
            .flat_map(|s| s.tokens.iter().map(|&id| id as i32))
            .collect();
        self.check(&tokens)?;
        let targets = sequences.iter().flat_map(scored);
        let targets: Vec<i32> = targets.map(|(target, _)| target as i32).collect();
        let weights = sequences.iter().flat_map(|s| self.weights(s));
        let weights: Vec<f32> = weights.map(|weight| (weight / total) as f32).collect();
        let segments: Vec<&[u32]> = sequences.iter().map(|s| s.segment_ids.as_slice()).collect();
        let ints = |ids| Tensor::from_data(TensorData::new(ids, [batch, time]), device);
        Ok(Batch {
            tokens: ints(tokens),
            targets: ints(targets),
            weights: Tensor::from_data(TensorData::new(weights, [batch, time]), device),
            starts: document_starts(&segments, device),
        })
    }

    fn check(&self, tokens: &[i32]) -> Result<()> {
        let size = self.layout.vocab_size;
        match tokens.iter().find(|&&id| id as u32 >= size) {
            Some(&id) => Err(Error::Token {
                id: id as u32,
                vocab_size: size,
            }),
            None => Ok(()),
        }
    }
}

/// Target of each position of a sequence, and whether it counts (as a weight); the last has no successor, and weight 0.
pub(super) fn scored(sequence: &Sequence) -> impl Iterator<Item = (u32, f32)> + '_ {
    let next = sequence
        .tokens
        .iter()
        .skip(1)
        .chain(std::iter::once(&sequence.tokens[0]));
    next.copied().zip(sequence.loss_weights.iter().copied())
}
