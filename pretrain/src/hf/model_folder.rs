//! A folder with a configuration and the weights that belong to it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use experiments::{LoraConfig, ModelConfig};
use indicatif::{ProgressBar, ProgressStyle};

use super::{CONFIG_FILE, config_json, folder_config, lora};
use crate::error::{Error, Result};
use crate::weights::{
    FloatType, LazyTensor, MAX_SHARD_BYTES, Weights, WeightsError, write_weights,
};

/// The embedding matrix `[vocab, hidden]`.
pub(super) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output head `[vocab, hidden]` of a model that is not tied.
pub(super) const HEAD: &str = "lm_head.weight";
/// Names that an error lists at most.
const LISTED: usize = 3;

/// An open folder whose tensors are those of its configuration.
pub(super) struct ModelFolder {
    pub path: PathBuf,
    pub config: ModelConfig,
    /// Rows of the embedding matrix.
    pub rows: usize,
    pub weights: Weights,
    /// Updates that are merged into the weights when they are read.
    lora: Option<LoraConfig>,
}

impl ModelFolder {
    /// Opens `config.json` and the weights `STEM.safetensors`, or its shards. The head of a tied model may be there or not.
    ///
    /// # Errors
    /// Missing and damaged files; tensors that are missing, of another shape, or of no parameter.
    pub fn open(path: &Path, stem: &str) -> Result<Self> {
        let (config, rows) = folder_config(path)?;
        let weights = Weights::open(path, stem)?;
        let lora = lora::updates_of(path)?;
        let mut shapes = parameter_shapes(&config, rows);
        if let Some(lora) = &lora {
            shapes.extend(lora::shapes(lora, &shapes));
        }
        for (name, shape) in &shapes {
            let found = weights.shape(name)?;
            if found != shape {
                let reason =
                    format!("has shape {found:?}, but by {CONFIG_FILE} it must be {shape:?}");
                return Err(weights.bad_tensor(name, reason).into());
            }
            weights.dtype(name)?;
        }
        let others: Vec<&str> = weights
            .names()
            .filter(|name| !shapes.contains_key(*name) && *name != HEAD)
            .collect();
        if !others.is_empty() {
            let listed = others[..others.len().min(LISTED)].join(", ");
            return Err(Error::HuggingFace {
                path: path.into(),
                message: format!(
                    "its weights have {} tensors that no Qwen3 has ({listed}{}); give a plain Qwen3 model, without adapters or \
                     quantization",
                    others.len(),
                    if others.len() > LISTED { ", …" } else { "" }
                ),
            });
        }
        Ok(Self {
            path: path.into(),
            config,
            rows,
            weights,
            lora,
        })
    }

    /// Itself, if its weights are all there is to it.
    ///
    /// # Errors
    /// A checkpoint with low-rank updates.
    pub fn without_updates(self) -> Result<Self> {
        match self.lora {
            None => Ok(self),
            Some(_) => Err(Error::HuggingFace {
                path: self.path,
                message: "its weights have low-rank updates beside them; merge them first with `convert hf-export`".into(),
            }),
        }
    }

    /// All tensors, to be read one after the other.
    ///
    /// # Errors
    /// None for a folder that was opened.
    pub fn tensors(&self) -> Result<Vec<LazyTensor<'_>>> {
        let shapes = parameter_shapes(&self.config, self.rows);
        let tensor = |(name, shape): (String, Vec<usize>)| match &self.lora {
            None => Ok(self.weights.lazy(&name)?),
            Some(_) => Ok(LazyTensor::new(name.clone(), shape, move || {
                let tensor = self.merge(&name, self.weights.tensor(&name)?)?;
                Ok(Cow::Owned(tensor.as_bytes().to_vec()))
            })),
        };
        shapes.into_iter().map(tensor).collect()
    }

    /// A tensor as f32, refused if a value of it is not finite.
    ///
    /// # Errors
    /// Those of [`Weights::finite_tensor`].
    pub fn finite_tensor(&self, name: &str) -> Result<TensorData> {
        let tensor = self.weights.finite_tensor(name)?;
        Ok(self.merge(name, tensor)?)
    }

    fn merge(&self, name: &str, tensor: TensorData) -> Result<TensorData, WeightsError> {
        match &self.lora {
            Some(lora) => lora::merged(lora, &self.weights, name, tensor),
            None => Ok(tensor),
        }
    }

    /// Copies those of `names` that are there; returns them.
    ///
    /// # Errors
    /// I/O errors.
    pub fn copy_files(&self, names: &[&str], to: &Path) -> Result<Vec<String>> {
        let mut copied = Vec::new();
        for name in names {
            let from = self.path.join(name);
            if from.is_file() {
                fs::copy(&from, to.join(name)).map_err(Error::io("copy", &from))?;
                copied.push((*name).to_owned());
            }
        }
        Ok(copied)
    }
}

