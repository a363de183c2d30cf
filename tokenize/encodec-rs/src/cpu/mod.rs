//! Execution on a processor: one thread a call, samples in tiles of time that stay in cache, weights read once for all
//! utterances of a batch.

mod attention;
mod build;
mod engine;
mod fast;
mod lstm;
mod norm;
mod product;
mod program;
mod quantize;
mod queue;
mod stream;
mod transformer;

use engine::{Engine, Input, Made};
use program::Program;
use quantize::Quantizer;
pub use stream::{DecodeStream, EncodeStream};

use crate::codec::check_samples;
use crate::framing::Piece;
use crate::network::{Framing, Model};
use crate::{Codec, CodecSpec, Codes, Error, Precision, Result};

/// Audio that is computed at a time at most, in seconds, over all utterances of a batch: enough rows for every reading of
/// the large weights.
const PASS_SECS: f64 = 12.0;

/// A [`Model`] ready to run on a processor.
pub struct NeuralCodec {
    spec: CodecSpec,
    framing: Framing,
    latent: usize,
    encoder: Engine,
    quantizer: Quantizer,
    decoder: Engine,
}

impl NeuralCodec {
    /// Packs the weights.
    pub fn new(model: Model, precision: Precision) -> Self {
        Self {
            spec: model.spec,
            framing: model.framing,
            latent: model.decoder.channels,
            encoder: Engine::new(Program::new(model.encoder, precision)),
            quantizer: Quantizer::new(model.quantizer),
            decoder: Engine::new(Program::new(model.decoder, precision)),
        }
    }

    /// What the encoder makes of an utterance, before it is quantized, `[frames, latent]`; chunks follow one another.
    pub fn latents(&self, samples: &[f32]) -> Result<Vec<f32>> {
        self.check(samples)?;
        let pieces = self.framing.pieces(samples, self.spec.channels);
        let mut latents = vec![Vec::new(); pieces.len()];
        self.encoder
            .run(&inputs(&pieces), self.pass_samples(), |made, _| {
                for Made { stream, rows } in made {
                    latents[*stream].extend_from_slice(rows);
                }
            });
        Ok(latents.concat())
    }

    /// Codes of samples as they arrive. `None` if the codec normalises the loudness of whole utterances, which must
    /// therefore be known before.
    pub fn encode_stream(&self) -> Option<EncodeStream<'_>> {
        EncodeStream::new(self)
    }

    /// Samples of codes as they arrive. `None` for codecs whose chunks overlap.
    pub fn decode_stream(&self) -> Option<DecodeStream<'_>> {
        DecodeStream::new(self)
    }

    /// Bytes of the packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.encoder.program().bytes() + self.decoder.program().bytes()
    }

    fn check(&self, samples: &[f32]) -> Result<()> {
        check_samples(samples)?;
        match samples.len().is_multiple_of(self.spec.channels) {
            true => Ok(()),
            false => Err(Error::RaggedSamples {
                len: samples.len(),
                channels: self.spec.channels,
            }),
        }
    }

    fn pass_samples(&self) -> usize {
        let longest = (PASS_SECS * f64::from(self.spec.sample_rate_hz)) as usize;
        let values = self.encoder.program().pass_values();
        values.min(longest * self.spec.channels)
    }

    /// Codes of every piece.
    fn encode_pieces(&self, pieces: &[Piece]) -> Vec<Vec<u16>> {
        let mut codes = vec![Vec::new(); pieces.len()];
        let mut latents = Vec::new();
        self.encoder
            .run(&inputs(pieces), self.pass_samples(), |made, sums| {
                latents.clear();
                made.iter()
                    .for_each(|made| latents.extend_from_slice(made.rows));
                let all = self
                    .quantizer
                    .encode(&latents, latents.len() / self.latent, sums);
                let mut left = &all[..];
                for Made { stream, rows } in made {
                    let (own, others) =
                        left.split_at(rows.len() / self.latent * self.spec.codebooks);
                    codes[*stream].extend_from_slice(own);
                    left = others;
                }
            });
        codes
    }

    /// Samples of every piece of codes.
    fn decode_pieces(&self, pieces: &[&[u16]], codebooks: usize) -> Vec<Vec<f32>> {
        let longest = (PASS_SECS * self.spec.frame_rate_hz) as usize;
        let values = self.decoder.program().pass_values();
        let pass = longest.min(values / self.latent).max(1);
        let mut stream = DecodeStream::over(self);
        let decoded = pieces
            .iter()
            .map(|piece| {
                let mut samples = Vec::new();
                // latents are large: they are made pass by pass
                for codes in piece.chunks(pass * codebooks) {
                    stream.push_into(codes, codebooks, &mut samples);
                }
                stream.finish_into(&mut samples);
                samples
            })
            .collect();
        self.decoder.put_back(stream.into_session());
        decoded
    }
}

