//! Fitting the codec to recordings.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

use super::codebook::Codebook;
use super::mel::{MelBank, Stft};
use super::model::{Analyzer, Model, subtract};
use super::pca::Pca;
use super::{CODEBOOK_SIZE, CODEBOOKS, MelRvq, SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, kmeans};
use crate::codec::check_samples;
use crate::{Error, Result};

/// Fewest frames for which codebooks can be fitted at all: two for each entry. Good ones need ten times as many.
const MIN_FRAMES: usize = 2 * CODEBOOK_SIZE;

/// How to train.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Seed of the first centroids.
    pub seed: u64,
    /// Updates of each codebook's centroids.
    pub iterations: usize,
}

impl Default for TrainOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            iterations: 20,
        }
    }
}

/// A step of training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Codebook being fitted, counted from 0; they are fitted in order.
    pub codebook: usize,
    /// Updates of its centroids so far, 0 to [`TrainOptions::iterations`].
    pub iteration: usize,
    /// Mean squared error per frame: of the envelope for codebook 0, of the log-mel patch's coordinates for the others.
    pub error: f64,
}

/// Fits a codec to recordings at 24 kHz, mono. Uses all threads; the result does not depend on how many.
///
/// # Shapes
/// - utterances: samples of each recording, `[n]`
pub fn train(
    utterances: &[Vec<f32>],
    options: &TrainOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<MelRvq> {
    check(utterances)?;
    let analyzer = Analyzer::new(Stft::new(), MelBank::new());
    let (mut patches, mut envelopes) = (Vec::new(), Vec::new());
    let features: Vec<_> = utterances
        .par_iter()
        .map(|samples| analyzer.analyze(samples))
        .collect();
    for features in features {
        patches.extend(features.patches);
        envelopes.extend(features.envelopes);
    }
    let pca = Pca::fit(&patches);
    let mut residuals: Vec<_> = patches.par_iter().map(|patch| pca.project(patch)).collect();
    drop(patches);

    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut report = |iteration, error| {
        progress(Progress {
            codebook: 0,
            iteration,
            error,
        })
    };
    let (semantic, codes) = kmeans::fit(&envelopes, options.iterations, &mut rng, &mut report);
    let explained = Codebook::quantize(&kmeans::means(&residuals, &codes).0);
    subtract(&mut residuals, &explained, &codes);
    let mut acoustic = Vec::new();
    for codebook in 1..CODEBOOKS {
        let mut report = |iteration, error| {
            progress(Progress {
                codebook,
                iteration,
                error,
            })
        };
        let (stage, codes) = kmeans::fit(&residuals, options.iterations, &mut rng, &mut report);
        // the rounded codewords are subtracted, so that later stages repair the rounding too
        subtract(&mut residuals, &stage, &codes);
        acoustic.push(stage);
    }
    Ok(MelRvq::from_model(Model {
        pca,
        semantic,
        explained,
        acoustic,
    }))
}

fn check(utterances: &[Vec<f32>]) -> Result<()> {
    for (index, samples) in utterances.iter().enumerate() {
        check_samples(samples).map_err(|source| Error::Recording {
            index,
            source: Box::new(source),
        })?;
    }
    let found = utterances
        .iter()
        .map(|samples| samples.len().div_ceil(SAMPLES_PER_FRAME))
        .sum();
    if found < MIN_FRAMES {
        return Err(Error::TooLittleAudio {
            found,
            needed: MIN_FRAMES,
            frame_secs: SAMPLES_PER_FRAME as f64 / f64::from(SAMPLE_RATE_HZ),
        });
    }
    Ok(())
}
