//! Audio to the pieces an encoder sees, and a decoder's pieces to audio.

use std::borrow::Cow;

use crate::network::{Chunk, Framing};

/// A stretch of audio that is encoded on its own.
pub struct Piece<'a> {
    /// `[n, channels]`, divided by the scale.
    pub samples: Cow<'a, [f32]>,
    /// Values of zero that follow.
    pub zeros: usize,
    /// What the samples were divided by, if the codec normalises.
    pub scale: Option<f32>,
}

/// Cuts `samples`, `[n, channels]`.
pub fn cut<'a>(framing: &Framing, samples: &'a [f32], channels: usize) -> Vec<Piece<'a>> {
    let n = samples.len() / channels;
    let piece = |range: std::ops::Range<usize>| {
        let samples = &samples[range.start * channels..range.end * channels];
        let length = range.len();
        let zeros = (length.next_multiple_of(framing.pad_to) - length) * channels;
        match framing.normalize {
            false => Piece {
                samples: Cow::Borrowed(samples),
                zeros,
                scale: None,
            },
            true => {
                let scale = loudness(samples, channels);
                Piece {
                    samples: samples.iter().map(|x| x / scale).collect(),
                    zeros,
                    scale: Some(scale),
                }
            }
        }
    };
    match framing.chunk {
        None => vec![piece(0..n)],
        Some(Chunk { length, stride }) => (0..n)
            .step_by(stride)
            .map(|start| piece(start..n.min(start + length)))
            .collect(),
    }
}

/// Frames of each chunk of a signal that has `total`: those of the shortest signal that makes so many. Its last chunks can
/// be shorter than the others, both of them if it ends where they overlap.
pub fn chunk_frames(chunk: &Chunk, samples_per_frame: usize, total: usize) -> Vec<usize> {
    let frames = |n: usize| {
        (0..n)
            .step_by(chunk.stride)
            .map(move |start| chunk.length.min(n - start).div_ceil(samples_per_frame))
    };
    let (mut short, mut long) = (0, total * samples_per_frame);
    while short < long {
        let middle = (short + long) / 2;
        match frames(middle).sum::<usize>() < total {
            true => short = middle + 1,
            false => long = middle,
        }
    }
    let mut left = total;
    frames(long)
        .map(|frames| {
            let own = frames.min(left);
            left -= own;
            own
        })
        .filter(|&frames| frames > 0)
        .collect()
}

/// Root mean square of the mean over channels, plus 1e-8.
fn loudness(samples: &[f32], channels: usize) -> f32 {
    let energy: f64 = samples
        .chunks_exact(channels)
        .map(|sample| f64::from(sample.iter().sum::<f32>() / channels as f32).powi(2))
        .sum();
    (energy / (samples.len() / channels) as f64).sqrt() as f32 + 1e-8
}

/// Adds decoded chunks, `[n, channels]` each, that start every `stride` samples, with weights that rise and fall linearly
/// over the first chunk's length and are divided by their sum.
pub fn overlap_add(chunks: &[Vec<f32>], stride: usize, channels: usize) -> Vec<f32> {
    let lengths: Vec<usize> = chunks.iter().map(|chunk| chunk.len() / channels).collect();
    let (Some(&first), Some(&last)) = (lengths.first(), lengths.last()) else {
        return Vec::new();
    };
    let weight = |at: usize| 0.5 - ((at + 1) as f32 / (first + 1) as f32 - 0.5).abs();
    let total = stride * (chunks.len() - 1) + last;
    let mut sums = vec![0.0; total * channels];
    let mut weights = vec![0.0f32; total];
    for (index, (chunk, &length)) in chunks.iter().zip(&lengths).enumerate() {
        // all but the last chunk are as long as the first
        for at in 0..length.min(total - index * stride) {
            let to = index * stride + at;
            let weight = weight(at.min(first - 1));
            weights[to] += weight;
            for channel in 0..channels {
                sums[to * channels + channel] += weight * chunk[at * channels + channel];
            }
        }
    }
    for (sample, weight) in sums.chunks_exact_mut(channels).zip(weights) {
        sample.iter_mut().for_each(|x| *x /= weight);
    }
    sums
}
