//! Mixtures: which corpora, in which view, with which weights, from when on.
//!
//! A mixture is a TOML file; those of the paper come with this crate (`mixes/*.toml`, explained in `mixes/README.md`). It may have
//! parameters, and may be made of other mixtures. What is read here is its resolved form: components and numbers only.

mod catalog;
mod describe;
mod expression;
mod file;
mod parameters;
mod resolve;
mod stages;
mod union;

pub use describe::CatalogEntry;
pub use expression::evaluate;

use crate::error::Result;
use crate::permutation::PermutationKind;
use serde::{Deserialize, Serialize};
use shards::View;
use std::path::Path;

/// What a model is trained on.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Name, that of its file, with the values of its parameters if it has any: `cooldown(n=2)`.
    pub name: String,
    /// Part of the documents, in [0, 1), kept for validation; a hash of a document's id decides.
    pub validation_fraction: f64,
    /// How the sequences of a component are permuted.
    pub permutation: PermutationKind,
    /// What happens when a component has no more sequences.
    pub stop: StopStrategy,
    /// Sequences of a block, in which every component has the same number of sequences.
    pub block_size: u64,
    /// How documents are laid into sequences.
    pub packing: Packing,
    /// The corpora. No two have the same name, or the same sources, view and codebooks.
    pub components: Vec<Component>,
    /// Weights over time, in ascending order; the first starts at 0.
    pub stages: Vec<Stage>,
}

/// One corpus of a mixture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Component {
    /// What metrics and messages call it.
    pub name: String,
    /// Folders of its datasets below the data folder, read one after another as one corpus.
    pub sources: Vec<String>,
    /// How its documents are rendered.
    pub view: View,
    /// How many codebooks of each frame are used, from the first on.
    pub codebooks: usize,
}

/// Weights from some sequence on.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Where it starts.
    pub start: Start,
    /// Share of the sequences of each component; the sum is 1.
    pub weights: Vec<f64>,
    /// Shares at the start of the next stage, to which those of this stage go in a straight line. Without it they stay.
    pub until: Option<Vec<f64>>,
}

/// Where a stage starts: at the first whole block from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After so many sequences.
    Sequences(u64),
    /// After so many tokens, padding included.
    Tokens(u64),
}

/// What happens when a component has no more sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopStrategy {
    /// It begins again, in another order.
    #[default]
    Restart,
    /// Training ends with the first component that has no more.
    FirstExhausted,
    /// Components begin again until each has given all it has; then training ends.
    AllExhausted,
}

/// How documents are laid into sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Packing {
    /// One after another, cut where a sequence is full.
    #[default]
    Concat,
    /// Whole documents, each where it leaves the least room; the rest is padded.
    BestFit,
}

impl Mixture {
    /// Sequences of a block, unless a mixture says otherwise; as Levanter's.
    pub const BLOCK_SIZE: u64 = 2048;

    /// A mixture by the name of a built-in one or the path of a `.toml` file, with arguments if it has parameters: `mix3-v1`,
    /// `cooldown(2)`, `nemotron(r=.05)`, `my.toml(w=1/2)`; or the text of such a file, which has lines.
    pub fn open(call: &str) -> Result<Self> {
        resolve::open(call, &resolve::Surroundings::default())
    }

    /// Parses a mixture with the default values of its parameters; `file` is what errors call it, and paths in it are relative to
    /// its folder.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let origin = file::Origin::new(file, text, Path::new(file).parent());
        resolve::resolve(&origin, &[], &resolve::Surroundings::default())
    }

    /// Names of the mixtures that Timbre brings.
    pub fn names() -> Vec<&'static str> {
        catalog::names().collect()
    }

    /// The mixtures that Timbre brings, with what their files say about them.
    ///
    /// # Errors
    /// None, unless one of them is wrong.
    pub fn catalog() -> Result<Vec<CatalogEntry>> {
        catalog::names().map(CatalogEntry::of).collect()
    }
}
