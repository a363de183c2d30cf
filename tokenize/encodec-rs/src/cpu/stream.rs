//! Encoding and decoding of audio as it arrives; the results are those of the whole utterance.

use super::NeuralCodec;
use super::engine::Session;
use crate::{Codes, Result};

/// Samples in, codes out, as soon as they are determined.
pub struct EncodeStream<'a> {
    codec: &'a NeuralCodec,
    session: Session,
    /// Values pushed so far.
    pushed: usize,
    /// Of a codec with chunks: samples from the start of the next chunk on.
    waiting: Vec<f32>,
}

impl<'a> EncodeStream<'a> {
    pub(super) fn new(codec: &'a NeuralCodec) -> Option<Self> {
        let framing = &codec.framing;
        (framing.chunk.is_some() || !framing.normalize).then(|| Self {
            codec,
            session: codec.encoder.session(1),
            pushed: 0,
            waiting: Vec::new(),
        })
    }

    /// Takes more samples, `[n, channels]`, and gives the codes that they complete, perhaps none.
    pub fn push(&mut self, samples: &[f32]) -> Result<Codes> {
        if samples.is_empty() {
            return Ok(Codes::new(self.codec.spec.codebooks, Vec::new()));
        }
        self.codec.check(samples)?;
        self.pushed += samples.len();
        let Some(chunk) = self.codec.framing.chunk else {
            return Ok(self.advance(samples, false));
        };
        let channels = self.codec.spec.channels;
        self.waiting.extend_from_slice(samples);
        let mut codes = Codes::new(self.codec.spec.codebooks, Vec::new());
        while self.waiting.len() >= chunk.length * channels {
            self.chunk(chunk.length * channels, &mut codes);
            self.waiting.drain(..chunk.stride * channels);
        }
        Ok(codes)
    }

    /// The codes that are left when no more samples come.
    pub fn finish(mut self) -> Result<Codes> {
        let Some(chunk) = self.codec.framing.chunk else {
            let channels = self.codec.spec.channels;
            let n = self.pushed / channels;
            let zeros = n.next_multiple_of(self.codec.framing.pad_to) - n;
            return Ok(self.advance(&vec![0.0; zeros * channels], true));
        };
        let mut codes = Codes::new(self.codec.spec.codebooks, Vec::new());
        let stride = chunk.stride * self.codec.spec.channels;
        while !self.waiting.is_empty() {
            self.chunk(self.waiting.len(), &mut codes);
            self.waiting.drain(..stride.min(self.waiting.len()));
        }
        Ok(codes)
    }

    /// Encodes the first `len` waiting values as a chunk.
    fn chunk(&mut self, len: usize, codes: &mut Codes) {
        let framing = &self.codec.framing;
        let piece = framing.piece(&self.waiting[..len], self.codec.spec.channels);
        codes.scales.extend(piece.scale);
        codes
            .data
            .extend(self.codec.encode_pieces(&[piece]).concat());
    }

    fn advance(&mut self, samples: &[f32], last: bool) -> Codes {
        let program = self.codec.encoder.program();
        let Session { states, scratch } = &mut self.session;
        let state = &mut states[0];
        program.push(state, samples, last);
        program.run(&mut [state], scratch);
        let latents = program.output(state);
        let frames = latents.len() / self.codec.latent;
        let quantizer = &self.codec.quantizer;
        let data = quantizer.encode(latents, frames, &mut scratch.sums);
        program.take(state);
        Codes::new(self.codec.spec.codebooks, data)
    }
}

/// Codes in, samples out.
pub struct DecodeStream<'a> {
    codec: &'a NeuralCodec,
    session: Session,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(codec: &'a NeuralCodec) -> Option<Self> {
        codec.framing.chunk.is_none().then(|| Self::over(codec))
    }

    /// A stream over one chunk, or over all where there are none.
    pub(super) fn over(codec: &'a NeuralCodec) -> Self {
        Self {
            codec,
            session: codec.decoder.session(1),
        }
    }

    pub(super) fn into_session(self) -> Session {
        self.session
    }

    /// Takes more codes and gives the samples that they determine, `[n, channels]`, perhaps none.
    pub fn push(&mut self, codes: &Codes) -> Result<Vec<f32>> {
        codes.check(&self.codec.spec)?;
        let mut samples = Vec::new();
        self.push_into(&codes.data, codes.codebooks, &mut samples);
        Ok(samples)
    }

    /// The samples that are left when no more codes come.
    pub fn finish(mut self) -> Vec<f32> {
        let mut samples = Vec::new();
        self.finish_into(&mut samples);
        samples
    }

    pub(super) fn push_into(&mut self, codes: &[u16], codebooks: usize, samples: &mut Vec<f32>) {
        let quantizer = &self.codec.quantizer;
        let latents = quantizer.decode(codes, codebooks, &mut self.session.scratch.sums);
        self.advance(&latents, false, samples);
    }

    /// After which the stream is as new.
    pub(super) fn finish_into(&mut self, samples: &mut Vec<f32>) {
        self.advance(&[], true, samples);
        let program = self.codec.decoder.program();
        program.reset(&mut self.session.states[0]);
    }

    fn advance(&mut self, latents: &[f32], last: bool, samples: &mut Vec<f32>) {
        let program = self.codec.decoder.program();
        let Session { states, scratch } = &mut self.session;
        let state = &mut states[0];
        program.push(state, latents, last);
        program.run(&mut [state], scratch);
        samples.extend_from_slice(program.output(state));
        program.take(state);
    }
}
