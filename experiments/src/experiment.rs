//! An experiment's file and those it is based on, and the variants it has.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use crate::catalog::built_in;
use crate::document::{Document, Source, merge};
use crate::error::{Error, Result, suggestion};
use crate::variant::{Axis, Variant, named, variants};
use crate::{Plan, resolve};

/// Longest chain of bases, so that a circle ends.
const MAX_BASES: usize = 8;

/// An experiment: a file, which may have variants. It is looked at, and [resolved](Experiment::resolve) to plans.
#[derive(Clone, Debug)]
pub struct Experiment {
    name: String,
    what: String,
    /// The file and its bases, the lowest first.
    pub(crate) sources: Vec<Source>,
    axes: Vec<Axis>,
    variants: Vec<Variant>,
    sweep: Option<Sweep>,
}

/// A scaling study: the grid of models that the crate `isoflop` derives for each budget.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sweep {
    /// Forward FLOPs of a run.
    pub budgets: Vec<f64>,
}

/// The experiment of a name, such as `exp2.1`, or of a `.toml` file.
///
/// # Errors
/// Unknown experiments, unreadable files, what is not TOML, and `variants` that are none.
pub fn load(name_or_path: &str) -> Result<Experiment> {
    let sources = with_bases(read(name_or_path, None)?)?;
    experiment(name_or_path, sources)
}

/// The experiment that takes up a run again: the built-in file `above`, without its base, laid over the run's plan. `label` is
/// what errors call the plan. What the run began with is not taken over.
///
/// # Errors
/// None, unless the built-in file is wrong.
pub fn over(plan: &Plan, label: &str, above: &str) -> Result<Experiment> {
    let plan = Plan {
        init_from: None,
        anneal: None,
        lora: None,
        ..plan.clone()
    };
    let below = Source {
        label: label.into(),
        text: toml::to_string(&plan).expect("a plan has a TOML form"),
        lines: true,
    };
    experiment(above, vec![below, read(above, None)?])
}

/// A file's source, behind those that it is based on.
fn with_bases(own: Source) -> Result<Vec<Source>> {
    let mut sources = vec![own];
    while let Some(base) = base(&sources[0])? {
        if sources.len() > MAX_BASES {
            return Err(Error::Parse {
                place: sources[0].label.clone(),
                message: format!("its base `{base}` is based on it; take one of the two away"),
            });
        }
        let folder = Path::new(&sources[0].label).parent().map(PathBuf::from);
        sources.insert(0, read(&base, folder)?);
    }
    Ok(sources)
}

fn experiment(name: &str, sources: Vec<Source>) -> Result<Experiment> {
    let document = Document::new(&sources);
    let mut table = merged(&document)?;
    let text = |key: &str| Some(table.get(key)?.get_ref().as_str()?.to_string());
    // what is missing, or no string, is refused with the plan's other values
    let name = text("name").unwrap_or_else(|| name.into());
    let what = text("what").unwrap_or_default();
    let sweep = table.remove("sweep");
    let sweep = sweep.map(|sweep| match sweep.get_ref() {
        DeValue::Table(sweep_table) => document.read(sweep_table.clone(), sweep.span().start),
        _ => Err(document.problem(
            sweep.span().start,
            "sweep is a table, such as { budgets = [1e18] }",
        )),
    });
    let (axes, variants) = match table.remove("variants") {
        Some(found) => variants(&document, found)?,
        None => (Vec::new(), vec![Variant::only()]),
    };
    Ok(Experiment {
        name,
        what,
        sweep: sweep.transpose()?,
        sources,
        axes,
        variants,
    })
}

impl Experiment {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is about, in a few words. A variant may have words of its own.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// What its variants differ in, in the order of the file.
    pub fn axes(&self) -> &[Axis] {
        &self.axes
    }

    /// All its variants; one without choices if the file has none. The first is the default.
    pub fn variants(&self) -> &[Variant] {
        &self.variants
    }

    /// The budgets of a scaling study, if it is one.
    pub fn sweep(&self) -> Option<&Sweep> {
        self.sweep.as_ref()
    }

