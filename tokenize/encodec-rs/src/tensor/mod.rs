//! Execution of a [`Model`] on any Burn backend, many utterances at a time: the way to encode on a GPU.
//!
//! The codes of an utterance do not depend on what else is in its batch. Utterances of unequal lengths lie in one tensor,
//! and each layer knows the length of each: before a convolution reads what lies outside an utterance, the utterance's own
//! padding is put there. (Padding the waveforms alone, as transformers' batches do, gives
//! [other codes](https://github.com/huggingface/transformers/issues/43377).)

mod border;
mod conv;
mod layers;
mod linear;
mod lstm;
mod norm;
mod quantize;
mod queue;
mod signal;
mod transformer;

use std::cmp::Reverse;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::codec::check_samples;
use crate::framing::Piece;
use crate::network::{Framing, Model};
use crate::{Codec, CodecSpec, Codes, Error, Result};
use layers::Layer;
use quantize::Quantizer;
pub use queue::DeviceCodec;
use signal::{Signal, floats, indices};

/// Samples that are on the device at once, padding included; more are taken in turn. Only a single utterance (or chunk, for
/// models that cut audio) can be longer. At 24 kHz this is about three minutes; Mimi's activations take some 1.2 kB a sample
/// (measured on Flex), 5 GB in all.
pub const MAX_BATCH_SAMPLES: usize = 1 << 22;

/// A [`Model`] on a device.
///
/// Utterances are taken from the longest to the shortest, so that batches hold little padding, at most
/// [`MAX_BATCH_SAMPLES`] at a time. The device's memory is bounded by that and by the longest utterance.
pub struct TensorCodec<B: Backend> {
    spec: CodecSpec,
    framing: Framing,
    encoder: Vec<Layer<B>>,
    quantizer: Quantizer<B>,
    decoder: Vec<Layer<B>>,
    device: B::Device,
}

impl<B: Backend> TensorCodec<B> {
    /// Copies the weights to `device`.
    pub fn new(model: &Model, device: &B::Device) -> Self {
        Self {
            spec: model.spec.clone(),
            framing: model.framing,
            encoder: layers::upload(&model.encoder.layers, device),
            quantizer: Quantizer::new(&model.quantizer, device),
            decoder: layers::upload(&model.decoder.layers, device),
            device: device.clone(),
        }
    }

    /// Samples of several utterances, each as [`decode`](Codec::decode) gives them.
    pub fn decode_batch(&self, utterances: &[&Codes]) -> Vec<Result<Vec<f32>>> {
        let cut: Vec<_> = utterances.iter().map(|codes| self.cut(codes)).collect();
        let mut pieces = Vec::new(); // codebooks, and codes [frames, codebooks]
        for (codes, frames) in utterances.iter().zip(&cut) {
            let mut left = &codes.data[..];
            for frames in frames.iter().flatten() {
                let (own, rest) = left.split_at(frames * codes.codebooks);
                pieces.push((codes.codebooks, own));
                left = rest;
            }
        }
        let sizes: Vec<_> = pieces
            .iter()
            .map(|(codebooks, own)| {
                let frames = own.len() / codebooks;
                (*codebooks, frames * self.spec.samples_per_frame())
            })
            .collect();
        let mut sounds = in_batches(&sizes, |batch| {
            let codes: Vec<_> = batch.iter().map(|&index| pieces[index].1).collect();
            self.decode_pieces(&codes, pieces[batch[0]].0)
        })
        .into_iter();
        cut.into_iter()
            .zip(utterances)
            .map(|(frames, codes)| {
                let mut own: Vec<Vec<f32>> = sounds.by_ref().take(frames?.len()).collect();
                for (piece, scale) in own.iter_mut().zip(&codes.scales) {
                    piece.iter_mut().for_each(|sample| *sample *= scale);
                }
                Ok(self.framing.join(own, self.spec.channels))
            })
            .collect()
    }

