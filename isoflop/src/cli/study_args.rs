//! The flags of a study: what is trained on, where, and how.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use isoflop::grid::Grid;
use isoflop::study::{Common, How, State, Study, render};
use pretrain::backend::BackendChoice;
use pretrain::train::open_loader;

use super::grid_args::GridArgs;

/// How candidates are trained.
#[derive(clap::Args)]
pub struct StudyArgs {
    /// Train the candidates, one after the other, into --out; what is finished there is not done again.
    #[arg(long, requires = "out")]
    run: bool,
    /// Train nothing, but write the study and an array job of Slurm into --out, a task for each candidate.
    #[arg(long, requires = "out", conflicts_with = "run")]
    slurm: bool,
    /// Folder, or location in an object store, with a folder of shards for each component of the mixture.
    #[arg(long, default_value = "data")]
    data: String,
    /// Mixture, a built-in one or the path of a TOML file [default: that of exp1.6].
    #[arg(long)]
    mix: Option<String>,
    /// The study's folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Override a key of all plans, such as precision=f32; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where tensors live.
    #[arg(long, value_enum, default_value_t)]
    backend: BackendChoice,
    /// Train one candidate: its name, or its number in index.json, from 0.
    #[arg(long, value_name = "NAME|N", requires = "run")]
    only: Option<String>,
}

impl StudyArgs {
    /// Whether anything but the grid is wanted.
    pub fn is_asked(&self) -> bool {
        self.run || self.slurm
    }

    /// Rows of the vocabulary of the data, if candidates are to be trained on them.
    ///
    /// Refuses another number than was stated: what is trained would not spend the budget.
    pub fn vocabulary(&self, grid: &GridArgs) -> Result<Option<usize>> {
        if !self.is_asked() {
            return Ok(None);
        }
        // any plan with this mixture will do
        let mut set = vec![
            format!("seq_len={}", grid.seq_len),
            format!("model.max_position_embeddings={}", grid.seq_len),
        ];
        set.extend(self.mix()?.map(|mix| format!("mix={mix}")));
        set.extend(self.set.iter().cloned());
        let plan = isoflop::study::recipe()?.resolve(&[], &set)?.plan;
        let loader = open_loader(&plan, &self.data)?;
        let rows = loader.vocab().layout().vocab_size as usize;
        ensure!(
            grid.vocab.is_none_or(|stated| stated == rows),
            "--vocab is {}, but the vocabulary of {} has {rows} rows; leave --vocab out",
            grid.vocab.unwrap_or_default(),
            self.data
        );
        Ok(Some(rows))
    }

    /// The mixture; a path from anywhere, so that plans can be run from anywhere.
    fn mix(&self) -> Result<Option<String>> {
        let Some(mix) = &self.mix else {
            return Ok(None);
        };
        let (target, arguments) = mix.split_at(mix.find('(').unwrap_or(mix.len()));
        match target.ends_with(".toml") {
            true => {
                let path = std::path::absolute(target)?;
                Ok(Some(format!("{}{arguments}", path.display())))
            }
            false => Ok(Some(mix.clone())),
        }
    }

    /// Writes the study and trains its runs, or one of them.
    pub fn run(&self, grids: &[Grid], json: bool) -> Result<()> {
        let Some(out) = &self.out else {
            bail!("--out is missing; give the study's folder");
        };
        let common = Common {
            mix: self.mix()?,
            set: self.set.clone(),
        };
        let study = Study::new(out, grids, &common)?;
        let numbers = match &self.only {
            Some(given) => vec![study.find(given)?],
            None => (0..study.plans().len()).collect(),
        };
        study.write()?;
        let how = How {
            data: self.data.clone(),
            backend: self.backend,
        };
        if self.slurm {
            let path = study.write_array(&trainer()?, &how)?;
            println!("{} tasks: sbatch {}", numbers.len(), path.display());
            return Ok(());
        }
        let outcomes = study.run(&numbers, &how)?;
        match json {
            true => println!("{}", serde_json::to_string_pretty(&outcomes)?),
            false => println!("{}", render(study.index(), &outcomes)),
        }
        let failed: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match &outcome.state {
                State::Failed { error } => Some(format!("{}: {error}", outcome.name)),
                State::Finished { .. } => None,
            })
            .collect();
        match failed.is_empty() {
            true => Ok(()),
            false => bail!(
                "{} of {} runs failed\n{}",
                failed.len(),
                outcomes.len(),
                failed.join("\n")
            ),
        }
    }
}

/// The trainer's program, which is installed beside this one.
fn trainer() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the program's own path is unknown")?;
    let path = own.with_file_name("pretrain");
    ensure!(
        path.is_file(),
        "{} is missing; install `pretrain` beside `isoflop`",
        path.display()
    );
    Ok(path)
}