impl Codec for NeuralCodec {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn is_chunked(&self) -> bool {
        self.framing.chunk.is_some()
    }

    fn encode(&self, samples: &[f32]) -> Result<Codes> {
        self.encode_batch(&[samples]).remove(0)
    }

    fn encode_batch(&self, utterances: &[&[f32]]) -> Vec<Result<Codes>> {
        let mut results: Vec<Result<Codes>> = utterances
            .iter()
            .map(|samples| {
                self.check(samples)
                    .map(|()| Codes::new(self.spec.codebooks, Vec::new()))
            })
            .collect();
        let mut owners = Vec::new();
        let mut pieces = Vec::new();
        for (owner, samples) in utterances.iter().enumerate() {
            if results[owner].is_ok() {
                for piece in self.framing.pieces(samples, self.spec.channels) {
                    owners.push(owner);
                    pieces.push(piece);
                }
            }
        }
        // chunks of one long utterance are many streams: as many at a time as a pass holds
        let mut start = 0;
        while start < pieces.len() {
            let end = start + self.group(&pieces[start..]);
            let group = &pieces[start..end];
            for ((codes, piece), &owner) in self
                .encode_pieces(group)
                .into_iter()
                .zip(group)
                .zip(&owners[start..end])
            {
                if let Ok(result) = &mut results[owner] {
                    result.data.extend(codes);
                    result.scales.extend(piece.scale);
                }
            }
            start = end;
        }
        results
    }

    fn decode(&self, codes: &Codes) -> Result<Vec<f32>> {
        codes.check(&self.spec)?;
        let hop = self.spec.samples_per_frame();
        let frames = self.framing.piece_frames(codes.frames(), hop);
        if !codes.scales.is_empty() && codes.scales.len() != frames.len() {
            return Err(Error::ScaleCount {
                found: codes.scales.len(),
                chunks: frames.len(),
            });
        }
        let mut left = &codes.data[..];
        let mut pieces = Vec::with_capacity(frames.len());
        for frames in frames {
            let (own, others) = left.split_at(frames * codes.codebooks);
            pieces.push(own);
            left = others;
        }
        let mut samples = self.decode_pieces(&pieces, codes.codebooks);
        for (samples, scale) in samples.iter_mut().zip(&codes.scales) {
            samples.iter_mut().for_each(|x| *x *= scale);
        }
        Ok(self.framing.join(samples, self.spec.channels))
    }
}

impl NeuralCodec {
    /// Pieces that are run side by side: those of about two passes, one at least.
    fn group(&self, pieces: &[Piece]) -> usize {
        let (mut total, limit) = (0, 2 * self.pass_samples());
        let fits = |piece: &&Piece| {
            total += piece.samples.len();
            total <= limit
        };
        pieces.iter().take_while(fits).count().max(1)
    }
}

fn inputs<'a>(pieces: &'a [Piece]) -> Vec<Input<'a>> {
    pieces
        .iter()
        .map(|piece| Input {
            rows: &piece.samples,
            zeros: piece.zeros,
        })
        .collect()
}
