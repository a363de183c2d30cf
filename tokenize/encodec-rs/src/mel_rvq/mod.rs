//! mel-RVQ: a small classical codec with the geometry of a neural one.
//!
//! 24 kHz mono, 12.5 frames/s, 8 codebooks of 2048 entries: 100 codes or 1,100 bits a second. Codebook 0 quantizes the
//! slow spectral envelope relative to the utterance's own mean, a rough picture of what is said. Codebooks 1 to 7 are
//! a residual vector quantizer (Zeghidour et al. 2021, SoundStream) of what codebook 0 does not explain of the frame's
//! log-mel spectrogram. Decoding inverts the spectrogram with the fast Griffin-Lim algorithm.
//!
//! It lets the whole pipeline run without a download, for tests and first runs. Its speech is intelligible at best;
//! models worth keeping are trained on a neural codec. Method, file format and measurements: `docs/codec-mel-rvq.md`.
//!
//! | module | stage |
//! |---|---|
//! | `mel` | samples to log-mel patches |
//! | `pca` | patch to 64 coordinates |
//! | `codebook`, `search` | coordinates to a code |
//! | `model` | the eight codebooks together |
//! | `vocoder` | log-mel to samples |
//! | `train`, `kmeans` | fitting all of it to recordings |
//! | `file` | safetensors |

mod codebook;
mod file;
mod kmeans;
pub(crate) mod mel;
mod model;
mod pca;
mod search;
mod train;
mod vocoder;

use std::path::Path;

pub use train::{Progress, TrainOptions, train};

use self::mel::{MelBank, Stft};
use self::model::{Analyzer, Model};
use crate::codec::check_samples;
use crate::{Codec, CodecSpec, Codes, Error, Result};

/// Name of the codec.
pub const NAME: &str = "mel-rvq";
/// Rate of the samples.
pub const SAMPLE_RATE_HZ: u32 = 24_000;
/// Samples of a frame: 80 ms.
pub const SAMPLES_PER_FRAME: usize = 1920;
/// Codes of a frame.
pub const CODEBOOKS: usize = 8;
/// Entries of a codebook.
pub const CODEBOOK_SIZE: usize = 2048;

/// Mel bands.
const MELS: usize = 80;
/// Log-mel spectra of a frame.
const HOPS_PER_FRAME: usize = SAMPLES_PER_FRAME / mel::HOP_SAMPLES;
/// Values of a frame's log-mel patch, `[HOPS_PER_FRAME][MELS]`.
const PATCH: usize = HOPS_PER_FRAME * MELS;
/// Coordinates of a patch that are coded.
const COMPONENTS: usize = 64;
/// Cepstra of the envelope that codebook 0 quantizes.
const CEPSTRA: usize = 16;

const EMBEDDED: &[u8] = include_bytes!("../../assets/mel-rvq.safetensors");

/// The mel-RVQ codec.
pub struct MelRvq {
    spec: CodecSpec,
    analyzer: Analyzer,
    model: Model,
}

impl MelRvq {
    /// The codec that is part of the program.
    pub fn embedded() -> Self {
        Self::from_bytes(EMBEDDED).expect("the embedded file is tested")
    }

    /// Reads a codec written by [`MelRvq::save`].
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(&bytes).map_err(|reason| Error::BadFile {
            path: path.to_owned(),
            reason,
        })
    }

    /// The same codec with its first `codebooks` codebooks only; as it is, for none. What a codebook quantizes does not depend
    /// on those after it, so the codes are the first of each frame.
    ///
    /// # Errors
    /// More codebooks than there are, or none.
    pub fn with_codebooks(mut self, codebooks: Option<usize>) -> Result<Self> {
        let available = self.spec.codebooks;
        let asked = codebooks.unwrap_or(available);
        if !(1..=available).contains(&asked) {
            return Err(Error::TooManyCodebooks {
                name: self.spec.name,
                asked,
                available,
            });
        }
        self.model.acoustic.truncate(asked - 1);
        self.spec.codebooks = asked;
        Ok(self)
    }

    /// Writes the codec as a safetensors file, complete or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        file::write_atomic(path, &file::serialize(&self.model)).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })
    }

    fn from_bytes(bytes: &[u8]) -> std::result::Result<Self, String> {
        Ok(Self::new(file::parse(bytes)?, file::sha256(bytes)))
    }

    fn from_model(model: Model) -> Self {
        let sha256 = file::sha256(&file::serialize(&model));
        Self::new(model, sha256)
    }

    fn new(model: Model, sha256: String) -> Self {
        let spec = CodecSpec {
            name: NAME.to_owned(),
            sha256,
            sample_rate_hz: SAMPLE_RATE_HZ,
            channels: 1,
            frame_rate_hz: f64::from(SAMPLE_RATE_HZ) / SAMPLES_PER_FRAME as f64,
            codebooks: model.codebooks(),
            codebook_size: CODEBOOK_SIZE,
        };
        Self {
            spec,
            analyzer: Analyzer::new(Stft::new(), MelBank::new()),
            model,
        }
    }
}

impl Codec for MelRvq {
    fn spec(&self) -> &CodecSpec {
        &self.spec
    }

    fn encode(&self, samples: &[f32]) -> Result<Codes> {
        check_samples(samples)?;
        Ok(self.model.encode(&self.analyzer.analyze(samples)))
    }

    fn decode(&self, codes: &Codes) -> Result<Vec<f32>> {
        codes.check(&self.spec)?;
        let log_mel = self.model.decode(codes);
        Ok(vocoder::synthesize(
            &self.analyzer.stft,
            &self.analyzer.bank,
            &log_mel,
        ))
    }
}

#[cfg(test)]
mod tests;