    /// The pieces of an utterance, `[n, channels]`, once it is checked.
    fn pieces<'a>(&self, samples: &'a [f32]) -> Result<Vec<Piece<'a>>> {
        check_samples(samples)?;
        let channels = self.spec.channels;
        match samples.len().is_multiple_of(channels) {
            true => Ok(self.framing.pieces(samples, channels)),
            false => Err(Error::RaggedSamples {
                len: samples.len(),
                channels,
            }),
        }
    }

    /// Frames of each piece of an utterance, once its codes are checked.
    fn cut(&self, codes: &Codes) -> Result<Vec<usize>> {
        codes.check(&self.spec)?;
        let hop = self.spec.samples_per_frame();
        let frames = self.framing.piece_frames(codes.frames(), hop);
        match codes.scales.is_empty() || codes.scales.len() == frames.len() {
            true => Ok(frames),
            false => Err(Error::ScaleCount {
                found: codes.scales.len(),
                chunks: frames.len(),
            }),
        }
    }

    /// Codes `[frames, codebooks]` of each piece.
    fn encode_pieces(&self, pieces: &[&Piece]) -> Vec<Vec<u16>> {
        let channels = self.spec.channels;
        let length = |piece: &&Piece| (piece.samples.len() + piece.zeros) / channels;
        let lengths: Vec<usize> = pieces.iter().map(length).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        let mut padded = vec![0.0; pieces.len() * channels * time];
        for (row, piece) in padded.chunks_exact_mut(channels * time).zip(pieces) {
            for (channel, row) in row.chunks_exact_mut(time).enumerate() {
                let own = piece.samples.iter().skip(channel).step_by(channels);
                row.iter_mut()
                    .zip(own)
                    .for_each(|(to, sample)| *to = *sample);
            }
        }
        let data = floats(padded, [pieces.len(), channels, time], &self.device);
        let latents = layers::forward(&self.encoder, Signal { data, lengths });
        let [batch, latent, frames] = latents.data.dims();
        let rows = latents.data.swap_dims(1, 2); // [batch, frames, latent]
        let codes = self
            .quantizer
            .encode(rows.reshape([batch * frames, latent]));
        let codes = codes.into_data().convert::<i64>();
        let codes = codes.as_slice::<i64>().expect("converted above"); // [batch * frames, codebooks]
        codes
            .chunks_exact(frames * self.spec.codebooks)
            .zip(latents.lengths)
            .map(|(row, frames)| {
                let own = &row[..frames * self.spec.codebooks];
                own.iter().map(|&code| code as u16).collect()
            })
            .collect()
    }

    /// Samples `[n, channels]` of each piece, codes `[frames, codebooks]`.
    fn decode_pieces(&self, pieces: &[&[u16]], codebooks: usize) -> Vec<Vec<f32>> {
        let channels = self.spec.channels;
        let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len() / codebooks).collect();
        let frames = lengths.iter().copied().max().unwrap_or(0);
        let codes: Vec<_> = (0..codebooks)
            .map(|book| {
                let code = |piece: &[u16], frame| piece.get(frame * codebooks + book).copied();
                let codes = pieces.iter().flat_map(|piece| {
                    (0..frames).map(move |frame| usize::from(code(piece, frame).unwrap_or(0)))
                });
                indices(codes, [pieces.len() * frames], &self.device)
            })
            .collect();
        let rows = self.quantizer.decode(&codes); // [batch * frames, latent]
        let [_, latent] = rows.dims();
        let data = rows.reshape([pieces.len(), frames, latent]).swap_dims(1, 2);
        let signal = layers::forward(&self.decoder, Signal { data, lengths });
        let [_, _, time] = signal.data.dims();
        let sound: Tensor<B, 3> = signal.data.swap_dims(1, 2); // [batch, time, channels]
        let sound = sound.into_data().convert::<f32>();
        let sound = sound.as_slice::<f32>().expect("converted above");
        sound
            .chunks_exact(time * channels)
            .zip(signal.lengths)
            .map(|(row, samples)| row[..samples * channels].to_vec())
            .collect()
    }
}

impl<B: Backend> Codec for TensorCodec<B> {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, samples: &[f32]) -> Result<Codes> {
        self.encode_batch(&[samples]).remove(0)
    }

    fn encode_batch(&self, utterances: &[&[f32]]) -> Vec<Result<Codes>> {
        let cut: Vec<_> = utterances
            .iter()
            .map(|samples| self.pieces(samples))
            .collect();
        let pieces: Vec<_> = cut.iter().flatten().flatten().collect();
        let sizes: Vec<_> = pieces
            .iter()
            .map(|piece| ((), (piece.samples.len() + piece.zeros) / self.spec.channels))
            .collect();
        let mut codes = in_batches(&sizes, |batch| {
            let batch: Vec<_> = batch.iter().map(|&index| pieces[index]).collect();
            self.encode_pieces(&batch)
        })
        .into_iter();
        cut.into_iter()
            .map(|own| {
                let own = own?;
                Ok(Codes {
                    codebooks: self.spec.codebooks,
                    data: codes.by_ref().take(own.len()).flatten().collect(),
                    scales: own.iter().filter_map(|piece| piece.scale).collect(),
                })
            })
            .collect()
    }

    fn is_chunked(&self) -> bool {
        self.framing.chunk.is_some()
    }

    fn decode(&self, codes: &Codes) -> Result<Vec<f32>> {
        self.decode_batch(&[codes]).remove(0)
    }
}

/// Runs `run` on batches of equal kind and similar size, at most [`MAX_BATCH_SAMPLES`] each; the outputs in the order of
/// `sizes`, which are kinds and samples.
fn in_batches<K: Ord, T>(sizes: &[(K, usize)], mut run: impl FnMut(&[usize]) -> Vec<T>) -> Vec<T> {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&index| Reverse(&sizes[index]));
    let mut outputs: Vec<(usize, T)> = Vec::with_capacity(sizes.len());
    let mut left = &order[..];
    while let [first, ..] = left {
        let (kind, longest) = &sizes[*first];
        let fit = (MAX_BATCH_SAMPLES / longest.max(&1)).max(1);
        let alike = left.iter().take_while(|&&index| sizes[index].0 == *kind);
        let (batch, rest) = left.split_at(alike.count().min(fit));
        outputs.extend(batch.iter().copied().zip(run(batch)));
        left = rest;
    }
    outputs.sort_by_key(|(index, _)| *index);
    outputs.into_iter().map(|(_, output)| output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_bounded_and_alike() {
        let limit = MAX_BATCH_SAMPLES;
        let sizes = [
            ('a', limit / 4),
            ('b', 10),
            ('a', limit / 3),
            ('a', 2 * limit),
            ('a', limit / 3),
            ('b', 0),
            ('a', limit / 3),
            ('a', 5),
        ];
        let mut batches = Vec::new();
        let outputs = in_batches(&sizes, |batch| {
            batches.push(batch.to_vec());
            batch.to_vec()
        });
        assert_eq!(outputs, (0..sizes.len()).collect::<Vec<_>>());
        assert_eq!(batches, [vec![1, 5], vec![3], vec![2, 4, 6], vec![0, 7]]);
    }
}
