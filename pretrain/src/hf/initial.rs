//! Weights that a run begins with, from a folder in Hugging Face's form or a step folder.

use std::path::Path;

use burn::tensor::TensorData;
use burn::tensor::backend::Backend;
use experiments::ModelConfig;

use super::model_folder::{EMBEDDING, HEAD, ModelFolder};
use super::{WEIGHTS, rope_in_words};
use crate::error::{Error, Result};
use crate::model::{Qwen3, fill_params};

/// A model with the weights of a folder, and what a user should know of them.
pub struct InitialWeights<B: Backend> {
    /// The model.
    pub model: Qwen3<B>,
    /// How folder and run differ where that is allowed, a sentence each.
    pub notes: Vec<String>,
}

/// A model of shape `config` with `vocab_size` rows, its weights taken from `folder`.
///
/// Rows beyond the vocabulary, which matrices are padded with, are dropped. If the run's head is a matrix of its own and the
/// folder's is not, it begins as a copy of the embedding. RoPE and epsilon are those of `config`.
///
/// # Errors
/// Tensors that are missing, of another shape, or hold a NaN or an infinity; too few rows; a head of its own in the folder and
/// none in the run.
pub fn initial_weights<B: Backend>(
    folder: &Path,
    config: &ModelConfig,
    vocab_size: usize,
    device: &B::Device,
) -> Result<InitialWeights<B>> {
    let source = ModelFolder::open(folder, WEIGHTS)?;
    if config.tie_word_embeddings && !source.config.tie_word_embeddings {
        return Err(Error::HuggingFace {
            path: folder.into(),
            message: "the model has an output head of its own, which the run's model (tie_word_embeddings = true) has no place \
                      for; set model.tie_word_embeddings=false"
                .into(),
        });
    }
    if source.rows < vocab_size {
        return Err(Error::HuggingFace {
            path: folder.into(),
            message: format!(
                "the model has rows for {} ids, but the data's vocabulary has {vocab_size}; extend a text model with `convert \
                 qwen3x`, and tokenize with its tokenizer",
                source.rows
            ),
        });
    }
    let notes = notes(&source, config, vocab_size);
    let tensor = |name: &str, expected: &[usize]| {
        let from = match name == HEAD && source.config.tie_word_embeddings {
            true => EMBEDDING,
            false => name,
        };
        let mut data = source.finite_tensor(from)?;
        if [EMBEDDING, HEAD].contains(&name) {
            data = first_rows(data, vocab_size);
        }
        let found = data.shape.to_vec();
        if found != expected {
            let reason = format!(
                "has shape {found:?}, but the run's model needs {expected:?}; set [model] to the shape in the folder's \
                 config.json"
            );
            return Err(Error::from(source.weights.bad_tensor(name, reason)));
        }
        Ok(data)
    };
    let layers = source.config.num_hidden_layers;
    if layers > config.num_hidden_layers {
        return Err(Error::HuggingFace {
            path: folder.into(),
            message: format!(
                "the model has {layers} layers, but the run's {}; set model.num_hidden_layers={layers}",
                config.num_hidden_layers
            ),
        });
    }
    let model = Qwen3::zeros(config, vocab_size, device);
    Ok(InitialWeights {
        model: fill_params(model, tensor)?,
        notes,
    })
}

/// What differs between folder and run, and is taken from the run.
fn notes(source: &ModelFolder, config: &ModelConfig, vocab_size: usize) -> Vec<String> {
    let mut notes = Vec::new();
    if source.rows > vocab_size {
        notes.push(format!(
            "the last {} of {} rows stand for no token of the vocabulary and are left out",
            source.rows - vocab_size,
            source.rows
        ));
    }
    if source.config.tie_word_embeddings && !config.tie_word_embeddings {
        notes.push("the output head begins as a copy of the embedding".to_owned());
    }
    if source.config.rope != config.rope {
        notes.push(format!(
            "the weights were trained with RoPE of {}, and the run has {}",
            rope_in_words(&source.config.rope),
            rope_in_words(&config.rope)
        ));
    }
    if source.config.rms_norm_eps != config.rms_norm_eps {
        notes.push(format!(
            "the weights were trained with an RMSNorm epsilon of {:e}, and the run has {:e}",
            source.config.rms_norm_eps, config.rms_norm_eps
        ));
    }
    notes
}

/// The first rows of a matrix.
fn first_rows(data: TensorData, rows: usize) -> TensorData {
    let width = data.shape[1];
    if data.shape[0] == rows {
        return data;
    }
    let mut values = data.into_vec::<f32>().expect("tensors are read as f32");
    values.truncate(rows * width);
    TensorData::new(values, [rows, width])
}
