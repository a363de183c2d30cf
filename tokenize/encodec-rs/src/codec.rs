//! The contract of all codecs.

use kernels::backend::BackendKind;

use crate::{Error, Result};

/// A codec between audio and discrete codes.
///
/// Encoding and decoding are pure functions of their argument, and single-threaded: callers run many utterances at
/// once.
pub trait Codec: Send + Sync {
    /// Geometry and identity.
    fn spec(&self) -> &CodecSpec;

    /// Codes of one utterance.
    ///
    /// # Shapes
    /// - samples: `[n, channels]`, at `spec().sample_rate_hz`, full scale ±1
    /// - output: `[frames, spec().codebooks]`
    fn encode(&self, samples: &[f32]) -> Result<Codes>;

    /// Codes of several utterances, each as [`encode`](Codec::encode) gives them. A codec with large weights reads them
    /// once for all, so that short utterances are encoded faster together.
    fn encode_batch(&self, utterances: &[&[f32]]) -> Vec<Result<Codes>> {
        utterances
            .iter()
            .map(|samples| self.encode(samples))
            .collect()
    }

    /// Whether the codec cuts audio into chunks that it encodes apart (EnCodec 48 kHz). The codes of an utterance are then
    /// those of its chunks, one after another, and cutting it elsewhere gives codes that do not decode together.
    fn is_chunked(&self) -> bool {
        false
    }

    /// Where it computes. Sums are made in another order there, so codes of near-ties may differ.
    fn backend(&self) -> BackendKind {
        BackendKind::Cpu
    }

    /// Samples of one utterance; a fraction of a frame more or less than `frames * spec().samples_per_frame()`.
    ///
    /// # Shapes
    /// - codes: `[frames, k]`, the first k codebooks, `1 <= k <= spec().codebooks`
    /// - output: `[n, channels]`
    fn decode(&self, codes: &Codes) -> Result<Vec<f32>>;
}

/// Codes of one utterance, frame-major: all codebooks of frame 0, then of frame 1, and so on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Codes {
    /// Codes of a frame.
    pub codebooks: usize,
    /// `[frames * codebooks]`
    pub data: Vec<u16>,
    /// Loudness of each chunk, for codecs that normalise theirs (EnCodec 48 kHz); else empty. Decoding without it gives
    /// normalised loudness.
    pub scales: Vec<f32>,
}

impl Codes {
    /// Codes without loudness, `[frames * codebooks]`.
    pub fn new(codebooks: usize, data: Vec<u16>) -> Self {
        Self {
            codebooks,
            data,
            scales: Vec::new(),
        }
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.data.len() / self.codebooks.max(1)
    }

    /// Codes of frame `index`: `[codebooks]`.
    pub fn frame(&self, index: usize) -> &[u16] {
        &self.data[index * self.codebooks..(index + 1) * self.codebooks]
    }

    /// Checks that the codes are whole frames of at most `spec.codebooks` codes below `spec.codebook_size`.
    pub fn check(&self, spec: &CodecSpec) -> Result<()> {
        if self.codebooks == 0 || self.codebooks > spec.codebooks {
            return Err(Error::CodebookCount {
                found: self.codebooks,
                limit: spec.codebooks,
            });
        }
        if !self.data.len().is_multiple_of(self.codebooks) {
            return Err(Error::RaggedCodes {
                len: self.data.len(),
                codebooks: self.codebooks,
            });
        }
        match self
            .data
            .iter()
            .position(|&code| usize::from(code) >= spec.codebook_size)
        {
            None => Ok(()),
            Some(at) => Err(Error::CodeOutOfRange {
                frame: at / self.codebooks,
                codebook: at % self.codebooks,
                code: self.data[at],
                size: spec.codebook_size,
            }),
        }
    }
}

/// What a codec is: its identity and its geometry.
#[derive(Clone, Debug, PartialEq)]
pub struct CodecSpec {
    /// Name, e.g. `mel-rvq`.
    pub name: String,
    /// SHA-256 of the weights, hexadecimal.
    pub sha256: String,
    /// Rate of the samples.
    pub sample_rate_hz: u32,
    /// Channels of the audio, 1 or 2.
    pub channels: usize,
    /// Frames a second.
    pub frame_rate_hz: f64,
    /// Codes of a frame.
    pub codebooks: usize,
    /// Entries of a codebook.
    pub codebook_size: usize,
}

impl CodecSpec {
    /// Samples of a frame.
    pub fn samples_per_frame(&self) -> usize {
        (f64::from(self.sample_rate_hz) / self.frame_rate_hz).round() as usize
    }
}

/// The first sample that is not a finite number, as an error; and no samples at all is one too.
pub(crate) fn check_samples(samples: &[f32]) -> Result<()> {
    if samples.is_empty() {
        return Err(Error::EmptyAudio);
    }
    match samples.iter().position(|sample| !sample.is_finite()) {
        None => Ok(()),
        Some(index) => Err(Error::NotFinite {
            index,
            value: samples[index],
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CodecSpec {
        CodecSpec {
            name: "test".into(),
            sha256: String::new(),
            sample_rate_hz: 24_000,
            channels: 1,
            frame_rate_hz: 12.5,
            codebooks: 8,
            codebook_size: 2048,
        }
    }

    fn message(codebooks: usize, data: Vec<u16>) -> String {
        Codes::new(codebooks, data)
            .check(&spec())
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_frame_has_samples() {
        assert_eq!(spec().samples_per_frame(), 1920);
    }

    #[test]
    fn bad_codes_are_located() {
        let mut data = vec![2047; 24];
        assert!(Codes::new(8, data.clone()).check(&spec()).is_ok());
        data[19] = 2048;
        let text = message(8, data);
        assert!(
            text.contains("frame 2, codebook 3") && text.contains("2048") && text.contains("2047"),
            "{text}"
        );
        assert!(message(8, vec![0; 9]).contains("9 codes"));
        assert!(message(9, vec![0; 9]).contains("9 codebooks"));
        assert!(message(0, vec![]).contains("0 codebooks"));
    }

    #[test]
    fn the_first_bad_sample_is_named() {
        let text = check_samples(&[0.0, 1.0, f32::NAN, f32::INFINITY])
            .unwrap_err()
            .to_string();
        assert!(text.contains("sample 2") && text.contains("NaN"), "{text}");
        assert!(
            check_samples(&[0.0, f32::INFINITY])
                .unwrap_err()
                .to_string()
                .contains("sample 1")
        );
        assert!(check_samples(&[]).is_err());
    }
}
