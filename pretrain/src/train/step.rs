//! One optimizer step: forward and backward over micro-batches, clip, update.

use std::time::{Duration, Instant};

use burn::module::AutodiffModule;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use experiments::Plan;
use kernels::{Kernels, OptimizerKernels};
use mixes::Sequence;
use serde::{Deserialize, Serialize};

use super::allocator::keep_freed_memory;
use super::batch::Objective;
use crate::checkpoint::Loaded;
use crate::error::{Error, Result};
use crate::model::{Batch, NamedTensor, Qwen3, Setup, named_params};
use crate::optim::{Ema, Norms, Optimizer, Rates, Spikes, clip_scale, global_norm};

/// How a step is cut to fit a device; the result is the same but for rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Sequences that pass through the model at a time.
    pub micro_batch: usize,
    /// Whether activations are computed again in the backward pass; see [`Qwen3::forward`].
    pub recompute: bool,
}

/// Model, optimizer and step count: the state of a run.
pub struct Trainer<B: AutodiffBackend> {
    plan: Plan,
    cut: Cut,
    objective: Objective,
    step: u64,
    model: Option<Qwen3<B>>,
    optimizer: Optimizer<B>,
    ema: Option<Ema<B>>,
    spikes: Option<Spikes>,
    setup: Setup<B>,
    inference: Setup<B::InnerBackend>,
    device: B::Device,
}

/// What a step came to.
pub struct StepOutput {
    /// What was minimised, z-loss included.
    pub objective: f64,
    /// Part of it that is z-loss.
    pub z_loss: f64,
    /// Negative log-likelihood of each position's target, in nats, sequence after sequence.
    pub nll: Vec<f32>,
    /// Root mean square of all logits.
    pub logit_rms: f64,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub lr: f64,
    /// Whether the step was left out as a spike.
    pub skipped: bool,
    /// Norms of update and parameters, where they were asked for and the step was not left out.
    pub norms: Option<Norms>,
    /// Where the time went.
    pub phases: Phases,
}

/// Time of the parts of a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// Uploading sequences.
    pub data: Duration,
    /// Forward passes.
    pub forward: Duration,
    /// Backward passes.
    pub backward: Duration,
    /// Norms, clipping, update and moving average.
    pub optimizer: Duration,
}

/// Sums over the micro-batches of a step.
struct Pass {
    objective: f64,
    cross_entropy: f64,
    nll: Vec<f32>,
    logit_square: f64,
    grads: GradientsParams,
    phases: Phases,
}

