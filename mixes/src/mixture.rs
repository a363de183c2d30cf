//! Mixtures: which corpora, in which view, with which weight; one TOML file each.

use crate::error::{Error, Result};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use shards::View;
use std::fs;
use std::path::{Component as PathPart, Path};

/// The mixtures that Timbre brings, the `*.toml` beside this crate's manifest.
const EMBEDDED: [(&str, &str); 1] = [("quickstart", include_str!("../quickstart.toml"))];

/// What a model is trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Name, that of its file.
    pub name: String,
    /// Part of the documents, in [0, 1), kept for validation; a hash of a document's id decides.
    #[serde(deserialize_with = "fraction")]
    pub validation_fraction: f64,
    /// The corpora.
    #[serde(deserialize_with = "at_least_one")]
    pub components: Vec<Component>,
}

/// One corpus of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Folder of the dataset, relative to the data folder, e.g. `yodas2/en`.
    #[serde(deserialize_with = "relative_folder")]
    pub source: String,
    /// How its documents are rendered.
    pub view: View,
    /// How many codebooks of each frame are used, from the first on.
    #[serde(deserialize_with = "at_least_one_codebook")]
    pub codebooks: usize,
    /// Share of the sequences, relative to the other components' weights.
    #[serde(deserialize_with = "positive")]
    pub weight: f64,
}

impl Mixture {
    /// A mixture by built-in name, or by the path of a TOML file.
    pub fn open(name_or_path: &str) -> Result<Self> {
        match name_or_path.ends_with(".toml") {
            true => Self::load(Path::new(name_or_path)),
            false => Self::named(name_or_path),
        }
    }

    /// A mixture that Timbre brings, by name.
    pub fn named(name: &str) -> Result<Self> {
        match EMBEDDED.iter().find(|(known, _)| *known == name) {
            Some((_, text)) => Self::parse(text, name),
            None => Err(Error::UnknownMixture {
                name: name.to_string(),
                known: EMBEDDED.map(|(name, _)| name).join(", "),
            }),
        }
    }

    /// Reads a mixture file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|source| Error::ReadMixture {
            path: path.to_path_buf(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Parses a mixture; `file` is what errors call it.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        // The parser's message gives the line and shows it.
        toml::from_str(text).map_err(|error| Error::BadMixture {
            file: file.to_string(),
            problem: error.to_string().trim_end().to_string(),
        })
    }
}

fn fraction<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let found = f64::deserialize(deserializer)?;
    match (0.0..1.0).contains(&found) {
        true => Ok(found),
        false => Err(D::Error::custom(format!(
            "{found} is not a fraction: give a number from 0 to below 1"
        ))),
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let found = f64::deserialize(deserializer)?;
    match found > 0.0 && found.is_finite() {
        true => Ok(found),
        false => Err(D::Error::custom(format!(
            "weight {found} must be above 0; leave the component out instead"
        ))),
    }
}

fn at_least_one_codebook<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    match usize::deserialize(deserializer)? {
        0 => Err(D::Error::custom("codebooks must be at least 1")),
        found => Ok(found),
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Component>, D::Error> {
    let components = Vec::deserialize(deserializer)?;
    match components.is_empty() {
        true => Err(D::Error::custom(
            "a mixture needs at least one [[components]]",
        )),
        false => Ok(components),
    }
}

/// A path below the data folder, so that a mixture means the same wherever the data lie.
fn relative_folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let found = String::deserialize(deserializer)?;
    let mut parts = Path::new(&found).components();
    match !found.is_empty() && parts.all(|part| matches!(part, PathPart::Normal(_))) {
        true => Ok(found),
        false => Err(D::Error::custom(format!(
            "source {found:?} is not a folder below the data folder, like \"yodas2/en\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_embedded_parses_and_is_called_what_it_is() {
        let mut files = 0;
        for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            if path.extension().is_some_and(|e| e == "toml") && stem != "Cargo" {
                let mixture = Mixture::named(stem).unwrap();
                assert_eq!(mixture, Mixture::load(&path).unwrap());
                assert_eq!(mixture.name, stem);
                files += 1;
            }
        }
        assert_eq!(files, EMBEDDED.len());
    }

    #[test]
    fn mixtures_survive_toml() {
        let mixture = Mixture::named("quickstart").unwrap();
        let text = toml::to_string(&mixture).unwrap();
        assert_eq!(Mixture::parse(&text, "again").unwrap(), mixture);
    }

    #[test]
    fn errors_name_file_and_line() {
        let good = "name = \"a\"\nvalidation_fraction = 0.1\n[[components]]\nsource = \"x/y\"\nview = \"both\"\ncodebooks = 8\nweight = 1\n";
        Mixture::parse(good, "good.toml").unwrap();
        for (from, to, line, expected) in [
            ("weight = 1", "weight = 0", 7, "above 0"),
            ("weight", "wieght", 7, "unknown field"),
            ("0.1", "1.0", 2, "not a fraction"),
            ("= 8", "= 0", 6, "at least 1"),
            ("both", "bath", 5, "text-first"),
            ("x/y", "../y", 4, "below the data folder"),
            ("x/y", "/y", 4, "below the data folder"),
            ("name", "nome", 1, "unknown field"),
        ] {
            let error = Mixture::parse(&good.replacen(from, to, 1), "bad.toml")
                .unwrap_err()
                .to_string();
            let place = format!("line {line},");
            assert!(
                error.contains("bad.toml") && error.contains(&place) && error.contains(expected),
                "{error}"
            );
        }
        let none = Mixture::parse(
            "name = \"a\"\nvalidation_fraction = 0.1\ncomponents = []\n",
            "n",
        )
        .unwrap_err();
        assert!(none.to_string().contains("at least one"), "{none}");
        let unknown = Mixture::named("slowstart").unwrap_err().to_string();
        assert!(
            unknown.contains("slowstart") && unknown.contains("quickstart"),
            "{unknown}"
        );
    }
}
