//! The command line.

use std::path::PathBuf;

use clap::Parser;
use pretrain::cli::{TrainArgs, Variants, set};

/// Go on from a checkpoint, with its optimizer state, on another mixture and a learning rate that falls.
///
/// The rate falls in a straight line from its value at the checkpoint, or --lr, to 0. The run is called RUN-anneal-MIX.
#[derive(Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  anneal --mix cooldown --from runs/exp2.1-600m/checkpoints/step-190000
  anneal --mix cooldown --n-weight 2 --tokens 20e9 --from runs/mine/checkpoints/step-190000
  anneal --mix mls-en --mix mix3-v1 --steps 50000 --lr 3e-3 --from DIR      one after the other, and compared
  anneal --mix cooldown --interpolate --from DIR            from the run's mixture to the cooldown, little by little
  anneal exp1.3 --mix mls-en                                the recipe's, from runs/exp1.1-batch512
  anneal 135m-anneal --all --from runs/mine/checkpoints/step-190000
  anneal compare runs/mine-anneal-*                         what they came to, beside the run itself"
)]
pub struct Args {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub run: RunArgs,
}

#[derive(clap::Subcommand)]
pub enum Command {
    /// Compare anneals of a checkpoint with each other, and with the run that they branched off.
    Compare {
        /// Folders of runs that `anneal` made.
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<PathBuf>,
        /// The page to write.
        #[arg(long, default_value = "anneals.html")]
        out: PathBuf,
        /// Print the numbers as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
pub struct RunArgs {
    /// An experiment that anneals, such as exp1.3; without one, the plan is that of the checkpoint's run.
    pub experiment: Option<String>,
    /// The checkpoint [default: the experiment's, below runs].
    #[arg(
        long,
        value_name = "STEP_FOLDER",
        required_unless_present = "experiment"
    )]
    pub from: Option<PathBuf>,
    /// The mixture: of the experiment, or, without one, any; may be repeated.
    #[arg(long, required_unless_present = "experiment")]
    pub mix: Vec<String>,
    /// How many times the small, clean corpora of the mixture count: its parameter n.
    #[arg(long, value_name = "N", conflicts_with = "experiment")]
    pub n_weight: Option<f64>,
    /// Go from the run's mixture to the new one in a straight line, instead of at once.
    #[arg(long)]
    pub interpolate: bool,
    #[command(flatten)]
    pub variants: Variants,
    /// Steps after the checkpoint.
    #[arg(long, value_name = "N", conflicts_with = "tokens")]
    steps: Option<i64>,
    /// Tokens after the checkpoint [default: the experiment's, or 50e9].
    #[arg(long, value_name = "N")]
    tokens: Option<f64>,
    /// Learning rate to begin with [default: the experiment's, or that of the run at the checkpoint].
    #[arg(long)]
    pub lr: Option<f64>,
    /// Share of it that is reached at the end [default: the experiment's, or 0].
    #[arg(long, value_name = "SHARE")]
    min_lr_ratio: Option<f64>,
    /// Weight decay [default: the experiment's, or 0.05].
    #[arg(long)]
    weight_decay: Option<f64>,
    #[command(flatten)]
    pub train: TrainArgs,
}

impl RunArgs {
    /// The keys that are set.
    pub fn overrides(&self) -> Vec<String> {
        self.train.overrides([
            set("steps", self.steps),
            set("tokens", self.tokens),
            set("optimizer.lr", self.lr),
            set("schedule.min_lr_ratio", self.min_lr_ratio),
            set("optimizer.weight_decay", self.weight_decay),
        ])
    }
}
