//! The flags of a grid: each is a number of the recipe's derivation, and has its value by default.

use std::ops::RangeInclusive;

use anyhow::Result;
use isoflop::Convention;
use isoflop::grid::{Grid, Rules};

/// Numbers of the derivation.
#[derive(clap::Args)]
pub struct GridArgs {
    /// What budgets count; the paper quotes training FLOPs.
    #[arg(long, value_enum, default_value_t)]
    pub convention: Convention,
    /// Rows of the vocabulary [default: those of the data with --run and --slurm, else 144644].
    #[arg(long, value_name = "ROWS")]
    pub vocab: Option<usize>,
    /// Tokens a sequence.
    #[arg(long, value_name = "TOKENS", default_value_t = Rules::default().seq_len)]
    pub seq_len: usize,
    /// Channels of a head, in models that are as wide.
    #[arg(long, value_name = "CHANNELS", default_value_t = Rules::default().head_dim)]
    head_dim: usize,
    /// Steps that the batch is chosen for, before it is rounded up to a power of two.
    #[arg(long, value_name = "STEPS", default_value_t = Rules::default().aimed_steps)]
    aimed_steps: u64,
    /// Smallest batch, in sequences.
    #[arg(long, value_name = "SEQUENCES", default_value_t = Rules::default().min_batch)]
    min_batch: u64,
    /// Models that need so many steps are not run.
    #[arg(long, value_name = "STEPS", default_value_t = Rules::default().max_steps)]
    max_steps: u64,
    /// Learning rate times width, over the root of the batch.
    #[arg(long, value_name = "X", default_value_t = Rules::default().lr_constant)]
    lr_constant: f64,
    /// Largest learning rate; the batch is halved until it is kept.
    #[arg(long, value_name = "LR", default_value_t = Rules::default().max_lr)]
    max_lr: f64,
}

impl GridArgs {
    /// The rules, for a vocabulary of `vocab` rows, or of as many as are stated, or of the recipe's.
    pub fn rules(&self, vocab: Option<usize>) -> Rules {
        let recipe = Rules::default();
        Rules {
            convention: self.convention,
            vocab: vocab.or(self.vocab).unwrap_or(recipe.vocab),
            seq_len: self.seq_len,
            head_dim: self.head_dim,
            aimed_steps: self.aimed_steps,
            min_batch: self.min_batch,
            max_steps: self.max_steps,
            lr_constant: self.lr_constant,
            max_lr: self.max_lr,
            ..recipe
        }
    }

    /// The budgets given, each once, or the recipe's forward FLOPs in the convention that is chosen.
    pub fn budgets(&self, given: &[f64]) -> Result<Vec<f64>> {
        if given.is_empty() {
            let sweep = isoflop::study::recipe()?.sweep().cloned();
            let recipe = sweep.map(|sweep| sweep.budgets).unwrap_or_default();
            let factor = self.convention.per_forward_flop();
            return Ok(recipe.iter().map(|budget| budget * factor).collect());
        }
        Ok(once(given))
    }
}

/// Without repetitions, in their order.
pub fn once<T: PartialEq + Copy>(given: &[T]) -> Vec<T> {
    let mut found = Vec::new();
    for &value in given {
        if !found.contains(&value) {
            found.push(value);
        }
    }
    found
}

/// `MIN..MAX`, both included.
pub fn widths(text: &str) -> Result<RangeInclusive<usize>, String> {
    let ends = text.split_once("..");
    let ends = ends.and_then(|(min, max)| Some((min.parse().ok()?, max.parse().ok()?)));
    match ends {
        Some((min, max)) => Ok(min..=max),
        None => Err("give two widths, such as 64..256".into()),
    }
}

/// Prints grids: as tables, or as JSON, an object for one and a list for several.
pub fn print(grids: &[Grid], json: bool) -> Result<()> {
    if json {
        let text = match grids {
            [grid] => serde_json::to_string_pretty(grid)?,
            grids => serde_json::to_string_pretty(grids)?,
        };
        println!("{text}");
        return Ok(());
    }
    for grid in grids {
        println!("{}\n", isoflop::table::render(grid));
    }
    if grids.len() > 1 {
        println!("{}", isoflop::table::totals(grids));
    }
    Ok(())
}
