//! The TOML form of a mixture, as it is written, with the place of everything that can be wrong.

use super::{Packing, StopStrategy};
use crate::error::{Error, Result};
use crate::permutation::PermutationKind;
use serde::de::{Error as _, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer};
use shards::View;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// A text and where it is from, for messages and for paths in it.
pub(super) struct Origin {
    pub label: String,
    /// The same for the same mixture, however its path is written.
    pub identity: String,
    pub text: String,
    /// Where its relative paths begin; none for a built-in mixture.
    pub folder: Option<PathBuf>,
}

impl Origin {
    pub(super) fn new(label: &str, text: &str, folder: Option<&Path>) -> Self {
        Self {
            label: label.into(),
            identity: label.into(),
            text: text.into(),
            folder: folder.map(PathBuf::from),
        }
    }

    /// The error of the line in which `at` begins.
    pub(super) fn problem(&self, at: Range<usize>, problem: impl Into<String>) -> Error {
        Error::BadMixture {
            file: self.label.clone(),
            line: self.line(&at),
            problem: problem.into(),
        }
    }

    /// The line in which `at` begins, from 1 on.
    pub(super) fn line(&self, at: &Range<usize>) -> usize {
        let before = self.text.get(..at.start).unwrap_or(&self.text);
        1 + before.matches('\n').count()
    }

    /// Reads the TOML.
    pub(super) fn parse(&self) -> Result<MixFile> {
        toml::from_str(&self.text).map_err(|error| {
            let problem = error.message().trim_end();
            self.problem(error.span().unwrap_or_default(), problem)
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MixFile {
    pub name: String,
    pub validation_fraction: Spanned<f64>,
    #[serde(default)]
    pub permutation: PermutationKind,
    #[serde(default)]
    pub stop: StopStrategy,
    #[serde(default)]
    pub packing: Packing,
    pub block_size: Option<Spanned<u64>>,
    #[serde(default)]
    pub parameters: BTreeMap<String, Spanned<Amount>>,
    #[serde(default)]
    pub components: Vec<Spanned<ComponentEntry>>,
    #[serde(default)]
    pub stages: Vec<Spanned<StageEntry>>,
}

/// A corpus (`source`), or all those of another mixture (`mix`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ComponentEntry {
    pub name: Option<String>,
    pub source: Option<Spanned<Sources>>,
    pub mix: Option<Spanned<String>>,
    pub view: Option<Spanned<View>>,
    pub codebooks: Option<Spanned<usize>>,
    pub weight: Option<Spanned<Amount>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StageEntry {
    pub start_sequences: Option<Spanned<Amount>>,
    pub start_tokens: Option<Spanned<Amount>>,
    pub mix: Option<Spanned<String>>,
    pub weights: Option<Spanned<BTreeMap<Spanned<String>, Spanned<Amount>>>>,
    #[serde(default)]
    pub interpolate: bool,
}

/// A number, or an expression of numbers and parameters.
pub(super) enum Amount {
    Number(f64),
    Expression(String),
}

/// One folder or several.
pub(super) struct Sources(pub Vec<String>);

struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number or an expression such as \"1/3*73/204\"")
    }

    fn visit_i64<E>(self, value: i64) -> Result<Amount, E> {
        Ok(Amount::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Amount, E> {
        Ok(Amount::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Amount, E> {
        Ok(Amount::Expression(value.into()))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

struct SourcesVisitor;

impl<'de> Visitor<'de> for SourcesVisitor {
    type Value = Sources;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the name of a folder, or a list of them")
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Sources, E> {
        Ok(Sources(vec![relative_folder(value)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Sources, A::Error> {
        let found: Vec<String> = Vec::deserialize(SeqAccessDeserializer::new(items))?;
        for (number, name) in found.iter().enumerate() {
            relative_folder::<A::Error>(name)?;
            if found[..number].contains(name) {
                return Err(A::Error::custom(format!("source {name:?} is named twice")));
            }
        }
        match found.is_empty() {
            true => Err(A::Error::custom("a component needs at least one source")),
            false => Ok(Sources(found)),
        }
    }
}

impl<'de> Deserialize<'de> for Sources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourcesVisitor)
    }
}

/// A path below the data folder, so that a mixture means the same wherever the data lie.
fn relative_folder<E: serde::de::Error>(name: &str) -> Result<String, E> {
    let mut parts = Path::new(name).components();
    let normal = parts.all(|part| matches!(part, std::path::Component::Normal(_)));
    match !name.is_empty() && normal {
        true => Ok(name.into()),
        false => Err(E::custom(format!(
            "source {name:?} is not a folder below the data folder, like \"yodas2-en\""
        ))),
    }
}
