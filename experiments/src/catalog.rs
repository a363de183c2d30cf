//! The experiments that Timbre brings.

use std::fmt;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use serde::Serialize;

use crate::error::{Error, Result, suggestion};
use crate::experiment::load;

/// What other experiments are based on; these are none themselves.
const BASES: [&str; 3] = ["recipe", "anneal", "finetune"];

/// The `*.toml` beside this crate's manifest, by name.
macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../", $name, ".toml")))),*]
    };
}

const FILES: &[(&str, &str)] = &files! {
    "exp1.1"
    "exp1.3"
    "exp1.4"
    "exp1.6"
    "exp1.7"
    "exp2.1"
    "exp2.2"
    "data-mix"
    "yodas-sweep"
    "135m-anneal"
    "unimodal-mix"
    "sft-cvss"
    "quickstart"
    "recipe"
    "anneal"
    "finetune"
};

/// Names of the built-in experiments.
pub fn names() -> Vec<&'static str> {
    let names = FILES.iter().map(|(name, _)| *name);
    names.filter(|name| !BASES.contains(name)).collect()
}

/// The text of a built-in file.
pub(crate) fn built_in(name: &str) -> Result<&'static str> {
    let found = FILES.iter().find(|(known, _)| *known == name);
    let known: Vec<_> = FILES.iter().map(|(known, _)| known).collect();
    found.map(|(_, text)| *text).ok_or_else(|| Error::Unknown {
        name: name.into(),
        hint: suggestion(name, &known),
    })
}

/// An experiment that Timbre brings. Lists have what its variants have, each value once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CatalogEntry {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub what: String,
    /// Sizes of its models, or width and layers of those that are none of the recipe's.
    pub models: Vec<String>,
    /// Tokens of a run.
    pub tokens: Vec<u64>,
    /// Sequences a step.
    pub batch: Vec<usize>,
    /// Peak learning rates.
    pub lr: Vec<f64>,
    /// Mixtures.
    pub mixes: Vec<String>,
    /// Names of its variants; empty if it has one.
    pub variants: Vec<String>,
}

/// The built-in experiments, in the order of the paper.
///
/// # Errors
/// None, unless one of them is wrong.
pub fn catalog() -> Result<Catalog> {
    let entries = names().into_iter().map(entry);
    Ok(Catalog(entries.collect::<Result<_>>()?))
}

fn entry(name: &'static str) -> Result<CatalogEntry> {
    let experiment = load(name)?;
    let mut entry = CatalogEntry {
        name,
        what: experiment.what().into(),
        models: Vec::new(),
        tokens: Vec::new(),
        batch: Vec::new(),
        lr: Vec::new(),
        mixes: Vec::new(),
        variants: Vec::new(),
    };
    for variant in experiment.variants() {
        let resolved = crate::resolve::resolve_variant(&experiment, variant, &[])?;
        let (model, plan) = (&resolved.plan.model, &resolved.plan);
        let shape = || format!("{}x{}", model.hidden_size, model.num_hidden_layers);
        add(
            &mut entry.models,
            resolved.size.clone().unwrap_or_else(shape),
        );
        add(&mut entry.tokens, plan.tokens());
        add(&mut entry.batch, plan.batch_size);
        add(&mut entry.lr, plan.optimizer.lr);
        add(&mut entry.mixes, plan.mix.clone());
        if !variant.name.is_empty() {
            entry.variants.push(variant.name.clone());
        }
    }
    Ok(entry)
}

fn add<T: PartialEq>(list: &mut Vec<T>, value: T) {
    if !list.contains(&value) {
        list.push(value);
    }
}

/// Experiments, which print as a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Catalog(pub Vec<CatalogEntry>);

impl fmt::Display for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED);
        table.set_header([
            "experiment",
            "what",
            "models",
            "tokens",
            "batch",
            "lr",
            "mix",
            "variants",
        ]);
        for entry in &self.0 {
            table.add_row([
                entry.name.to_string(),
                entry.what.clone(),
                brief(&entry.models, String::clone),
                brief(&entry.tokens, |tokens| short(*tokens)),
                brief(&entry.batch, usize::to_string),
                brief(&entry.lr, |lr| format!("{lr:.3e}")),
                brief(&entry.mixes, String::clone),
                match entry.variants.len() {
                    0 => String::new(),
                    more => more.to_string(),
                },
            ]);
        }
        write!(f, "{table}")
    }
}

/// Up to four of a list; of a longer one the first, the last, and how many there are. What prints alike is printed once.
fn brief<T>(list: &[T], print: impl Fn(&T) -> String) -> String {
    let mut printed: Vec<_> = list.iter().map(print).collect();
    printed.dedup();
    match &printed[..] {
        [first, .., last] if printed.len() > 4 => format!("{first} … {last} ({})", printed.len()),
        few => few.join(", "),
    }
}

/// A number of tokens in three digits: `104.9B`.
fn short(tokens: u64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "B"), (1e6, "M"), (1e3, "k")];
    let tokens = tokens as f64;
    match UNITS.iter().find(|(unit, _)| tokens >= *unit) {
        Some((unit, name)) => {
            let number = format!("{:.1}", tokens / unit);
            format!("{}{name}", number.trim_end_matches(".0"))
        }
        None => tokens.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_experiment_and_what_it_varies() {
        let catalog = catalog().unwrap();
        let listed: Vec<_> = catalog.0.iter().map(|entry| entry.name).collect();
        assert_eq!(listed, names());
        assert!(catalog.0.iter().all(|entry| !entry.what.is_empty()));
        let exp = catalog.0.iter().find(|e| e.name == "exp2.1").unwrap();
        assert_eq!(exp.models, ["4b", "1.7b", "600m", "135m"]);
        assert_eq!((exp.batch.as_slice(), exp.lr.len()), (&[512][..], 3));
        let printed = catalog.to_string();
        assert!(!printed.contains("500B, 500B"));
        for expected in [
            "500B",
            "4.243e-3",
            "nemotron(r=0) … nemotron(r=1) (14)",
            "104.9B",
        ] {
            assert!(
                printed.contains(expected),
                "{expected} is not in\n{printed}"
            );
        }
    }

    #[test]
    fn the_readme_has_a_row_for_each() {
        let readme = include_str!("../README.md");
        for name in names() {
            assert!(
                readme.contains(&format!("| [`{name}`]({name}.toml) |")),
                "{name}"
            );
        }
    }

    #[test]
    fn every_file_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|file| file.unwrap().file_name().into_string().ok())
            .filter_map(|file| Some(file.strip_suffix(".toml")?.to_string()))
            .filter(|name| name != "Cargo" && name != "models")
            .collect();
        let mut known: Vec<_> = FILES.iter().map(|(name, _)| name.to_string()).collect();
        files.sort();
        known.sort();
        assert_eq!(files, known);
    }
}
