//! `state.json`: where a run stood.

use std::collections::BTreeMap;

use experiments::Plan;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shards::CodecInfo;

use crate::optim::Spikes;

/// Version of [`State`] that this program writes and reads.
pub const STATE_FORMAT: u32 = 2;

/// Where a run stood: with the weights and moments, all that is needed to go on.
///
/// There is no state of a random generator: initial weights and the order of the data are functions of `plan.seed`, and
/// nothing else is random.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Format of this file.
    pub format: u32,
    /// Optimizer steps finished, those included that were left out as spikes.
    pub step: u64,
    /// Updates of the optimizer: the steps that were not left out.
    pub updates: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Number of the next training sequence.
    pub next_sequence: u64,
    /// Hash of the data, as the loader gives it.
    pub data_sha256: String,
    /// Hash of the tokenizer's `tokenizer.json`.
    pub tokenizer_sha256: String,
    /// Rows of the vocabulary.
    pub vocab_size: usize,
    /// Codec of the audio tokens; none for text alone.
    pub codec: Option<CodecInfo>,
    /// Codebooks of each frame that the model was trained on.
    pub codebooks: usize,
    /// What is remembered of losses and gradient norms, where spikes are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spikes: Option<Spikes>,
    /// Hash of `plan`.
    pub plan_sha256: String,
    /// The plan of the run.
    pub plan: Plan,
    /// SHA-256 of all other files of the checkpoint.
    pub files: BTreeMap<String, String>,
}

/// Hash of a plan in its TOML form.
pub fn plan_sha256(plan: &Plan) -> String {
    let text = toml::to_string(plan).expect("a plan serialises");
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
