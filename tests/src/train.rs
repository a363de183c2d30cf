//! A training job in a temporary folder: a model and a run small enough to be killed often.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::{TokenizeJob, bin, corpus, run_ok};

const TINY: [&str; 12] = [
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.head_dim=16",
    "seq_len=64",
    "batch_size=2",
    "steps=24",
    "validate_every=6",
    "checkpoint.every_steps=4",
    "checkpoint.keep_last=9",
];

/// Each of them has state of its own.
const STATE: [&str; 3] = [
    "ema_decay=0.9",
    "skip_step.window=4",
    "optimizer.muon.lr=0.01",
];

/// The bundled corpus as shards, and commands that train on them.
pub struct TrainJob {
    files: TokenizeJob,
}

impl TrainJob {
    /// Tokenizes the corpus.
    pub fn new() -> Self {
        let files = TokenizeJob::new();
        let data = files.path("data");
        run_ok(&mut files.command_for(&corpus(), &data.join("quickstart")));
        Self { files }
    }

    /// A path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.files.path(name)
    }

    /// The folder of shards.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// 24 steps of a tiny model into `out`, a checkpoint every 4 and a validation every 6.
    pub fn train(&self, out: &Path) -> Command {
        let mut command = self.plain(out);
        command.args(STATE.iter().flat_map(|set| ["--set", set]));
        command
    }

    /// The same with AdamW alone.
    pub fn plain(&self, out: &Path) -> Command {
        let mut command = bin("pretrain");
        command.arg("quickstart").arg("--data").arg(self.data());
        command.arg("--out").arg(out);
        command.args(TINY.iter().flat_map(|set| ["--set", set]));
        command
    }

    /// The same with `--resume`.
    pub fn resume(&self, out: &Path) -> Command {
        let mut command = self.train(out);
        command.arg("--resume");
        command
    }
}

impl Default for TrainJob {
    fn default() -> Self {
        Self::new()
    }
}

/// The lines of a run's `metrics.jsonl` without what depends on the clock.
pub fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let without_clock = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for key in ["secs", "time"] {
            line.as_object_mut().unwrap().remove(key);
        }
        line
    };
    text.lines().map(without_clock).collect()
}
