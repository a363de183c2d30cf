//! What a loader serves, in numbers.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shards::View;

/// What a loader serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderSummary {
    /// Documents for training.
    pub train_documents: u64,
    /// Tokens of their renderings.
    pub train_tokens: u64,
    /// Documents kept for validation.
    pub validation_documents: u64,
    /// Tokens of their renderings.
    pub validation_tokens: u64,
    /// Sequences of an epoch over every component.
    pub sequences_per_epoch: u64,
    /// Hash of the hashes of all shards: the same data give the same.
    pub data_sha256: String,
    /// The components, in the mixture's order.
    pub components: Vec<ComponentSummary>,
}

/// What one component of a mixture contributes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComponentSummary {
    /// Its name.
    pub name: String,
    /// Its folders.
    pub sources: Vec<String>,
    /// Its view.
    pub view: View,
    /// Codebooks used.
    pub codebooks: usize,
    /// Shards' row groups.
    pub row_groups: usize,
    /// Documents for training.
    pub train_documents: u64,
    /// Tokens of their renderings.
    pub train_tokens: u64,
    /// Documents kept for validation.
    pub validation_documents: u64,
    /// Tokens of their renderings.
    pub validation_tokens: u64,
    /// Sequences of an epoch; less than the tokens by the remainder of each group, or as simulated epoching has it.
    pub sequences_per_epoch: u64,
    /// Training renderings by length: at i those of over 2^(i-1) and up to 2^i tokens.
    pub lengths: Vec<u64>,
    /// Hash of the shards' hashes.
    pub data_sha256: String,
}

impl LoaderSummary {
    pub(crate) fn new(components: Vec<ComponentSummary>) -> Self {
        let mut digest = Sha256::new();
        components
            .iter()
            .for_each(|component| digest.update(&component.data_sha256));
        let sum = |of: fn(&ComponentSummary) -> u64| components.iter().map(of).sum();
        Self {
            train_documents: sum(|c| c.train_documents),
            train_tokens: sum(|c| c.train_tokens),
            validation_documents: sum(|c| c.validation_documents),
            validation_tokens: sum(|c| c.validation_tokens),
            sequences_per_epoch: sum(|c| c.sequences_per_epoch),
            data_sha256: digest
                .finalize()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            components,
        }
    }
}
