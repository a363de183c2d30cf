//! Audio cut into the pieces that a network sees, and put together again.

use std::borrow::Cow;

use crate::network::{Chunk, Framing};

/// What the encoder sees at once.
pub struct Piece<'a> {
    /// `[n, channels]`
    pub samples: Cow<'a, [f32]>,
    /// Values of zero that follow.
    pub zeros: usize,
    /// What the samples were divided by, if the model normalises.
    pub scale: Option<f32>,
}

impl Framing {
    /// The pieces of an utterance, `[n, channels]`.
    pub fn pieces<'a>(&self, audio: &'a [f32], channels: usize) -> Vec<Piece<'a>> {
        let samples = audio.len() / channels;
        self.ranges(samples)
            .map(|(start, length)| {
                self.piece(
                    &audio[start * channels..(start + length) * channels],
                    channels,
                )
            })
            .collect()
    }

    /// The piece that is all of `samples`, `[n, channels]`.
    pub fn piece<'a>(&self, samples: &'a [f32], channels: usize) -> Piece<'a> {
        let scale = self.normalize.then(|| loudness(samples, channels));
        let length = samples.len() / channels;
        Piece {
            samples: match scale {
                None => Cow::Borrowed(samples),
                Some(scale) => samples.iter().map(|sample| sample / scale).collect(),
            },
            zeros: (length.next_multiple_of(self.pad_to) - length) * channels,
            scale,
        }
    }

    /// Frames of each piece of an utterance that has `frames` in all, at `hop` samples a frame.
    pub fn piece_frames(&self, frames: usize, hop: usize) -> Vec<usize> {
        let split = |samples| self.ranges(samples).map(|(_, length)| length.div_ceil(hop));
        // frames grow with samples, and so do those of each piece: all lengths that give `frames` give the same pieces
        let (mut below, mut enough) = (0, frames * hop);
        while enough - below > 1 {
            let middle = below.midpoint(enough);
            match split(middle).sum::<usize>() < frames {
                true => below = middle,
                false => enough = middle,
            }
        }
        let mut left = frames;
        split(enough)
            .map(|piece| {
                let own = piece.min(left);
                left -= own;
                own
            })
            .filter(|&own| own > 0)
            .collect()
    }

    /// Start and length of each piece of `samples` samples.
    fn ranges(&self, samples: usize) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Chunk { length, stride } = self.chunk.unwrap_or(Chunk {
            length: samples,
            stride: samples.max(1),
        });
        (0..samples)
            .step_by(stride)
            .map(move |start| (start, length.min(samples - start)))
    }

    /// Audio `[n, channels]` of its pieces, `[n, channels]` each, added with triangular weights where they overlap.
    pub fn join(&self, pieces: Vec<Vec<f32>>, channels: usize) -> Vec<f32> {
        let (Some(Chunk { stride, .. }), [first, .., last]) = (self.chunk, &pieces[..]) else {
            return pieces.concat();
        };
        let weights = triangle(first.len() / channels);
        let samples = stride * (pieces.len() - 1) + last.len() / channels;
        let mut audio = vec![0.0; samples * channels];
        let mut total = vec![0.0; samples];
        for (index, piece) in pieces.iter().enumerate() {
            let start = index * stride;
            // what stands out behind the last piece, if that is shorter than the overlap, is dropped
            let times = start..samples;
            for ((at, frame), weight) in times.zip(piece.chunks_exact(channels)).zip(&weights) {
                total[at] += weight;
                for (sum, sample) in audio[at * channels..].iter_mut().zip(frame) {
                    *sum += weight * sample;
                }
            }
        }
        for (frame, total) in audio.chunks_exact_mut(channels).zip(total) {
            frame.iter_mut().for_each(|sample| *sample /= total);
        }
        audio
    }
}

/// Root mean square of the mean over channels, plus 1e-8.
fn loudness(samples: &[f32], channels: usize) -> f32 {
    let power: f64 = samples
        .chunks_exact(channels)
        .map(|sample| f64::from(sample.iter().sum::<f32>() / channels as f32).powi(2))
        .sum();
    (power / (samples.len() / channels) as f64).sqrt() as f32 + 1e-8
}

/// Weights that rise from 0 to 1/2 and fall again, without the zeros at the ends.
fn triangle(length: usize) -> Vec<f32> {
    (1..=length)
        .map(|at| 0.5 - (at as f32 / (length + 1) as f32 - 0.5).abs())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EnCodec 48 kHz, whose frames have 320 samples.
    const CHUNKED: Framing = Framing {
        pad_to: 1,
        chunk: Some(Chunk {
            length: 48_000,
            stride: 47_520,
        }),
        normalize: false,
    };

    #[test]
    fn frames_tell_the_pieces() {
        for samples in (1..300_000)
            .step_by(37)
            .chain([47_520, 47_521, 47_681, 48_000])
        {
            let audio = vec![0.0; samples];
            let pieces = CHUNKED.pieces(&audio, 1);
            let frames: Vec<usize> = pieces
                .iter()
                .map(|p| p.samples.len().div_ceil(320))
                .collect();
            assert_eq!(
                CHUNKED.piece_frames(frames.iter().sum(), 320),
                frames,
                "{samples} samples"
            );
        }
    }

    #[test]
    fn pieces_of_the_same_sound_join_to_it() {
        let audio: Vec<f32> = (0..2 * 100_000)
            .map(|i| (i % 1001) as f32 / 1001.0)
            .collect();
        let pieces = CHUNKED.ranges(100_000);
        let pieces = pieces.map(|(start, n)| audio[2 * start..2 * (start + n)].to_vec());
        let joined = CHUNKED.join(pieces.collect(), 2);
        assert_eq!(joined.len(), audio.len());
        assert!(joined.iter().zip(&audio).all(|(a, b)| (a - b).abs() < 1e-6));
    }
}
