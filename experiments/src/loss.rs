//! What a run minimises.

use serde::{Deserialize, Serialize};

/// Mean over the tokens of cross-entropy + `z_loss_weight` · logsumexp², weighted by the kind of the token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossConfig {
    /// Weight of logsumexp² (PaLM, arXiv 2204.02311).
    pub z_loss_weight: f64,
    /// Weights by kind of token; uniform if absent.
    #[serde(default, skip_serializing_if = "TokenWeights::is_uniform")]
    pub weights: TokenWeights,
}

/// Weights of the tokens' losses. Only their ratios matter: the loss is a weighted mean.
///
/// Moshi's (arXiv 2410.00037) are `text = 100`, `semantic = 100`, `acoustic = 1`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenWeights {
    /// Text.
    pub text: f64,
    /// Beginnings and ends of documents, text and audio.
    pub marker: f64,
    /// The first codebook.
    pub semantic: f64,
    /// The other codebooks.
    pub acoustic: AcousticWeights,
}

/// Weights of the codebooks after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AcousticWeights {
    /// The same for all.
    Same(f64),
    /// One for each, the second codebook first.
    Each(Vec<f64>),
    /// See [`Decay`].
    Decay(Decay),
}

/// `decay^(1 − k/K)` for codebook k of 1 to K: from nearly `decay` down to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decay {
    /// What a codebook 0 would weigh.
    pub decay: f64,
}

impl Default for TokenWeights {
    fn default() -> Self {
        Self {
            text: 1.0,
            marker: 1.0,
            semantic: 1.0,
            acoustic: AcousticWeights::Same(1.0),
        }
    }
}

impl TokenWeights {
    /// Whether all tokens count alike.
    pub fn is_uniform(&self) -> bool {
        *self == Self::default()
    }

    /// Weight of each codebook, the semantic one first.
    ///
    /// # Errors
    /// A list of another length than the codebooks after the first.
    pub fn audio(&self, codebooks: usize) -> Result<Vec<f64>, String> {
        let last = codebooks.saturating_sub(1);
        let acoustic = match &self.acoustic {
            AcousticWeights::Same(weight) => vec![*weight; last],
            AcousticWeights::Each(weights) if weights.len() == last => weights.clone(),
            AcousticWeights::Each(weights) => {
                return Err(format!(
                    "loss.weights.acoustic lists {} weights, but the vocabulary has {last} acoustic codebooks",
                    weights.len()
                ));
            }
            AcousticWeights::Decay(Decay { decay }) => (1..=last)
                .map(|k| decay.powf(1.0 - k as f64 / last as f64))
                .collect(),
        };
        Ok(std::iter::once(self.semantic).chain(acoustic).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(text: &str, codebooks: usize) -> Result<Vec<f64>, String> {
        toml::from_str::<TokenWeights>(text)
            .unwrap()
            .audio(codebooks)
    }

    #[test]
    fn acoustic_weights_have_three_forms() {
        assert_eq!(audio("acoustic = 2.0", 3).unwrap(), [1.0, 2.0, 2.0]);
        assert_eq!(
            audio("semantic = 9.0\nacoustic = [3.0, 2.0]", 3).unwrap(),
            [9.0, 3.0, 2.0]
        );
        let decayed = audio("semantic = 100.0\nacoustic = { decay = 100.0 }", 8).unwrap();
        assert_eq!((decayed.len(), decayed[7]), (8, 1.0));
        assert!((decayed[1] - 51.794_746_792).abs() < 1e-6, "{decayed:?}");
        let error = audio("acoustic = [1.0]", 8).unwrap_err();
        assert!(error.contains('7'), "{error}");
    }
}
