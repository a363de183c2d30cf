//! From a name with arguments to components and numbers: reads a file, brings in the mixtures that it names.

use super::catalog::{self, Call};
use super::expression::{Parameters, evaluate, list, with};
use super::file::{Amount, ComponentEntry, MixFile, Origin};
use super::parameters::{bind, declared};
use super::stages::{self, Share};
use super::union::Union;
use super::{Component, Mixture};
use crate::error::{Error, Result};
use shards::View;
use std::ops::Range;
use std::path::PathBuf;
use toml::Spanned;

/// Codebooks of a component that does not say how many.
const CODEBOOKS: usize = 8;
/// Weights below this are rounding errors of an expression that is 0.
const ZERO: f64 = 1e-12;

/// Where a mixture is named: in another one, or nowhere.
#[derive(Default)]
pub(super) struct Surroundings {
    pub parameters: Parameters,
    folder: Option<PathBuf>,
    /// The mixtures that led here, outermost first.
    within: Vec<String>,
}

/// What errors call a mixture that is given as its text.
const INLINE: &str = "mixture";

/// Opens a mixture by name or path, with arguments, or by its text.
pub(super) fn open(call: &str, around: &Surroundings) -> Result<Mixture> {
    if call.contains('\n') {
        let origin = Origin::new(INLINE, call, around.folder.as_deref());
        return resolve(&origin, &[], around);
    }
    let refuse = |problem: String| Error::BadCall {
        call: call.into(),
        problem,
    };
    let parsed = Call::parse(call).map_err(refuse)?;
    let mut arguments = Vec::new();
    for (name, expression) in &parsed.arguments {
        let value = evaluate(expression, &around.parameters).map_err(refuse)?;
        arguments.push((*name, value));
    }
    let origin = catalog::read(parsed.target, around.folder.as_deref())?;
    if around.within.contains(&origin.identity) {
        return Err(refuse("it is part of itself; take it out".into()));
    }
    resolve(&origin, &arguments, around)
}

/// Resolves what `origin` holds.
pub(super) fn resolve(
    origin: &Origin,
    arguments: &[(Option<&str>, f64)],
    around: &Surroundings,
) -> Result<Mixture> {
    let file = origin.parse()?;
    let declared = declared(origin, &file)?;
    let parameters =
        bind(&origin.label, &declared, arguments).map_err(|problem| Error::BadCall {
            call: origin.label.clone(),
            problem,
        })?;
    let mut within = around.within.clone();
    within.push(origin.identity.clone());
    let inner = Surroundings {
        parameters,
        folder: origin.folder.clone(),
        within,
    };
    let resolver = Resolver {
        origin,
        inner,
        union: Union::default(),
    };
    resolver.mixture(&file)
}

/// A line of `components`: its corpus, or the corpora of its mix, by number and share.
pub(super) struct Entry {
    pub name: String,
    pub parts: Vec<(usize, f64)>,
    /// Its weight, where the file has no stages.
    pub weight: Option<f64>,
    pub at: Range<usize>,
}

/// Resolves one file.
pub(super) struct Resolver<'a> {
    pub origin: &'a Origin,
    /// What the names of mixes and expressions in it mean.
    pub inner: Surroundings,
    pub union: Union,
}

