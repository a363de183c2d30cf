//! Forward and backward passes of a step, over its micro-batches and over all processes.

use std::time::{Duration, Instant};

use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use kernels::linear_cross_entropy::LossOutput;
use kernels::{Kernels, OptimizerKernels};
use mixes::Sequence;

use super::{Phases, Trainer, to_vec};
use crate::error::Result;
use crate::model::{Batch, Forward, Graph, Qwen3};
use crate::optim::{Reduced, Reduction, Sharded, global_norm};
use crate::world::World;

/// Sums over the micro-batches of a step.
pub(super) struct Pass<B: AutodiffBackend> {
    pub sums: Sums,
    pub nll: Vec<f32>,
    pub grads: Grads<B>,
    pub phases: Phases,
}

/// Sums that are of all processes, when they have been added up.
#[derive(Default)]
pub(super) struct Sums {
    pub objective: f64,
    pub cross_entropy: f64,
    pub logit_square: f64,
    pub tokens: f64,
    /// Of the gradients.
    pub squares: f64,
}

impl Sums {
    fn over(self, world: &World) -> Self {
        let Self {
            objective,
            cross_entropy,
            logit_square,
            tokens,
            squares,
        } = self;
        let mine = [objective, cross_entropy, logit_square, tokens, squares];
        let sums = world.sum(&mine);
        Self {
            objective: sums[0],
            cross_entropy: sums[1],
            logit_square: sums[2],
            tokens: sums[3],
            squares: sums[4],
        }
    }
}

/// Gradients of a step.
pub(super) enum Grads<B: AutodiffBackend> {
    /// Of the only process.
    Whole(GradientsParams),
    /// Of several.
    Reduced(Reduced<B>),
}

impl<B> Trainer<B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    /// The sums over all processes, that of the gradients' squares with them.
    pub(super) fn over_all(&self, sums: Sums, grads: &Grads<B>) -> Sums {
        match (grads, &self.sharded) {
            (Grads::Reduced(reduced), Some(sharded)) => {
                let squares = sharded.squares(reduced);
                Sums { squares, ..sums }.over(sharded.world())
            }
            (Grads::Whole(grads), _) => Sums {
                squares: global_norm(self.model(), grads).powi(2),
                ..sums
            },
            (Grads::Reduced(_), None) => unreachable!("only a sharded update reduces"),
        }
    }

    /// Sum of the weights of a step's tokens, over all processes.
    fn total(&self, sequences: &[Sequence]) -> f64 {
        let total = self.objective.total(sequences);
        match &self.sharded {
            Some(sharded) => sharded.world().sum(&[total])[0],
            None => total,
        }
    }

    /// Forward and backward passes over all micro-batches; their gradients are those of the whole batch, because the tokens'
    /// weights sum to 1 over it. Several processes add them up while the last backward pass goes on.
    pub(super) fn pass(&self, sequences: &[Sequence]) -> Result<Pass<B>> {
        let total = self.total(sequences);
        let model = self.model();
        let mut phases = Phases::default();
        let mut sum = GradientsAccumulator::new();
        let mut reduced = None;
        let mut outputs = Vec::new();
        let mut clock = Clock::start();
        let count = sequences.len().div_ceil(self.cut.micro_batch);
        for (number, sequences) in (1..).zip(sequences.chunks(self.cut.micro_batch)) {
            let batch: Batch<B> = self.objective.batch(sequences, total, &self.device)?;
            phases.data += clock.lap();
            let sharded = self.sharded.as_ref().filter(|_| number == count);
            let forward = model.forward(&batch, &self.setup, self.graph(sharded.is_some()));
            phases.forward += clock.lap();
            outputs.push(match sharded {
                None => {
                    let out = model.backward(forward);
                    sum.accumulate(model, out.grads);
                    out.output
                }
                Some(sharded) => {
                    let (output, reduction) = reduce(sharded, model, forward, sum.grads());
                    reduced = Some(sharded.wait(reduction));
                    output
                }
            });
            phases.backward += clock.lap();
        }
        // Reading a value waits for the device: once a step, when it has all of its work.
        let (sums, nll) = self.read(sequences, outputs, total);
        phases.backward += clock.lap();
        Ok(Pass {
            sums,
            nll,
            grads: match reduced {
                Some(reduced) => Grads::Reduced(reduced),
                None => Grads::Whole(sum.grads()),
            },
            phases,
        })
    }

    /// How a forward pass is kept.
    fn graph(&self, by_layer: bool) -> Graph {
        match (self.cut.recompute, by_layer) {
            (true, _) => Graph::Recomputed,
            (false, true) => Graph::ByLayer,
            (false, false) => Graph::Whole,
        }
    }

    /// Sums of the micro-batches' outputs, and the likelihoods in the order of the sequences.
    fn read(
        &self,
        sequences: &[Sequence],
        outputs: Vec<LossOutput<Tensor<B::InnerBackend, 1>>>,
        total: f64,
    ) -> (Sums, Vec<f32>) {
        let mut sums = Sums::default();
        let mut all = Vec::new();
        for (sequences, output) in sequences.chunks(self.cut.micro_batch).zip(outputs) {
            let nll = to_vec(output.nll);
            let weights = sequences.iter().flat_map(|s| self.objective.weights(s));
            let weighted = weights.zip(&nll).filter(|(weight, _)| *weight != 0.0);
            sums.cross_entropy += weighted
                .map(|(weight, &nll)| weight / total * f64::from(nll))
                .sum::<f64>();
            sums.objective += f64::from(to_vec(output.loss)[0]);
            let squares = to_vec(output.logit_square);
            sums.logit_square += squares.iter().map(|&x| f64::from(x)).sum::<f64>();
            sums.tokens += nll.len() as f64;
            all.extend(nll);
        }
        (sums, all)
    }
}

/// The backward pass of the last micro-batch, each segment's gradients sent as soon as they are complete.
fn reduce<B>(
    sharded: &Sharded<B>,
    model: &Qwen3<B>,
    forward: Forward<B>,
    mut earlier: GradientsParams,
) -> (LossOutput<Tensor<B::InnerBackend, 1>>, Reduction<B>)
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    let mut reduction = sharded.begin_reduction();
    let mut complete = GradientsAccumulator::new();
    let output = model.backward_by_segment(forward, |segment, grads| {
        complete.accumulate(model, grads);
        let mut grads = complete.grads();
        sharded.reduce(&mut reduction, segment, &mut grads, &mut earlier);
        // What waits for a later segment: a tied head's part of the embedding's gradient, and the last norm's.
        complete.accumulate(model, grads);
    });
    (output, reduction)
}

/// Laps of time.
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.0, now)
    }
}
