//! From an experiment, a variant of it and overrides, to a checked [`Plan`].

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::check::check;
use crate::computed::Computed;
use crate::document::{Document, Source, at_path, merge};
use crate::error::suggestion;
use crate::experiment::{Experiment, load};
use crate::variant::{Variant, named};
use crate::{Error, ModelConfig, Plan, Result, Start, Vocabulary};

/// Keys of an experiment's file that are none of its plan.
pub(crate) const FILE_KEYS: [&str; 9] = [
    "base",
    "what",
    "vocab",
    "tokens",
    "epochs",
    "epoch_tokens",
    "start",
    "sweep",
    "variants",
];
/// How long a run is: in steps, in tokens, or in epochs of a known number of tokens.
const LENGTHS: [&[&str]; 3] = [&["steps"], &["tokens"], &["epochs", "epoch_tokens"]];

/// A variant of an experiment, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// What it is about, in a few words.
    pub what: String,
    /// Name of the model's size, if it is one of the recipe's.
    pub size: Option<String>,
    /// The vocabulary, if it is one of the recipe's.
    pub vocab: Option<Vocabulary>,
    /// What it begins with.
    pub start: Start,
    /// How often the data are seen, where the run's length is given so.
    pub epochs: Option<f64>,
    /// All the rest.
    pub plan: Plan,
}

/// The plan of an experiment's first variant, with `key=value` overrides applied.
///
/// # Errors
/// As [`Experiment::resolve`]; and runs that begin with a checkpoint, which a plan alone does not say.
pub fn resolve(name_or_path: &str, overrides: &[String]) -> Result<Plan> {
    let Resolved { start, plan, .. } = load(name_or_path)?.resolve(&[], overrides)?;
    let program = start.program();
    let (run, step) = match start {
        Start::Scratch | Start::WarmStart { .. } => return Ok(plan),
        Start::Anneal { run, step } | Start::FineTune { run, step } => (run, step),
    };
    Err(Error::Continues {
        name: plan.name,
        run,
        step,
        program,
    })
}

/// Keys of the file besides those of the plan.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileKeys {
    what: Option<String>,
    vocab: Option<Vocabulary>,
    pub tokens: Option<Spanned<f64>>,
    pub epochs: Option<Spanned<f64>>,
    pub epoch_tokens: Option<Spanned<f64>>,
    #[serde(default)]
    start: Start,
}

/// The plan of a variant, with overrides over all that the files say.
pub(crate) fn resolve_variant(
    experiment: &Experiment,
    variant: &Variant,
    overrides: &[String],
) -> Result<Resolved> {
    let set: Vec<_> = overrides.iter().map(|o| set(o)).collect::<Result<_>>()?;
    let document = Document::new(experiment.sources.iter().chain(&set));
    let own_file = document.own_file();
    let mut table = chosen(&document, experiment, variant)?;

    let file = FILE_KEYS.iter().filter_map(|key| table.remove_entry(*key));
    let file: FileKeys = document.read(file.collect(), own_file)?;
    let size = size(&document, &table)?;
    let computed = Computed::new(&document, &table, &file)?;
    let table = computed.put(table);

    let mut plan: Plan = document.read(table.clone(), own_file)?;
    let place = |key: &str| {
        let path = key.split(' ').next().unwrap_or_default();
        let at = at_path(&table, path).map_or(own_file, |value| value.span().start);
        document.place(at)
    };
    check(&plan, &place)?;
    mixes::Mixture::open(&plan.mix).map_err(|source| Error::Mixture {
        place: place("mix"),
        source: Box::new(source),
    })?;
    if let (None, Start::WarmStart { folder, .. }) = (&plan.init_from, &file.start) {
        plan.init_from = Some(folder.clone());
    }
    Ok(Resolved {
        what: file.what.unwrap_or_default(),
        size,
        vocab: file.vocab,
        start: file.start,
        epochs: file.epochs.map(Spanned::into_inner),
        plan,
    })
}

/// The tables of the sources, the variant's changes between files and overrides.
fn chosen<'d>(
    document: &'d Document,
    experiment: &Experiment,
    variant: &Variant,
) -> Result<DeTable<'d>> {
    let mut tables = document.tables()?;
    let overrides = tables.split_off(experiment.sources.len());
    let mut table = DeTable::new();
    for source in tables {
        lay(&mut table, source);
    }
    for key in ["base", "sweep"] {
        table.remove(key);
    }
    let variants = table.remove("variants").map(Spanned::into_inner);
    for (axis, value) in &variant.choices {
        let path = variants.as_ref().and_then(DeValue::as_table);
        let path = path.and_then(|variants| variants.get(axis.as_str())?.get_ref().as_table());
        let changes = path.and_then(|values| values.get(value.as_str())?.get_ref().as_table());
        lay(&mut table, changes.cloned().unwrap_or_default());
        if let Some(DeValue::String(name)) = table.get_mut("name").map(Spanned::get_mut) {
            name.to_mut().extend(["-", &named(axis, value)]);
        }
    }
    for given in overrides {
        lay(&mut table, given);
    }
    Ok(table)
}

/// The model's `size`, if it has one.
fn size(document: &Document, table: &DeTable<'_>) -> Result<Option<String>> {
    let Some(found) = at_path(table, "model.size") else {
        return Ok(None);
    };
    // what is no string is refused with the plan's other values
    let size = found.get_ref().as_str();
    match size.filter(|size| ModelConfig::named(size).is_none()) {
        Some(size) => {
            let known: Vec<_> = ModelConfig::sizes().collect();
            let hint = suggestion(size, &known);
            let message = format!("no model of size `{size}`; {hint}");
            Err(document.problem(found.span().start, &message))
        }
        None => Ok(size.map(String::from)),
    }
}

/// Lays `above` over `table`. A run has one length: one that is given replaces those below.
pub(crate) fn lay<'a>(table: &mut DeTable<'a>, above: DeTable<'a>) {
    let given = |group: &&[&str]| group.iter().any(|key| above.contains_key(*key));
    if let Some(given) = LENGTHS.iter().find(|group| given(group)) {
        for key in LENGTHS
            .iter()
            .filter(|group| *group != given)
            .copied()
            .flatten()
        {
            table.remove(*key);
        }
    }
    merge(table, above);
}

/// A `--set` as a source. A value that is not TOML is taken as a string.
fn set(given: &str) -> Result<Source> {
    let fail = |reason: &str| Error::Override {
        given: given.into(),
        reason: reason.into(),
    };
    let (key, value) = given.split_once('=').ok_or_else(|| fail("has no `=`"))?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || key.ends_with('.') {
        return Err(fail("names no key"));
    }
    let quoted = toml::Value::String(value.into()).to_string();
    let texts = [value, &quoted].map(|value| format!("{key} = {value}"));
    let text = texts.into_iter().find(|text| DeTable::parse(text).is_ok());
    Ok(Source {
        label: format!("--set {given}"),
        text: text.ok_or_else(|| fail(&format!("`{key}` is not a key")))?,
        lines: false,
    })
}

#[cfg(test)]
mod tests;
