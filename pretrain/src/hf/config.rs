//! transformers' `config.json` of Qwen3, read and written.
//!
//! Two forms are read: `rope_theta` with `rope_scaling` (transformers 4) and `rope_parameters` (transformers 5). The file
//! written has both, and each version takes its own. What a file asks for and this model is not, is refused.

use std::fs;
use std::path::Path;

use experiments::{ModelConfig, RopeConfig, RopeScaling};
use serde_json::{Map, Value, json};

use super::CONFIG_FILE;
use crate::error::{Error, Result};
use crate::weights::FloatType;

/// What transformers takes where a file does not say otherwise.
const DEFAULT_RMS_NORM_EPS: f64 = 1e-6;
const DEFAULT_INITIALIZER_RANGE: f64 = 0.02;

/// The model of a folder by its `config.json`, and the rows of its embedding matrix.
///
/// # Errors
/// A missing or unreadable file, and one of a model that is not a Qwen3 as it is here.
pub fn folder_config(folder: &Path) -> Result<(ModelConfig, usize)> {
    let path = folder.join(CONFIG_FILE);
    let bytes = fs::read(&path).map_err(Error::io("read", &path))?;
    let bad = |message: String| Error::HuggingFace {
        path: path.clone(),
        message,
    };
    let json: Map<String, Value> = serde_json::from_slice(&bytes)
        .map_err(|e| bad(format!("not a configuration of transformers: {e}")))?;
    Reader { json: &json }.model().map_err(bad)
}

/// transformers' configuration of a model whose embedding has `vocab_size` rows, stored as `dtype`.
pub fn config_json(model: &ModelConfig, vocab_size: usize, dtype: FloatType) -> Value {
    let rope = &model.rope;
    let scaling = rope.scaling.as_ref().map(|scaling| {
        json!({
            "rope_type": "llama3",
            "factor": scaling.factor,
            "low_freq_factor": scaling.low_freq_factor,
            "high_freq_factor": scaling.high_freq_factor,
            "original_max_position_embeddings": scaling.original_max_position_embeddings,
        })
    });
    let mut parameters = scaling.clone().unwrap_or(json!({ "rope_type": "default" }));
    parameters["rope_theta"] = rope.theta.into();
    json!({
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.intermediate_size,
        "num_hidden_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "num_key_value_heads": model.num_key_value_heads,
        "head_dim": model.head_dim,
        "hidden_act": "silu",
        "attention_bias": false,
        "use_sliding_window": false,
        "rms_norm_eps": model.rms_norm_eps,
        "initializer_range": model.initializer_range,
        "tie_word_embeddings": model.tie_word_embeddings,
        "max_position_embeddings": model.max_position_embeddings,
        "rope_theta": rope.theta,
        "rope_scaling": scaling,
        "rope_parameters": parameters,
        "torch_dtype": match dtype {
            FloatType::F32 => "float32",
            FloatType::Bf16 => "bfloat16",
        },
    })
}

/// RoPE in words, such as `theta 500000, Llama-3 scaling by 8 from 8192 positions`.
pub fn rope_in_words(rope: &RopeConfig) -> String {
    let theta = rope.theta;
    match &rope.scaling {
        None => format!("theta {theta}, no scaling"),
        Some(scaling) => format!(
            "theta {theta}, Llama-3 scaling by {} from {} positions",
            scaling.factor, scaling.original_max_position_embeddings
        ),
    }
}

/// Looks keys up, with words for what is wrong.
struct Reader<'a> {
    json: &'a Map<String, Value>,
}

type Found<T> = std::result::Result<T, String>;

