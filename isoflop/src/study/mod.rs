//! A study's folder: `index.json`, `plans/NAME.toml`, and `runs/NAME/`, a run folder of the trainer.

mod array;
pub mod index;
pub mod plan;
mod run;
mod summary;

pub use index::{Entry, Index};
pub use plan::{Common, recipe};
pub use run::{How, Outcome, State};
pub use summary::render;

use std::fs;
use std::path::{Path, PathBuf};

use experiments::Plan;

use crate::grid::{Candidate, Grid, Rules};
use crate::{Error, Result};

/// The runs of a study and their plans.
#[derive(Clone, Debug)]
pub struct Study {
    dir: PathBuf,
    index: Index,
    /// One for each run of the index, in its order.
    plans: Vec<Plan>,
}

impl Study {
    /// A study of the candidates that grids keep. Nothing is written yet.
    ///
    /// # Errors
    /// Plans that no run could use.
    pub fn new(dir: &Path, grids: &[Grid], common: &Common) -> Result<Self> {
        let rules = grids.first().map(Grid::rules).cloned().unwrap_or_default();
        let kept: Vec<_> = grids.iter().flat_map(Grid::kept).collect();
        let plans = kept
            .iter()
            .map(|candidate| plan::plan(candidate, &rules, common));
        let plans: Vec<_> = plans.collect::<Result<_>>()?;
        let runs = kept.iter().zip(&plans);
        let index = Index {
            convention: rules.convention,
            vocab: rules.vocab,
            seq_len: rules.seq_len,
            budgets: grids.iter().map(|grid| grid.budget).collect(),
            runs: runs.map(|(c, plan)| entry(c, plan, &rules)).collect(),
        };
        Ok(Self {
            dir: dir.into(),
            index,
            plans,
        })
    }

    /// Writes plans and index, or finds them there.
    ///
    /// # Errors
    /// Another study in the folder: one with other plans, or with runs that this one has not. I/O errors.
    pub fn write(&self) -> Result<()> {
        if Index::is_in(&self.dir) {
            self.check_same(&Index::read(&self.dir)?)?;
        }
        let plans = self.dir.join("plans");
        fs::create_dir_all(&plans).map_err(Error::io("create", &plans))?;
        for (entry, plan) in self.index.runs.iter().zip(&self.plans) {
            let path = self.dir.join(&entry.plan);
            let text = text(plan);
            shards::write_atomic(&path, text.as_bytes()).map_err(Error::io("write", &path))?;
        }
        self.index.write(&self.dir)
    }

    /// The runs.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The plan of each run, in the order of the index.
    pub fn plans(&self) -> &[Plan] {
        &self.plans
    }

    /// The number of a run in the index, by its name or its number.
    ///
    /// # Errors
    /// Runs that there are not.
    pub fn find(&self, given: &str) -> Result<usize> {
        let runs = &self.index.runs;
        let by_name = runs.iter().position(|run| run.name == given);
        let number = given.parse().ok().filter(|number| *number < runs.len());
        by_name.or(number).ok_or_else(|| {
            let names: Vec<_> = runs.iter().map(|run| run.name.as_str()).collect();
            Error::NoRun {
                given: given.into(),
                last: runs.len().saturating_sub(1),
                names: names.join(", "),
            }
        })
    }

    fn check_same(&self, there: &Index) -> Result<()> {
        let other = |difference: String| {
            Err(Error::OtherStudy {
                dir: self.dir.clone(),
                difference,
            })
        };
        let of = |index: &Index| (index.convention, index.vocab, index.seq_len);
        if of(there) != of(&self.index) {
            return other("the convention, vocabulary or length of sequences".into());
        }
        // numbers that were read can differ in their last digit from those that were written
        let here = self.index.as_read();
        for old in &there.runs {
            let found = here.runs.iter().position(|new| new == old);
            let Some(found) = found else {
                return other(format!("the run {} is not one of these", old.name));
            };
            let path = self.dir.join(&old.plan);
            let before = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            if before != text(&self.plans[found]) {
                return other(format!("{} says otherwise", path.display()));
            }
        }
        Ok(())
    }
}

fn text(plan: &Plan) -> String {
    toml::to_string(plan).expect("a plan serialises")
}

fn entry(candidate: &Candidate, plan: &Plan, rules: &Rules) -> Entry {
    let name = plan::name(candidate);
    Entry {
        budget: candidate.budget,
        hidden: candidate.hidden,
        layers: candidate.layers,
        params: candidate.params,
        tokens: candidate.tokens,
        steps: candidate.steps,
        batch: candidate.batch,
        lr: plan.optimizer.lr,
        flops: candidate.flops(rules),
        plan: Path::new("plans").join(format!("{name}.toml")),
        run: Path::new("runs").join(&name),
        name,
    }
}

#[cfg(test)]
mod tests;
