//! A text model to one with audio tokens, whose training starts warm (arXiv 2602.16687, the Qwen3x models).
//!
//! Rows of the ids that the text tokenizer has are copied into embedding and head. Each new row is their mean and noise of
//! N(0, 0.02²), drawn for this row of this matrix. The head gets a matrix of its own. Rows of the base beyond its tokenizer's
//! ids, which stand for nothing, are left out.

use std::borrow::Cow;
use std::path::Path;

use experiments::{ModelConfig, RopeConfig};

use super::model_folder::{EMBEDDING, HEAD, ModelFolder, parameter_shapes, write_model};
use super::new_folder::NewFolder;
use super::{WEIGHTS, export};
use crate::error::{Error, Result};
use crate::model::normals;
use crate::weights::{FloatType, LazyTensor, Weights};

/// Deviation of a new row from the mean row.
const NOISE_DEVIATION: f32 = 0.02;
/// The recipe's RMSNorm epsilon.
const RECIPE_EPSILON: f64 = 1e-5;

/// Whose RoPE and epsilon the extended model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RopeOf {
    /// The base model's, with which its weights were trained.
    Checkpoint,
    /// The recipe's: theta 500,000 with Llama-3 scaling, and epsilon 1e-5.
    Recipe,
}

/// How to extend a model.
#[derive(Clone, Copy, Debug)]
pub struct ExtendOptions {
    /// Seed of the noise.
    pub seed: u64,
    /// Codebooks with ids.
    pub codebooks: usize,
    /// Codes of each.
    pub codebook_size: usize,
    /// Whose RoPE.
    pub rope: RopeOf,
}

/// What an extended model is.
#[derive(Clone, Debug)]
pub struct Extended {
    /// Rows copied, as many as the base tokenizer has ids.
    pub copied_rows: usize,
    /// Rows made anew.
    pub new_rows: usize,
    /// Rows of the base beyond its tokenizer's ids.
    pub dropped_rows: usize,
    /// Parameters.
    pub parameters: u64,
    /// Its shape.
    pub model: ModelConfig,
}

/// Writes the model of the folder `base`, extended by audio tokens, to the new folder `out`, with the extended tokenizer.
///
/// # Errors
/// A base that is no Qwen3 or is damaged, or has fewer rows than its tokenizer ids; one whose tokenizer is extended already;
/// an `out` with files, and I/O errors.
pub fn extend(base: &Path, out: &Path, options: &ExtendOptions) -> Result<Extended> {
    let base = ModelFolder::open(base, WEIGHTS)?.without_updates()?;
    let tokenizer = base.path.join("tokenizer.json");
    let copied = shards::tokenizer_ids(&tokenizer)?;
    if copied > base.rows {
        return Err(Error::HuggingFace {
            path: tokenizer,
            message: format!(
                "it has {copied} ids, but the embedding matrix {} rows; tokenizer and weights are of different models",
                base.rows
            ),
        });
    }
    let folder = NewFolder::create(out)?;
    let layout = shards::extend_tokenizer(
        &tokenizer,
        folder.path(),
        options.codebooks,
        options.codebook_size,
    )?;
    let rows = layout.vocab_size as usize;
    let model = extended_config(&base.config, options.rope);
    let extension = Extension {
        weights: &base.weights,
        copied,
        rows,
        width: model.hidden_size,
        seed: options.seed,
    };
    let head = match base.config.tie_word_embeddings {
        true => EMBEDDING,
        false => HEAD,
    };
    let tensors = parameter_shapes(&model, rows).into_keys();
    let tensors = tensors.map(|name| {
        Ok(match name.as_str() {
            EMBEDDING => extension.tensor(EMBEDDING, EMBEDDING),
            HEAD => extension.tensor(HEAD, head),
            name => base.weights.lazy(name)?,
        })
    });
    let tensors: Vec<LazyTensor> = tensors.collect::<Result<_>>()?;
    write_model(folder.path(), &model, rows, tensors, FloatType::F32)?;
    export::write_generation_config(folder.path(), &layout)?;
    folder.publish()?;
    Ok(Extended {
        copied_rows: copied,
        new_rows: rows - copied,
        dropped_rows: base.rows - copied,
        parameters: model.parameters(rows),
        model,
    })
}

fn extended_config(base: &ModelConfig, rope: RopeOf) -> ModelConfig {
    let model = ModelConfig {
        tie_word_embeddings: false,
        ..base.clone()
    };
    match rope {
        RopeOf::Checkpoint => model,
        RopeOf::Recipe => ModelConfig {
            rope: RopeConfig::default(),
            rms_norm_eps: RECIPE_EPSILON,
            ..model
        },
    }
}

/// How both matrices of rows are extended.
#[derive(Clone, Copy)]
struct Extension<'a> {
    weights: &'a Weights,
    /// Rows that stay.
    copied: usize,
    /// Rows in the end.
    rows: usize,
    /// Numbers of a row.
    width: usize,
    seed: u64,
}

impl<'a> Extension<'a> {
    /// The matrix `name` `[rows, width]`, from the base's matrix `source`.
    fn tensor(self, name: &'static str, source: &'static str) -> LazyTensor<'a> {
        LazyTensor::new(name, vec![self.rows, self.width], move || {
            let source = self.weights.f32_bytes(source)?;
            Ok(Cow::Owned(self.extended(name, &source)))
        })
    }

    /// The copied rows of `source` and the new ones after them, as f32 in little-endian order.
    fn extended(self, name: &str, source: &[u8]) -> Vec<u8> {
        let copied = &source[..self.copied * self.width * 4];
        let mean = mean_row(copied, self.width);
        let mut out = Vec::with_capacity(self.rows * self.width * 4);
        out.extend_from_slice(copied);
        for row in self.copied..self.rows {
            let noise = normals(
                self.seed,
                &format!("{name} row {row}"),
                self.width,
                f32::INFINITY,
            );
            for (mean, noise) in mean.iter().zip(noise) {
                out.extend_from_slice(&(mean + NOISE_DEVIATION * noise).to_le_bytes());
            }
        }
        out
    }
}

/// Mean over rows of `width` numbers, summed in f64.
fn mean_row(rows: &[u8], width: usize) -> Vec<f32> {
    let mut sums = vec![0f64; width];
    for row in rows.chunks_exact(width * 4) {
        for (sum, b) in sums.iter_mut().zip(row.chunks_exact(4)) {
            *sum += f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        }
    }
    let count = (rows.len() / (width * 4)) as f64;
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}