/// Name and shape of every parameter of a model whose embedding has `rows` rows.
pub(super) fn parameter_shapes(config: &ModelConfig, rows: usize) -> BTreeMap<String, Vec<usize>> {
    let (hidden, width, head) = (
        config.hidden_size,
        config.intermediate_size,
        config.head_dim,
    );
    let query = config.num_attention_heads * head;
    let key_value = config.num_key_value_heads * head;
    let of_layer = [
        ("input_layernorm", vec![hidden]),
        ("post_attention_layernorm", vec![hidden]),
        ("self_attn.q_proj", vec![query, hidden]),
        ("self_attn.k_proj", vec![key_value, hidden]),
        ("self_attn.v_proj", vec![key_value, hidden]),
        ("self_attn.o_proj", vec![hidden, query]),
        ("self_attn.q_norm", vec![head]),
        ("self_attn.k_norm", vec![head]),
        ("mlp.gate_proj", vec![width, hidden]),
        ("mlp.up_proj", vec![width, hidden]),
        ("mlp.down_proj", vec![hidden, width]),
    ];
    let mut shapes = BTreeMap::from([
        (EMBEDDING.to_owned(), vec![rows, hidden]),
        ("model.norm.weight".to_owned(), vec![hidden]),
    ]);
    if !config.tie_word_embeddings {
        shapes.insert(HEAD.to_owned(), vec![rows, hidden]);
    }
    for layer in 0..config.num_hidden_layers {
        let named = of_layer
            .iter()
            .map(|(part, shape)| (format!("model.layers.{layer}.{part}.weight"), shape.clone()));
        shapes.extend(named);
    }
    shapes
}

/// Writes `config.json` and the weights of a model, with a bar on a terminal.
///
/// # Errors
/// I/O errors, and what reading the tensors gives.
pub(super) fn write_model(
    dir: &Path,
    config: &ModelConfig,
    rows: usize,
    tensors: Vec<LazyTensor>,
    dtype: FloatType,
) -> Result<()> {
    write_json(&dir.join(CONFIG_FILE), &config_json(config, rows, dtype))?;
    let elements = tensors.iter().map(|tensor| tensor.elements() as u64).sum();
    let style = ProgressStyle::with_template("{bar:24} {percent} % of the weights  ETA {eta}");
    let bar = ProgressBar::new(elements).with_style(style.expect("the template is valid"));
    let tensors = tensors.into_iter().map(|tensor| {
        let (bar, elements) = (bar.clone(), tensor.elements() as u64);
        tensor.then(move || bar.inc(elements))
    });
    write_weights(dir, super::WEIGHTS, tensors, dtype, MAX_SHARD_BYTES)?;
    bar.finish_and_clear();
    Ok(())
}

pub(super) fn write_json(path: &Path, value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).expect("plain data serialises") + "\n";
    fs::write(path, text).map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Qwen3, named_params};

    #[test]
    fn shapes_are_those_of_the_models_parameters() {
        for tied in [true, false] {
            let config = ModelConfig {
                hidden_size: 12,
                intermediate_size: 20,
                num_hidden_layers: 11,
                num_attention_heads: 6,
                num_key_value_heads: 2,
                head_dim: 4,
                tie_word_embeddings: tied,
                ..ModelConfig::named("30m").unwrap().clone()
            };
            let model = Qwen3::<burn_flex::Flex>::new(&config, 7, 0, &Default::default());
            let named = named_params(&model)
                .into_iter()
                .map(|tensor| (tensor.name, tensor.data.shape.to_vec()));
            assert_eq!(parameter_shapes(&config, 7), named.collect());
        }
    }
}
