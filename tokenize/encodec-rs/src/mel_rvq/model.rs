//! The features of an utterance, and the eight codebooks that quantize them.

use super::codebook::Codebook;
use super::mel::{MelBank, Stft, cosines, log_power};
use super::pca::Pca;
use super::{CEPSTRA, CODEBOOK_SIZE, COMPONENTS, HOPS_PER_FRAME, MELS, PATCH, SAMPLES_PER_FRAME};
use crate::Codes;

/// Weight of the level (cepstrum 0) against the shape of the envelope: enough to tell speech from pauses.
const LEVEL_WEIGHT: f32 = 0.25;
/// Envelopes reach this far below the loudest band of the utterance, 50 dB; noise under it says nothing about speech.
const ENVELOPE_FLOOR: f32 = 1e-5;
/// Utterances whose loudest band stays under this power, -70 dB, are silence rather than quiet speech.
const QUIETEST_SPEECH: f32 = 1e-7;
/// Frames less than this far below the loudest frame are active, 30 dB.
const ACTIVE_RANGE: f32 = 6.9;

/// Samples to features.
pub(super) struct Analyzer {
    pub(super) stft: Stft,
    pub(super) bank: MelBank,
    /// `[CEPSTRA][MELS]`
    cosines: Vec<[f32; MELS]>,
}

/// What is quantized of an utterance.
pub(super) struct Features {
    /// Log-mel power, `[frames][HOPS_PER_FRAME * MELS]`.
    pub(super) patches: Vec<[f32; PATCH]>,
    /// Cepstra of the frame's mean mel spectrum, relative to the utterance: `[frames][CEPSTRA]`.
    pub(super) envelopes: Vec<[f32; CEPSTRA]>,
}

impl Analyzer {
    pub(super) fn new(stft: Stft, bank: MelBank) -> Self {
        Self {
            stft,
            bank,
            cosines: cosines(CEPSTRA),
        }
    }

    /// Features of samples `[n]`, padded with silence to whole frames.
    pub(super) fn analyze(&self, samples: &[f32]) -> Features {
        let frames = samples.len().div_ceil(SAMPLES_PER_FRAME);
        let mut patches = vec![[0.0; PATCH]; frames];
        let mut means = vec![[0.0; MELS]; frames];
        let mut hop = 0;
        self.stft.power(samples, frames * HOPS_PER_FRAME, |power| {
            let mel = &mut patches.as_flattened_mut()[hop * MELS..][..MELS];
            self.bank.apply(power, mel);
            for (band, mean) in mel.iter_mut().zip(&mut means[hop / HOPS_PER_FRAME]) {
                *mean += *band / HOPS_PER_FRAME as f32;
                *band = log_power(*band);
            }
            hop += 1;
        });
        let envelopes = self.envelopes(means);
        Features { patches, envelopes }
    }

    /// Envelopes `[frames][CEPSTRA]` of the frames' mean mel power `[frames][MELS]`.
    fn envelopes(&self, mut spectra: Vec<[f32; MELS]>) -> Vec<[f32; CEPSTRA]> {
        let mut loudest = spectra
            .as_flattened()
            .iter()
            .fold(0.0, |a: f32, &b| a.max(b));
        if loudest < QUIETEST_SPEECH {
            loudest = f32::INFINITY; // every band is out of reach
        }
        for band in spectra.as_flattened_mut() {
            *band = (*band / loudest).max(ENVELOPE_FLOOR).ln();
        }
        let mut envelopes: Vec<_> = spectra
            .iter()
            .map(|spectrum| self.cepstra(spectrum))
            .collect();
        subtract_active_mean(&mut envelopes);
        envelopes
    }

    fn cepstra(&self, spectrum: &[f32; MELS]) -> [f32; CEPSTRA] {
        let inner = |row: &[f32; MELS]| row.iter().zip(spectrum).map(|(a, b)| a * b).sum::<f32>();
        let mut cepstra = std::array::from_fn(|row| inner(&self.cosines[row]));
        cepstra[0] *= LEVEL_WEIGHT;
        cepstra
    }
}

