//! The command line.

use std::path::PathBuf;

use clap::Parser;
use experiments::LoraConfig;
use pretrain::cli::{TrainArgs, Variants, set};

/// Train a checkpoint, or a published model, on the responses to instructions.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  finetune cvss --method 1 --data cvss-1                       the recipe's, from runs/exp2.1-600m
  finetune cvss --method 1 --data cvss-1 --from runs/mine/checkpoints/step-60000 --lora-rank 16
  finetune --data questions.jsonl --from runs/mine/checkpoints/step-60000 --epochs 3
  finetune my-sft.toml --data DIR --from published-model

A line of a .jsonl file:
  {\"instruction\": [{\"audio\": \"clips/1.wav\"}, \"What is said?\"], \"response\": \"Good morning.\"}
It is tokenized first (`tokenize instructions`), into OUT/data."
)]
pub struct Args {
    /// An experiment that fine-tunes, such as cvss, or the path of a TOML file; without one, the plan is that of the checkpoint's
    /// run with the hyper-parameters of fine-tuning.
    pub experiment: Option<String>,
    /// What to begin with: a checkpoint, or a folder of `convert` or Hugging Face [default: the experiment's, below runs].
    #[arg(long, value_name = "FOLDER", required_unless_present = "experiment")]
    pub from: Option<PathBuf>,
    /// A method of the experiment.
    #[arg(long)]
    pub method: Option<String>,
    #[command(flatten)]
    pub variants: Variants,
    /// The mixture [default: the experiment's; of a .jsonl file, its own].
    #[arg(long)]
    pub mix: Option<String>,
    /// How often the data are seen [default: the experiment's, or 1].
    #[arg(long)]
    pub epochs: Option<f64>,
    /// Learning rate [default: the experiment's, or 2e-5].
    #[arg(long)]
    lr: Option<f64>,
    /// Train updates of this rank, and nothing else (LoRA). `convert hf-export` merges them.
    #[arg(long, value_name = "RANK")]
    lora_rank: Option<i64>,
    /// Weight of the updates, over the rank [default: twice the rank].
    #[arg(long, value_name = "ALPHA", requires = "lora_rank")]
    lora_alpha: Option<f64>,
    /// Which matrices have one [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "lora_rank", value_parser = LoraConfig::TARGETS)]
    lora_targets: Option<Vec<String>>,
    /// For a .jsonl file: the codec's name, folder or file, if it is not where it was when the model's data was made.
    #[arg(long)]
    pub codec: Option<String>,
    #[command(flatten)]
    pub train: TrainArgs,
}

impl Args {
    /// The keys that are set.
    pub fn overrides(&self) -> Vec<String> {
        let alpha = self.lora_rank.map(|rank| 2.0 * rank as f64);
        self.train.overrides([
            set("mix", self.mix.clone()),
            set("epochs", self.epochs),
            set("optimizer.lr", self.lr),
            set("lora.rank", self.lora_rank),
            set("lora.alpha", self.lora_alpha.or(alpha)),
            set("lora.targets", self.lora_targets.clone()),
        ])
    }
}