impl Resolver<'_> {
    fn mixture(mut self, file: &MixFile) -> Result<Mixture> {
        let fraction = &file.validation_fraction;
        if !(0.0..1.0).contains(fraction.get_ref()) {
            let found = fraction.get_ref();
            let problem = format!("{found} is not a fraction: give a number from 0 to below 1");
            return Err(self.problem(fraction.span(), problem));
        }
        let block_size = match &file.block_size {
            Some(found) if *found.get_ref() == 0 => {
                return Err(self.problem(found.span(), "block_size must be at least 1"));
            }
            found => found.as_ref().map_or(Mixture::BLOCK_SIZE, |f| *f.get_ref()),
        };
        let entries = self.entries(file)?;
        let drafts = self.drafts(file, &entries)?;
        let (components, stages) = stages::finish(self.origin, self.union, drafts, block_size)?;
        let parameters = &self.inner.parameters;
        Ok(Mixture {
            name: match parameters.is_empty() {
                true => file.name.clone(),
                false => format!("{}({})", file.name, list(parameters)),
            },
            validation_fraction: *fraction.get_ref(),
            permutation: file.permutation,
            stop: file.stop,
            block_size,
            packing: file.packing,
            components,
            stages,
        })
    }

    fn entries(&mut self, file: &MixFile) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for found in &file.components {
            let entry = self.entry(found, !file.stages.is_empty())?;
            if let Some(first) = entries.iter().find(|known| known.name == entry.name) {
                let (name, line) = (&entry.name, self.origin.line(&first.at));
                let problem = format!(
                    "component {name:?} is named twice, first in line {line}; remove one, or give it another `name`"
                );
                return Err(self.problem(entry.at, problem));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn entry(&mut self, found: &Spanned<ComponentEntry>, staged: bool) -> Result<Entry> {
        let (entry, at) = (found.get_ref(), found.span());
        let (name, parts) = match (&entry.source, &entry.mix) {
            (Some(_), None) => {
                let component = self.component(entry, at.clone())?;
                let name = component.name.clone();
                let number = self.union.name(component, at.clone()).map_err(|first| {
                    let line = self.origin.line(&first);
                    let problem = format!(
                        "component {name:?} is named twice: line {line} has the same source, view and codebooks; remove one"
                    );
                    self.problem(at.clone(), problem)
                })?;
                (name, vec![(number, 1.0)])
            }
            (None, Some(mix)) => {
                if entry.view.is_some() || entry.codebooks.is_some() {
                    let problem = "view and codebooks are those of the mix; remove them";
                    return Err(self.problem(at, problem));
                }
                let name = entry.name.as_ref().unwrap_or(mix.get_ref());
                (name.clone(), self.bring(mix)?)
            }
            _ => {
                let problem = "a component needs either `source` or `mix`";
                return Err(self.problem(at, problem));
            }
        };
        let weight = match (&entry.weight, staged) {
            (Some(weight), false) => Some(self.weight(weight, &name)?),
            (None, true) => None,
            (None, false) => {
                return Err(self.problem(at, format!("component {name:?} needs a `weight`")));
            }
            (Some(weight), true) => {
                let problem = "the [[stages]] say the weights; remove this one";
                return Err(self.problem(weight.span(), problem));
            }
        };
        Ok(Entry {
            name,
            parts,
            weight,
            at,
        })
    }

    fn component(&self, entry: &ComponentEntry, at: Range<usize>) -> Result<Component> {
        let sources = entry.source.as_ref().map(|s| s.get_ref().0.clone());
        let sources = sources.unwrap_or_default();
        let Some(view) = &entry.view else {
            return Err(self.problem(at, format!("source {:?} needs a `view`", sources[0])));
        };
        let semantic = *view.get_ref() == View::Semantic;
        let codebooks = match &entry.codebooks {
            None if semantic => 1,
            None => CODEBOOKS,
            Some(found) => match *found.get_ref() {
                0 => return Err(self.problem(found.span(), "codebooks must be at least 1")),
                2.. if semantic => {
                    let problem = "view semantic has codebook 0 only: leave codebooks out";
                    return Err(self.problem(found.span(), problem));
                }
                found => found,
            },
        };
        let name = match (&entry.name, sources.as_slice()) {
            (Some(name), _) => name.clone(),
            (None, [source]) => source.clone(),
            _ => return Err(self.problem(at, "a component of several sources needs a `name`")),
        };
        Ok(Component {
            name,
            sources,
            view: *view.get_ref(),
            codebooks,
        })
    }

    /// The components of another mixture, with their shares of it.
    pub(super) fn bring(&mut self, call: &Spanned<String>) -> Result<Vec<(usize, f64)>> {
        let problem = |problem| self.origin.problem(call.span(), problem);
        let mixture = open(call.get_ref(), &self.inner).map_err(|e| problem(e.to_string()))?;
        let [stage] = mixture.stages.as_slice() else {
            return Err(problem(format!(
                "mix {:?} has stages of its own; only one whose weights stay can be part of another",
                mixture.name
            )));
        };
        let components = mixture.components.into_iter().zip(&stage.weights);
        Ok(components
            .map(|(component, &weight)| (self.union.bring(component), weight))
            .collect())
    }

    /// The weight of `of`: above 0, or an expression that may be 0, which leaves the component out.
    pub(super) fn weight(&self, amount: &Spanned<Amount>, of: &str) -> Result<f64> {
        let value = self.value(amount)?;
        let problem = match amount.get_ref() {
            Amount::Number(_) if value > 0.0 => return Ok(value),
            Amount::Expression(_) if value.abs() < ZERO => return Ok(0.0),
            Amount::Expression(_) if value > 0.0 => return Ok(value),
            Amount::Number(_) => {
                format!("weight {value} of {of:?} must be above 0; leave the component out instead")
            }
            Amount::Expression(text) => {
                let with = with(&self.inner.parameters);
                format!("weight {text:?} of {of:?} is {value}{with}; it must not be below 0")
            }
        };
        Err(self.problem(amount.span(), problem))
    }

    pub(super) fn value(&self, amount: &Spanned<Amount>) -> Result<f64> {
        let value = amount.get_ref().value(&self.inner.parameters);
        value.map_err(|problem| self.problem(amount.span(), problem))
    }

    pub(super) fn problem(&self, at: Range<usize>, problem: impl Into<String>) -> Error {
        self.origin.problem(at, problem)
    }
}

impl Entry {
    /// Its corpora with this weight in all.
    pub(super) fn shares(&self, weight: f64, at: Range<usize>) -> impl Iterator<Item = Share> {
        let parts = self.parts.iter();
        parts.map(move |&(component, share)| Share {
            component,
            weight: weight * share,
            at: at.clone(),
        })
    }
}