impl Reader<'_> {
    fn model(&self) -> Found<(ModelConfig, usize)> {
        self.refuse_other_models()?;
        let model = ModelConfig {
            hidden_size: self.size("hidden_size")?,
            intermediate_size: self.size("intermediate_size")?,
            num_hidden_layers: self.size("num_hidden_layers")?,
            num_attention_heads: self.size("num_attention_heads")?,
            num_key_value_heads: self.size("num_key_value_heads")?,
            head_dim: self.size("head_dim")?,
            tie_word_embeddings: self.flag("tie_word_embeddings")?,
            max_position_embeddings: self.size("max_position_embeddings")?,
            rms_norm_eps: self.number_or("rms_norm_eps", DEFAULT_RMS_NORM_EPS)?,
            initializer_range: self.number_or("initializer_range", DEFAULT_INITIALIZER_RANGE)?,
            rope: self.rope()?,
        };
        let (heads, kv_heads) = (model.num_attention_heads, model.num_key_value_heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "{heads} heads do not divide into groups for {kv_heads} key-value heads"
            ));
        }
        if !model.head_dim.is_multiple_of(2) {
            return Err(format!(
                "head_dim is {}, but RoPE rotates pairs of channels",
                model.head_dim
            ));
        }
        Ok((model, self.size("vocab_size")?))
    }

    /// Refuses what would run here, but as another model.
    fn refuse_other_models(&self) -> Found<()> {
        let is = |key: &str, value: &str| self.get(key).is_some_and(|found| found != value);
        if self.get("model_type").is_none() || is("model_type", "qwen3") {
            return Err(format!(
                "model_type is {}, and only qwen3 is known here; give a Qwen3 model (dense, not qwen3_moe)",
                self.shown("model_type")
            ));
        }
        if is("hidden_act", "silu") {
            return Err(format!(
                "hidden_act is {}, but this model's MLP has silu",
                self.shown("hidden_act")
            ));
        }
        if self.flag("attention_bias")? {
            return Err("attention_bias is true, but this model's attention has no biases".into());
        }
        if self.slides()? {
            return Err(
                "it has layers of sliding-window attention, but this model's layers all see the whole document".into(),
            );
        }
        self.refuse_partial_rotary(self.json)
    }

    /// Whether a layer attends to a window only: as `layer_types` says, else those from `max_window_layers` on.
    fn slides(&self) -> Found<bool> {
        if let Some(types) = self.get("layer_types") {
            let full = |kind: &Value| kind == "full_attention";
            let types = types.as_array().ok_or("layer_types is not a list")?;
            return Ok(!types.iter().all(full));
        }
        let on = self.flag("use_sliding_window")? && self.get("sliding_window").is_some();
        Ok(on && self.size("max_window_layers")? < self.size("num_hidden_layers")?)
    }

    fn refuse_partial_rotary(&self, json: &Map<String, Value>) -> Found<()> {
        match json.get("partial_rotary_factor") {
            None | Some(Value::Null) => Ok(()),
            Some(factor) if factor.as_f64() == Some(1.0) => Ok(()),
            Some(factor) => Err(format!(
                "partial_rotary_factor is {factor}, but this model rotates all channels of a head"
            )),
        }
    }

    /// Of whichever form is there; of both, if they say the same.
    fn rope(&self) -> Found<RopeConfig> {
        let theta = self.optional_number(self.json, "rope_theta")?;
        let [old, new] = ["rope_scaling", "rope_parameters"].map(|key| self.table(key));
        let (old, new) = (old?, new?);
        let from = |table: Option<&Map<String, Value>>| -> Found<RopeConfig> {
            let inner = match table {
                Some(table) => self.optional_number(table, "rope_theta")?,
                None => None,
            };
            Ok(RopeConfig {
                theta: inner
                    .or(theta)
                    .filter(|theta| *theta > 0.0)
                    .ok_or("rope_theta is missing or not positive; is this file complete?")?,
                scaling: table.map_or(Ok(None), |table| self.scaling(table))?,
            })
        };
        let Some(parameters) = new else {
            return from(old);
        };
        let rope = from(Some(parameters))?;
        let other = match (old, theta) {
            (None, None) => rope.clone(),
            _ => from(old)?,
        };
        match rope == other {
            true => Ok(rope),
            false => Err(
                "rope_parameters and rope_theta with rope_scaling say different things; keep the right one".into(),
            ),
        }
    }

    fn scaling(&self, table: &Map<String, Value>) -> Found<Option<RopeScaling>> {
        self.refuse_partial_rotary(table)?;
        let kind = table.get("rope_type").or_else(|| table.get("type"));
        match kind.and_then(Value::as_str) {
            Some("default") => Ok(None),
            Some("llama3") => {
                let number = |key: &str| {
                    self.optional_number(table, key)?
                        .filter(|number| *number > 0.0)
                        .ok_or_else(|| format!("RoPE of type llama3 needs a positive `{key}`"))
                };
                let original = number("original_max_position_embeddings")?;
                Ok(Some(RopeScaling {
                    factor: number("factor")?,
                    low_freq_factor: number("low_freq_factor")?,
                    high_freq_factor: number("high_freq_factor")?,
                    original_max_position_embeddings: original as usize,
                }))
            }
            _ => Err(format!(
                "its RoPE is of type {}, and default and llama3 are known here",
                kind.map_or("none".into(), ToString::to_string)
            )),
        }
    }

    /// A key that is there and not null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    fn shown(&self, key: &str) -> String {
        self.get(key)
            .map_or("missing".into(), |value| value.to_string())
    }

    fn size(&self, key: &str) -> Found<usize> {
        let size = self.get(key).and_then(Value::as_u64);
        size.filter(|size| *size > 0)
            .map(|size| size as usize)
            .ok_or_else(|| format!("{key} is {}, not a number of 1 or more", self.shown(key)))
    }

    fn flag(&self, key: &str) -> Found<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(value) => value
                .as_bool()
                .ok_or_else(|| format!("{key} is {value}, neither true nor false")),
        }
    }

    fn number_or(&self, key: &str, default: f64) -> Found<f64> {
        let number = self.optional_number(self.json, key)?.unwrap_or(default);
        match number >= 0.0 {
            true => Ok(number),
            false => Err(format!("{key} is {number}, but must not be negative")),
        }
    }

    fn optional_number(&self, json: &Map<String, Value>, key: &str) -> Found<Option<f64>> {
        match json.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value
                .as_f64()
                .map(Some)
                .ok_or_else(|| format!("{key} is {value}, not a number")),
        }
    }

    fn table(&self, key: &str) -> Found<Option<&Map<String, Value>>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => value
                .as_object()
                .map(Some)
                .ok_or_else(|| format!("{key} is {value}, not an object")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &Value) -> std::result::Result<(ModelConfig, usize), String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONFIG_FILE), json.to_string()).unwrap();
        folder_config(dir.path()).map_err(|e| e.to_string())
    }

    /// As the hub has Qwen3-0.6B-Base, written by transformers 4.
    fn qwen3() -> Value {
        json!({
            "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
            "bos_token_id": 151643, "eos_token_id": 151643, "head_dim": 128, "hidden_act": "silu",
            "hidden_size": 1024, "initializer_range": 0.02, "intermediate_size": 3072,
            "max_position_embeddings": 32768, "max_window_layers": 28, "model_type": "qwen3",
            "num_attention_heads": 16, "num_hidden_layers": 28, "num_key_value_heads": 8,
            "rms_norm_eps": 1e-6, "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16", "use_cache": true,
            "use_sliding_window": false, "vocab_size": 151936,
        })
    }

    /// With keys replaced; removed if null.
    fn changed(changes: Value) -> Value {
        let mut json = qwen3();
        for (key, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => json.as_object_mut().unwrap().remove(key),
                value => json
                    .as_object_mut()
                    .unwrap()
                    .insert(key.clone(), value.clone()),
            };
        }
        json
    }

    fn llama3(theta: Option<f64>) -> Value {
        let mut table = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        });
        if let Some(theta) = theta {
            table["rope_theta"] = theta.into();
        }
        table
    }

    #[test]
    fn the_form_of_transformers_4_is_read() {
        let (model, rows) = read(&qwen3()).unwrap();
        let expected = ModelConfig {
            max_position_embeddings: 32768,
            rms_norm_eps: 1e-6,
            rope: RopeConfig {
                theta: 1e6,
                scaling: None,
            },
            ..ModelConfig::named("600m").unwrap().clone()
        };
        assert_eq!((model, rows), (expected, 151_936));
        let scaled = changed(json!({ "rope_theta": 500_000.0, "rope_scaling": llama3(None) }));
        assert_eq!(read(&scaled).unwrap().0.rope, RopeConfig::default());
    }

    #[test]
    fn the_form_of_transformers_5_is_read() {
        let new =
            changed(json!({ "rope_theta": null, "rope_parameters": llama3(Some(500_000.0)) }));
        assert_eq!(read(&new).unwrap().0.rope, RopeConfig::default());
        let plain = json!({ "rope_type": "default", "rope_theta": 7.0 });
        let plain = changed(json!({ "rope_theta": null, "rope_parameters": plain }));
        let expected = RopeConfig {
            theta: 7.0,
            scaling: None,
        };
        assert_eq!(read(&plain).unwrap().0.rope, expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for size in ["30m", "4b"] {
            for (scaling, tied) in [(true, false), (false, true)] {
                let mut model = ModelConfig::named(size).unwrap().clone();
                model.tie_word_embeddings = tied;
                if !scaling {
                    model.rope.scaling = None;
                }
                let json = config_json(&model, 144_644, FloatType::Bf16);
                assert_eq!(read(&json).unwrap(), (model, 144_644));
            }
        }
    }

    #[test]
    fn other_models_are_refused_with_the_reason() {
        let yarn = json!({ "rope_type": "yarn", "factor": 4.0 });
        let partial =
            json!({ "rope_type": "default", "rope_theta": 1e6, "partial_rotary_factor": 0.5 });
        for (changes, expected) in [
            (
                json!({ "model_type": "qwen3_moe" }),
                "model_type is \"qwen3_moe\"",
            ),
            (json!({ "model_type": null }), "model_type is missing"),
            (json!({ "hidden_act": "gelu" }), "hidden_act is \"gelu\""),
            (json!({ "attention_bias": true }), "attention_bias"),
            (json!({ "rope_scaling": yarn }), "type \"yarn\""),
            (
                json!({ "rope_scaling": { "type": "linear", "factor": 2.0 } }),
                "type \"linear\"",
            ),
            (
                json!({ "rope_theta": null, "rope_parameters": partial }),
                "partial_rotary_factor is 0.5",
            ),
            (
                json!({ "partial_rotary_factor": 0.25 }),
                "partial_rotary_factor is 0.25",
            ),
            (
                json!({ "rope_parameters": llama3(Some(1e6)) }),
                "say different things",
            ),
            (json!({ "rope_theta": null }), "rope_theta is missing"),
            (
                json!({ "rope_scaling": { "rope_type": "llama3" } }),
                "`original_max_position_embeddings`",
            ),
            (
                json!({ "use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 20 }),
                "sliding-window",
            ),
            (
                json!({ "layer_types": ["full_attention", "sliding_attention"] }),
                "sliding-window",
            ),
            (json!({ "num_key_value_heads": 5 }), "groups for 5"),
            (json!({ "head_dim": 63 }), "head_dim is 63"),
            (json!({ "head_dim": null }), "head_dim is missing"),
            (json!({ "hidden_size": "wide" }), "hidden_size is \"wide\""),
            (json!({ "num_hidden_layers": 0 }), "num_hidden_layers is 0"),
        ] {
            let error = read(&changed(changes.clone())).unwrap_err();
            assert!(error.contains(expected), "{changes}: {error}");
            assert!(error.contains(CONFIG_FILE), "{error}");
        }
        // a window that no layer has
        let unused =
            json!({ "use_sliding_window": true, "sliding_window": 4096, "max_window_layers": 28 });
        assert!(read(&changed(unused)).is_ok());
    }
}
