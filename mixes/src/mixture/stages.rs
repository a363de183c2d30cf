//! The weights of a mixture over time.

use super::expression::with;
use super::file::{MixFile, Origin, StageEntry};
use super::resolve::{Entry, Resolver};
use super::union::Union;
use super::{Component, Stage, Start};
use crate::apportion::vanishing;
use crate::error::Result;
use std::ops::Range;
use toml::Spanned;

/// Starts are below this, up to which a double is exact.
const MAX_START: f64 = (1u64 << 53) as f64;

/// A weight, not yet normalised, of a component by number.
pub(super) struct Share {
    pub component: usize,
    pub weight: f64,
    /// What says so.
    pub at: Range<usize>,
}

/// A stage whose weights are not yet normalised.
pub(super) struct Draft {
    start: Start,
    shares: Vec<Share>,
    interpolate: bool,
    at: Range<usize>,
}

impl Resolver<'_> {
    /// The stages of a file; without any, the one of the components' weights.
    pub(super) fn drafts(&mut self, file: &MixFile, entries: &[Entry]) -> Result<Vec<Draft>> {
        if file.stages.is_empty() {
            let weighed = entries.iter().map(|e| (e, e.weight.unwrap_or_default()));
            let shares = weighed.flat_map(|(entry, weight)| entry.shares(weight, entry.at.clone()));
            return Ok(vec![Draft {
                start: Start::Sequences(0),
                shares: shares.collect(),
                interpolate: false,
                at: 0..0,
            }]);
        }
        let mut drafts: Vec<Draft> = Vec::new();
        for (number, found) in file.stages.iter().enumerate() {
            let draft = self.draft(found, entries)?;
            self.check_start(drafts.last(), &draft)?;
            if draft.interpolate && number + 1 == file.stages.len() {
                let problem =
                    "the last stage has no next one to interpolate to; remove interpolate";
                return Err(self.problem(draft.at, problem));
            }
            drafts.push(draft);
        }
        let weighed = file
            .stages
            .iter()
            .filter_map(|s| s.get_ref().weights.as_ref());
        let names: Vec<_> = weighed
            .flat_map(|weights| weights.get_ref().keys())
            .collect();
        match entries
            .iter()
            .find(|entry| names.iter().all(|name| *name.get_ref() != entry.name))
        {
            None => Ok(drafts),
            Some(Entry { name, at, .. }) => {
                let problem = format!("no stage gives component {name:?} a weight; remove it");
                Err(self.problem(at.clone(), problem))
            }
        }
    }

    fn draft(&mut self, found: &Spanned<StageEntry>, entries: &[Entry]) -> Result<Draft> {
        let (stage, at) = (found.get_ref(), found.span());
        let start = match (&stage.start_sequences, &stage.start_tokens) {
            (Some(at), None) => Start::Sequences(self.start(at)?),
            (None, Some(at)) => Start::Tokens(self.start(at)?),
            _ => {
                let problem = "a stage needs either `start_sequences` or `start_tokens`";
                return Err(self.problem(at, problem));
            }
        };
        let shares = match (&stage.mix, &stage.weights) {
            (Some(mix), None) => {
                let share = |(component, weight)| Share {
                    component,
                    weight,
                    at: mix.span(),
                };
                self.bring(mix)?.into_iter().map(share).collect()
            }
            (None, Some(weights)) => {
                let mut shares = Vec::new();
                for (name, weight) in weights.get_ref() {
                    let Some(entry) = entries.iter().find(|e| e.name == *name.get_ref()) else {
                        let names: Vec<_> = entries.iter().map(|e| e.name.as_str()).collect();
                        let problem = format!(
                            "there is no component {:?}; known: {}",
                            name.get_ref(),
                            names.join(", ")
                        );
                        return Err(self.problem(name.span(), problem));
                    };
                    let weight = self.weight(weight, name.get_ref())?;
                    shares.extend(entry.shares(weight, name.span()));
                }
                shares
            }
            _ => return Err(self.problem(at, "a stage needs either `mix` or `weights`")),
        };
        Ok(Draft {
            start,
            shares,
            interpolate: stage.interpolate,
            at,
        })
    }

    fn start(&self, amount: &Spanned<super::file::Amount>) -> Result<u64> {
        let value = self.value(amount)?.round();
        match (0.0..MAX_START).contains(&value) {
            true => Ok(value as u64),
            false => {
                let with = with(&self.inner.parameters);
                let problem = format!("a stage cannot start at {value}{with}");
                Err(self.problem(amount.span(), problem))
            }
        }
    }

    /// The first stage starts at 0, each other one behind the one before it.
    fn check_start(&self, before: Option<&Draft>, draft: &Draft) -> Result<()> {
        let problem = match (before.map(|before| before.start), draft.start) {
            (None, Start::Sequences(0) | Start::Tokens(0)) => return Ok(()),
            (None, _) => "the first stage must start at 0".to_string(),
            (Some(Start::Sequences(a)), Start::Sequences(b)) if a < b => return Ok(()),
            (Some(Start::Tokens(a)), Start::Tokens(b)) if a < b => return Ok(()),
            (Some(Start::Sequences(a)), Start::Sequences(b))
            | (Some(Start::Tokens(a)), Start::Tokens(b)) => {
                format!("this stage starts at {b}, and the one before it at {a}; put them in order")
            }
            _ => "all stages must start at sequences, or all at tokens".to_string(),
        };
        Err(self.problem(draft.at.clone(), problem))
    }
}

/// Normalises the weights, leaves out components that never have one, and refuses those that a block has no room for.
pub(super) fn finish(
    origin: &Origin,
    union: Union,
    drafts: Vec<Draft>,
    block_size: u64,
) -> Result<(Vec<Component>, Vec<Stage>)> {
    let mut rows = Vec::new();
    for draft in &drafts {
        let mut row = vec![0.0; union.len()];
        for share in &draft.shares {
            row[share.component] += share.weight;
        }
        let sum: f64 = row.iter().sum();
        if sum <= 0.0 {
            let problem = "all weights are 0: a mixture needs at least one component with a weight";
            return Err(origin.problem(draft.at.clone(), problem));
        }
        row.iter_mut().for_each(|weight| *weight /= sum);
        rows.push(row);
    }
    let components = union.into_components();
    for (draft, row) in drafts.iter().zip(&rows).filter(|(d, _)| !d.interpolate) {
        if let Some((component, problem)) = vanishing(&components, row, block_size) {
            let share = draft.shares.iter().find(|s| s.component == component);
            let at = share.map_or(draft.at.clone(), |share| share.at.clone());
            return Err(origin.problem(at, problem));
        }
    }
    let used: Vec<bool> = (0..components.len())
        .map(|component| rows.iter().any(|row| row[component] > 0.0))
        .collect();
    let components = keep(components, &used);
    let rows: Vec<_> = rows.into_iter().map(|row| keep(row, &used)).collect();
    let stage = |(number, draft): (usize, &Draft)| Stage {
        start: draft.start,
        weights: rows[number].clone(),
        until: draft.interpolate.then(|| rows[number + 1].clone()),
    };
    let stages = drafts.iter().enumerate().map(stage).collect();
    Ok((components, stages))
}

fn keep<T>(items: Vec<T>, used: &[bool]) -> Vec<T> {
    let items = items.into_iter().zip(used);
    items
        .filter(|(_, used)| **used)
        .map(|(item, _)| item)
        .collect()
}