    /// The variants that all of `selection` is true of: `size=600m`, or a variant's name. All of them, if it is empty.
    ///
    /// # Errors
    /// [`Error::Variant`] for names and choices that there are not, and if nothing is left.
    pub fn select(&self, selection: &[String]) -> Result<Vec<&Variant>> {
        let mut left: Vec<_> = self.variants.iter().collect();
        for given in selection {
            match given.split_once('=') {
                Some((axis, value)) => {
                    let value = self.value(axis.trim(), value.trim())?;
                    left.retain(|variant| variant.choices.contains(&value));
                }
                None => {
                    let wanted = self.variant(given)?;
                    left.retain(|variant| *variant == wanted);
                }
            }
        }
        match left.is_empty() {
            true => Err(self.lacks(
                &format!("variant with {}", selection.join(" and ")),
                "these exclude each other: leave one out".into(),
            )),
            false => Ok(left),
        }
    }

    /// The plan of the first variant that all of `selection` is true of, with `key=value` overrides.
    ///
    /// # Errors
    /// [`Error`] for unknown variants, unknown or missing keys, overrides that are not `key=value`, mixtures that there are not,
    /// and values no run could use.
    pub fn resolve(&self, selection: &[String], overrides: &[String]) -> Result<resolve::Resolved> {
        resolve::resolve_variant(self, self.select(selection)?[0], overrides)
    }

    fn variant(&self, given: &str) -> Result<&Variant> {
        let names: Vec<_> = self.variants.iter().map(|v| v.name.as_str()).collect();
        let found = self.variants.iter().find(|variant| variant.name == given);
        found.ok_or_else(|| {
            let hint = match self.axes.is_empty() {
                true => "it has only one".into(),
                false => suggestion(given, &names),
            };
            self.lacks(&format!("variant `{given}`"), hint)
        })
    }

    fn value(&self, axis: &str, given: &str) -> Result<(String, String)> {
        let Some(found) = self.axes.iter().find(|known| known.name == axis) else {
            let known: Vec<_> = self.axes.iter().map(|axis| &axis.name).collect();
            let hint = match known.is_empty() {
                true => "it has one variant".into(),
                false => suggestion(axis, &known),
            };
            return Err(self.lacks(&format!("choice of `{axis}`"), hint));
        };
        let value = found
            .values
            .iter()
            .find(|value| *value == given || named(axis, value) == given);
        match value {
            Some(value) => Ok((axis.into(), value.clone())),
            None => Err(self.lacks(
                &format!("{axis} `{given}`"),
                suggestion(given, &found.values),
            )),
        }
    }

    fn lacks(&self, wanted: &str, hint: String) -> Error {
        Error::Variant {
            experiment: self.name.clone(),
            wanted: wanted.into(),
            hint,
        }
    }
}

/// The tables of all sources laid over each other, without `base`.
pub(crate) fn merged<'d>(document: &'d Document) -> Result<DeTable<'d>> {
    let mut merged = DeTable::new();
    for table in document.tables()? {
        resolve::lay(&mut merged, table);
    }
    merged.remove("base");
    Ok(merged)
}

fn read(name_or_path: &str, folder: Option<PathBuf>) -> Result<Source> {
    if !name_or_path.ends_with(".toml") {
        return Ok(Source {
            label: format!("{name_or_path}.toml"),
            text: built_in(name_or_path)?.into(),
            lines: true,
        });
    }
    let path = folder.unwrap_or_default().join(name_or_path);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Source {
            label: path.display().to_string(),
            text,
            lines: true,
        }),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// What a file is based on: an experiment's name, `recipe`, or a path relative to it.
fn base(source: &Source) -> Result<Option<String>> {
    let document = Document::new([source]);
    let mut table = DeTable::new();
    for found in document.tables()? {
        merge(&mut table, found);
    }
    let Some(base) = table.remove("base") else {
        return Ok(None);
    };
    match base.get_ref().as_str() {
        Some(base) => Ok(Some(base.into())),
        None => Err(document.problem(
            base.span().start,
            "`base` is not a string, such as \"recipe\"",
        )),
    }
}