impl<B> Trainer<B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    /// A trainer before its first step with given weights.
    pub fn new(plan: &Plan, cut: Cut, objective: Objective, model: Qwen3<B>) -> Self {
        keep_freed_memory();
        let device = B::device();
        let (config, time) = (&plan.model, plan.seq_len);
        let z = plan.loss.z_loss_weight;
        Self {
            setup: Setup::new(config, time, plan.precision, z, &device),
            inference: Setup::new(config, time, plan.precision, 0.0, &device),
            plan: plan.clone(),
            cut,
            objective,
            step: plan.first_step(),
            optimizer: Optimizer::new(plan.optimizer.clone()),
            ema: plan.ema_decay.map(|decay| Ema::new(decay, &model)),
            spikes: plan.skip_step.clone().map(Spikes::new),
            model: Some(model),
            device,
        }
    }

    /// A trainer that goes on where a checkpoint was written.
    pub fn resumed(plan: &Plan, cut: Cut, objective: Objective, loaded: Loaded<B>) -> Self {
        Self {
            step: loaded.step,
            optimizer: loaded.optimizer,
            ema: loaded.ema,
            spikes: loaded.spikes,
            ..Self::new(plan, cut, objective, loaded.model)
        }
    }

    /// Steps finished.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The model as it is trained.
    pub fn model(&self) -> &Qwen3<B> {
        self.model.as_ref().expect("present between steps")
    }

    /// The model to be used: with the moving average of the weights where there is one. Otherwise it shares the parameters.
    pub fn inference_model(&self) -> Qwen3<B::InnerBackend> {
        let model = self.model().valid();
        match &self.ema {
            Some(ema) => ema.apply(model),
            None => model,
        }
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &Optimizer<B> {
        &self.optimizer
    }

    /// The moving average of the weights under the parameters' names.
    pub fn ema(&self) -> Option<Vec<NamedTensor>> {
        self.ema.as_ref().map(Ema::state)
    }

    /// The parameters, copied to host memory.
    pub fn params(&self) -> Vec<NamedTensor> {
        named_params(self.model())
    }

    /// What is known of spikes.
    pub fn spikes(&self) -> Option<&Spikes> {
        self.spikes.as_ref()
    }

    /// What the losses of tokens weigh.
    pub fn objective(&self) -> &Objective {
        &self.objective
    }

    /// Trains on the sequences of a step; `measure` asks for the norms of update and parameters.
    ///
    /// # Errors
    /// [`Error::Diverged`] when loss or gradients are not finite, and [`Error::Token`]; the state is then unchanged.
    pub fn train_step(&mut self, sequences: &[Sequence], measure: bool) -> Result<StepOutput> {
        let Pass {
            objective,
            cross_entropy,
            nll,
            logit_square,
            mut grads,
            mut phases,
        } = self.pass(sequences)?;
        let start = Instant::now();
        let grad_norm = global_norm(self.model(), &grads);
        if !objective.is_finite() || !grad_norm.is_finite() {
            return Err(Error::Diverged {
                step: self.step + 1,
                loss: objective,
                grad_norm,
            });
        }
        let plan = &self.plan;
        let done = self.step - plan.first_step();
        let rates = Rates::of(&plan.optimizer, &plan.schedule, plan.steps, done);
        let lr = rates.adamw;
        let skipped = match &mut self.spikes {
            Some(spikes) => spikes.judge(objective, grad_norm),
            None => false,
        };
        let mut norms = None;
        if !skipped {
            let scale = clip_scale(grad_norm, plan.optimizer.max_grad_norm);
            // Moved, not copied: the update replaces the parameters' buffers.
            let model = self.model.take().expect("present between steps");
            let (model, found) = self
                .optimizer
                .step(model, &mut grads, rates, scale, measure);
            if let Some(ema) = &mut self.ema {
                ema.update(&model);
            }
            self.model = Some(model);
            norms = found;
        }
        self.step += 1;
        phases.optimizer = start.elapsed();
        Ok(StepOutput {
            objective,
            z_loss: objective - cross_entropy,
            logit_rms: (logit_square / nll.len() as f64).sqrt(),
            nll,
            grad_norm,
            lr,
            skipped,
            norms,
            phases,
        })
    }

    /// Forward and backward passes over all micro-batches; their gradients are those of the whole batch, because the tokens'
    /// weights sum to 1 over it.
    fn pass(&self, sequences: &[Sequence]) -> Result<Pass> {
        let total = self.objective.total(sequences);
        let model = self.model();
        let mut pass = Pass {
            objective: 0.0,
            cross_entropy: 0.0,
            nll: Vec::new(),
            logit_square: 0.0,
            grads: GradientsParams::new(),
            phases: Phases::default(),
        };
        let mut sum = GradientsAccumulator::new();
        for sequences in sequences.chunks(self.cut.micro_batch) {
            let mut clock = Clock::start();
            let batch: Batch<B> = self.objective.batch(sequences, total, &self.device)?;
            pass.phases.data += clock.lap();
            let forward = model.forward(&batch, &self.setup, self.cut.recompute);
            pass.phases.forward += clock.lap();
            let out = model.backward(forward);
            sum.accumulate(model, out.grads);
            let nll = to_vec(out.output.nll);
            let weights = sequences.iter().flat_map(|s| self.objective.weights(s));
            let weighted = weights.zip(&nll).filter(|(weight, _)| *weight != 0.0);
            pass.cross_entropy += weighted
                .map(|(weight, &nll)| weight / total * f64::from(nll))
                .sum::<f64>();
            pass.objective += f64::from(to_vec(out.output.loss)[0]);
            let squares = to_vec(out.output.logit_square);
            pass.logit_square += squares.iter().map(|&x| f64::from(x)).sum::<f64>();
            pass.nll.extend(nll);
            pass.phases.backward += clock.lap();
        }
        pass.grads = sum.grads();
        Ok(pass)
    }

    /// Negative log-likelihood of each position's target, in nats, sequence after sequence.
    ///
    /// # Errors
    /// [`Error::Token`].
    pub fn evaluate(
        &self,
        model: &Qwen3<B::InnerBackend>,
        sequences: &[Sequence],
    ) -> Result<Vec<f32>> {
        let mut nll = Vec::new();
        for sequences in sequences.chunks(self.cut.micro_batch) {
            let batch = self.objective.batch(sequences, 1.0, &self.device)?;
            nll.extend(to_vec(model.loss(&batch, &self.inference).nll));
        }
        Ok(nll)
    }
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

/// Values on the host.
pub(super) fn to_vec<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .to_vec()
        .expect("converted to f32")
}
