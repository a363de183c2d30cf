//! A step whose loss or gradients are not finite: what it takes to see it again, and a look at where it begins.

use std::fmt;
use std::fs;
use std::path::Path;

use burn::module::AutodiffModule;
use burn::tensor::backend::AutodiffBackend;
use kernels::{Kernels, OptimizerKernels};
use mixes::Sequence;
use serde::{Deserialize, Serialize};
use shards::Vocab;

use super::batch::Objective;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::model::{Activations, Graph, Setup, gradient_norms};

const BATCH: &str = "batch.json";

/// The sequences of a step.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Dump {
    tokens: Vec<Vec<u32>>,
    segment_ids: Vec<Vec<u32>>,
    loss_weights: Vec<Vec<f32>>,
}

/// Puts the sequences of a step beside the state before it.
pub(super) fn write_batch(dir: &Path, sequences: &[Sequence]) -> Result<()> {
    let dump = Dump {
        tokens: sequences.iter().map(|s| s.tokens.clone()).collect(),
        segment_ids: sequences.iter().map(|s| s.segment_ids.clone()).collect(),
        loss_weights: sequences.iter().map(|s| s.loss_weights.clone()).collect(),
    };
    let path = dir.join(BATCH);
    let json = serde_json::to_vec(&dump).expect("plain data serialises");
    shards::write_atomic(&path, &json).map_err(Error::io("write", &path))
}

fn read_batch(dir: &Path) -> Result<Vec<Sequence>> {
    let path = dir.join(BATCH);
    let json = fs::read(&path).map_err(Error::io("read", &path))?;
    let dump: Dump = serde_json::from_slice(&json).map_err(|e| Error::Damaged {
        path,
        message: e.to_string(),
    })?;
    let parts = dump.segment_ids.into_iter().zip(dump.loss_weights);
    let sequence = |(tokens, (segment_ids, loss_weights))| Sequence {
        tokens,
        segment_ids,
        loss_weights,
    };
    Ok(dump.tokens.into_iter().zip(parts).map(sequence).collect())
}

/// What a step comes to, sequence by sequence.
#[derive(Debug, Serialize)]
pub struct Replay {
    /// The step.
    pub step: u64,
    /// Its sequences.
    pub sequences: Vec<SequenceReplay>,
}

/// One sequence of a replayed step.
#[derive(Debug, Serialize)]
pub struct SequenceReplay {
    /// The objective of this sequence alone.
    pub objective: f64,
    /// Root mean square after the embedding and after each layer.
    pub hidden_rms: Vec<f64>,
    /// Root mean square of the logits.
    pub logit_rms: f64,
    /// Parameters whose gradient has a value that is not finite.
    pub bad_gradients: Vec<String>,
    /// The largest norm of a finite gradient, and whose it is.
    pub largest_gradient: Option<(String, f64)>,
}

/// Repeats the step that a folder in `RUN/diverged` was written for, on sequence after sequence.
///
/// # Errors
/// A folder that is not one of these, or is damaged.
pub fn replay<B>(device: &B::Device, dir: &Path) -> Result<Replay>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    let checkpoint = Checkpoint::open(dir)?.verified()?;
    let sequences = read_batch(dir)?;
    let plan = &checkpoint.state.plan;
    let model = checkpoint.load_model::<B>(device)?;
    let objective = Objective::new(&plan.loss.weights, Vocab::load(dir)?.layout())?;
    let setup = |z| Setup::<B>::new(&plan.model, plan.seq_len, plan.precision, z, device);
    let setup = setup(plan.loss.z_loss_weight);
    let mut replay = Replay {
        step: checkpoint.state.step + 1,
        sequences: Vec::new(),
    };
    for sequence in sequences.chunks(1) {
        let batch = objective.batch(sequence, objective.total(sequence), device)?;
        let Activations { hidden_rms } = model
            .valid()
            .activations(&batch.clone().inner(), &setup.inner());
        let out = model.backward(model.forward(&batch, &setup, Graph::Whole));
        let norms = gradient_norms(&model, &out.grads);
        let (finite, bad): (Vec<_>, Vec<_>) =
            norms.into_iter().partition(|(_, norm)| norm.is_finite());
        let logits = super::step::to_vec(out.output.logit_square);
        let mean = logits.iter().map(|&x| f64::from(x)).sum::<f64>() / logits.len() as f64;
        replay.sequences.push(SequenceReplay {
            objective: super::step::to_vec(out.output.loss)[0].into(),
            hidden_rms,
            logit_rms: mean.sqrt(),
            bad_gradients: bad.into_iter().map(|(name, _)| name).collect(),
            largest_gradient: finite.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)),
        });
    }
    Ok(replay)
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "step {}", self.step)?;
        for (number, sequence) in self.sequences.iter().enumerate() {
            writeln!(
                f,
                "sequence {number}: objective {:.4}, logits {:.3e} (root mean square)",
                sequence.objective, sequence.logit_rms
            )?;
            let rms: Vec<String> = sequence
                .hidden_rms
                .iter()
                .map(|x| format!("{x:.2e}"))
                .collect();
            writeln!(f, "  after embedding and layers: {}", rms.join(" "))?;
            if let Some((name, norm)) = &sequence.largest_gradient {
                writeln!(f, "  largest finite gradient: {norm:.3e} of {name}")?;
            }
            if !sequence.bad_gradients.is_empty() {
                writeln!(
                    f,
                    "  not finite: gradients of {}",
                    sequence.bad_gradients.join(", ")
                )?;
            }
        }
        Ok(())
    }
}