/// Removes the tone of the speaker and the microphone: the mean shape over the active frames. Cepstrum 0 is already
/// relative to the utterance's loudest band.
fn subtract_active_mean(envelopes: &mut [[f32; CEPSTRA]]) {
    // cepstrum 0 is √MELS times the mean of the log spectrum
    let range = ACTIVE_RANGE * (MELS as f32).sqrt() * LEVEL_WEIGHT;
    let loudest = envelopes
        .iter()
        .map(|envelope| envelope[0])
        .fold(f32::NEG_INFINITY, f32::max);
    let mut sum = [0.0f64; CEPSTRA];
    let mut active = 0;
    for envelope in envelopes
        .iter()
        .filter(|envelope| envelope[0] > loudest - range)
    {
        sum.iter_mut()
            .zip(envelope)
            .for_each(|(sum, &value)| *sum += f64::from(value));
        active += 1;
    }
    sum[0] = 0.0;
    for envelope in envelopes {
        envelope
            .iter_mut()
            .zip(&sum)
            .for_each(|(value, sum)| *value -= (sum / f64::from(active)) as f32);
    }
}

/// The trained part of the codec.
pub(super) struct Model {
    pub(super) pca: Pca,
    /// Codebook 0: envelopes.
    pub(super) semantic: Codebook<CEPSTRA>,
    /// What each code of codebook 0 says about the patch: the mean coordinates of its frames.
    pub(super) explained: Codebook<COMPONENTS>,
    /// Codebooks 1 to 7: the rest of the patch's coordinates.
    pub(super) acoustic: Vec<Codebook<COMPONENTS>>,
}

impl Model {
    /// How many there are.
    pub(super) fn codebooks(&self) -> usize {
        1 + self.acoustic.len()
    }

    pub(super) fn encode(&self, features: &Features) -> Codes {
        let frames = features.patches.len();
        let codebooks = self.codebooks();
        let mut data = vec![0; frames * codebooks];
        let mut codes = vec![0; frames];
        self.semantic.nearest(&features.envelopes, &mut codes);
        let mut residuals: Vec<_> = features
            .patches
            .iter()
            .map(|patch| self.pca.project(patch))
            .collect();
        store(&mut data, codebooks, 0, &codes);
        subtract(&mut residuals, &self.explained, &codes);
        for (stage, codebook) in self.acoustic.iter().enumerate() {
            codebook.nearest(&residuals, &mut codes);
            store(&mut data, codebooks, stage + 1, &codes);
            subtract(&mut residuals, codebook, &codes);
        }
        Codes::new(codebooks, data)
    }

    /// Log-mel spectra of the first codebooks: `[frames * HOPS_PER_FRAME * MELS]`. The codes are in range.
    pub(super) fn decode(&self, codes: &Codes) -> Vec<f32> {
        let mut log_mel = Vec::with_capacity(codes.frames() * PATCH);
        for frame in 0..codes.frames() {
            let mut coordinates = [0.0; COMPONENTS];
            let stages = std::iter::once(&self.explained).chain(&self.acoustic);
            for (codebook, &code) in stages.zip(codes.frame(frame)) {
                let codeword = codebook.codeword(code);
                coordinates
                    .iter_mut()
                    .zip(codeword)
                    .for_each(|(sum, value)| *sum += value);
            }
            log_mel.extend(self.pca.reconstruct(&coordinates));
        }
        log_mel
    }
}

/// Takes the codewords of `codes` from `residuals`.
pub(super) fn subtract<const D: usize>(
    residuals: &mut [[f32; D]],
    codebook: &Codebook<D>,
    codes: &[u16],
) {
    for (residual, &code) in residuals.iter_mut().zip(codes) {
        let codeword = codebook.codeword(code);
        residual
            .iter_mut()
            .zip(codeword)
            .for_each(|(value, known)| *value -= known);
    }
}

fn store(data: &mut [u16], codebooks: usize, codebook: usize, codes: &[u16]) {
    for (frame, &code) in data.chunks_exact_mut(codebooks).zip(codes) {
        debug_assert!(usize::from(code) < CODEBOOK_SIZE);
        frame[codebook] = code;
    }
}
