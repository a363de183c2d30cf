//! Shape of a model: one of the recipe's sizes, or stated number by number.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// The recipe's sizes, as `[model]` tables.
static SIZES: LazyLock<BTreeMap<String, ModelConfig>> = LazyLock::new(|| {
    toml::from_str(include_str!("../models.toml")).expect("the bundled table of models is valid")
});

/// Shape of a Qwen3-architecture model, with the field names of transformers' `config.json`.
///
/// In a file, `size = "600m"` stands for the numbers of that size; keys beside it replace single ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ModelTable")]
pub struct ModelConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the SwiGLU layer.
    pub intermediate_size: usize,
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides the query heads (GQA).
    pub num_key_value_heads: usize,
    /// Channels a head.
    pub head_dim: usize,
    /// Whether the output head is the embedding matrix.
    pub tie_word_embeddings: bool,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Standard deviation of the initial embeddings.
    pub initializer_range: f64,
    /// Rotary position embedding.
    pub rope: RopeConfig,
}

/// A `[model]` table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelTable {
    size: Option<String>,
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    tie_word_embeddings: Option<bool>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    initializer_range: Option<f64>,
    rope: Option<RopeConfig>,
}

impl TryFrom<ModelTable> for ModelConfig {
    type Error = String;

    fn try_from(table: ModelTable) -> Result<Self, String> {
        let base = match &table.size {
            Some(size) => Some(Self::named(size).ok_or_else(|| {
                let known = Self::sizes().collect::<Vec<_>>().join(", ");
                format!("no model of size `{size}`: known are {known}")
            })?),
            None => None,
        };
        let needed = |key: &str, given: Option<usize>, of: fn(&Self) -> usize| {
            given.or(base.map(of)).ok_or_else(|| {
                format!("`{key}` is missing; give it, or the `size` of one of the recipe's models")
            })
        };
        let tied = table
            .tie_word_embeddings
            .or(base.map(|base| base.tie_word_embeddings));
        Ok(Self {
            hidden_size: needed("hidden_size", table.hidden_size, |m| m.hidden_size)?,
            intermediate_size: needed("intermediate_size", table.intermediate_size, |m| {
                m.intermediate_size
            })?,
            num_hidden_layers: needed("num_hidden_layers", table.num_hidden_layers, |m| {
                m.num_hidden_layers
            })?,
            num_attention_heads: needed("num_attention_heads", table.num_attention_heads, |m| {
                m.num_attention_heads
            })?,
            num_key_value_heads: needed("num_key_value_heads", table.num_key_value_heads, |m| {
                m.num_key_value_heads
            })?,
            head_dim: needed("head_dim", table.head_dim, |m| m.head_dim)?,
            tie_word_embeddings: tied.ok_or("`tie_word_embeddings` is missing; give it")?,
            max_position_embeddings: table.max_position_embeddings.unwrap_or(4096),
            rms_norm_eps: table.rms_norm_eps.unwrap_or(1e-5),
            initializer_range: table.initializer_range.unwrap_or(0.02),
            rope: table.rope.unwrap_or_default(),
        })
    }
}

impl ModelConfig {
    /// The recipe's model of a size, such as `600m`.
    pub fn named(size: &str) -> Option<&'static Self> {
        SIZES.get(size)
    }

    /// Names of the recipe's sizes, the smallest first.
    pub fn sizes() -> impl Iterator<Item = &'static str> {
        let mut sizes: Vec<_> = SIZES.iter().collect();
        sizes.sort_by_key(|(name, model)| (model.parameters(0), name.len()));
        sizes.into_iter().map(|(name, _)| name.as_str())
    }

    /// Trainable parameters with a vocabulary of `vocab_size` rows.
    pub fn parameters(&self, vocab_size: usize) -> u64 {
        let (hidden, head_dim) = (self.hidden_size, self.head_dim);
        let query = self.num_attention_heads * head_dim;
        let key_value = self.num_key_value_heads * head_dim;
        let attention = 2 * hidden * query + 2 * hidden * key_value + 2 * head_dim;
        let mlp = 3 * hidden * self.intermediate_size;
        let layer = attention + mlp + 2 * hidden;
        let matrices = if self.tie_word_embeddings { 1 } else { 2 };
        (self.num_hidden_layers * layer + hidden + matrices * vocab_size * hidden) as u64
    }
}

/// Rotary position embedding (Su et al., arXiv 2104.09864); by default that of the recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeConfig {
    /// Base of the geometric sequence of wavelengths.
    pub theta: f64,
    /// Llama-3 scaling of the long wavelengths; none for plain RoPE.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<RopeScaling>,
}

impl Default for RopeConfig {
    fn default() -> Self {
        let scaling = RopeScaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 8192,
        };
        Self {
            theta: 500_000.0,
            scaling: Some(scaling),
        }
    }
}

/// Llama-3's RoPE scaling: wavelengths over `original / low_freq_factor` are stretched by `factor`,
/// those under `original / high_freq_factor` kept, and those between interpolated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RopeScaling {
    /// Stretch of the longest wavelengths.
    pub factor: f64,
    /// See [`RopeScaling`].
    pub low_freq_factor: f64,
    /// See [`RopeScaling`].
    pub high_freq_factor: f64,
    /// Context length before scaling, in tokens.
    pub original_max_position_embeddings: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ModelConfig, String> {
        toml::from_str(text).map_err(|e: toml::de::Error| e.to_string())
    }

    #[test]
    fn sizes_are_ten_in_order() {
        let sizes: Vec<_> = ModelConfig::sizes().collect();
        assert_eq!(
            sizes,
            [
                "30m",
                "50m",
                "75m",
                "135m",
                "150m",
                "300m",
                "600m-hd64",
                "600m",
                "1.7b",
                "4b"
            ]
        );
    }

    /// `scripts/make_parameter_counts.py` asks transformers.
    #[test]
    fn parameters_are_as_many_as_transformers_has() {
        #[derive(Deserialize)]
        struct Count {
            size: String,
            vocab_size: usize,
            tied: u64,
            untied: u64,
        }
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fixtures/parameters.toml"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let counts: BTreeMap<String, Vec<Count>> = toml::from_str(&text).unwrap();
        let counts = &counts["model"];
        assert_eq!(counts.len(), 2 * ModelConfig::sizes().count());
        for count in counts {
            let mut model = ModelConfig::named(&count.size).unwrap().clone();
            for (tie_word_embeddings, expected) in [(true, count.tied), (false, count.untied)] {
                model.tie_word_embeddings = tie_word_embeddings;
                let parameters = model.parameters(count.vocab_size);
                assert_eq!(
                    parameters, expected,
                    "{}, {} ids",
                    count.size, count.vocab_size
                );
            }
        }
    }

    #[test]
    fn a_size_stands_for_its_numbers_and_keys_replace_single_ones() {
        let model = parse("size = '600m'\ntie_word_embeddings = false").unwrap();
        let expected = ModelConfig {
            tie_word_embeddings: false,
            ..ModelConfig::named("600m").unwrap().clone()
        };
        assert_eq!(model, expected);
        let written = toml::to_string(&model).unwrap();
        assert_eq!(parse(&written).unwrap(), model, "{written}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let unknown = parse("size = '601m'").unwrap_err();
        assert!(unknown.contains("601m") && unknown.contains("600m-hd64"));
        let missing = parse("hidden_size = 8").unwrap_err();
        assert!(missing.contains("intermediate_size") && missing.contains("size"));
        assert!(
            parse("size = '30m'\nhidden = 8")
                .unwrap_err()
                .contains("hidden")
        );
    }
}
