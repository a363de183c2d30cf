//! What a run begins with.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// What a run begins with. In a file: `start = { kind = "anneal", run = "exp2.1-135m", step = 190_000 }`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Start {
    /// Weights drawn from the seed, or those of the plan's `init_from`.
    #[default]
    Scratch,
    /// Weights of a text model with rows for audio, made by `convert qwen3x --base BASE --out FOLDER`. The folder is the plan's
    /// `init_from`, unless that is given.
    WarmStart {
        /// Repository or folder of the text model.
        base: String,
        /// Where the extended model is.
        folder: String,
    },
    /// Weights and optimizer state of a checkpoint. The plan's steps come after the checkpoint's, and its schedule begins there.
    Anneal {
        /// Name of the run.
        run: String,
        /// Steps the checkpoint has behind it.
        step: u64,
    },
    /// Weights of a checkpoint; the optimizer begins anew, and the loss is that of responses.
    FineTune {
        /// Name of the run.
        run: String,
        /// Steps the checkpoint has behind it.
        step: u64,
    },
}

impl Start {
    /// The program that runs it.
    pub fn program(&self) -> &'static str {
        match self {
            Self::Scratch | Self::WarmStart { .. } => "pretrain",
            Self::Anneal { .. } => "anneal",
            Self::FineTune { .. } => "finetune",
        }
    }

    /// The checkpoint that is continued, in the folder of all runs.
    pub fn checkpoint(&self, runs: &Path) -> Option<PathBuf> {
        match self {
            Self::Scratch | Self::WarmStart { .. } => None,
            Self::Anneal { run, step } | Self::FineTune { run, step } => {
                let checkpoints = runs.join(run).join("checkpoints");
                Some(checkpoints.join(format!("step-{step}")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_lie_in_their_run() {
        let anneal = Start::Anneal {
            run: "exp1.1-batch512".into(),
            step: 190_000,
        };
        let path = anneal.checkpoint(Path::new("runs"));
        let expected = "runs/exp1.1-batch512/checkpoints/step-190000";
        assert_eq!(path.as_deref(), Some(Path::new(expected)));
        assert_eq!(Start::Scratch.checkpoint(Path::new("runs")), None);
    }
}
