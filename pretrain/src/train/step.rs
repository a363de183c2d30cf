//! One optimizer step: forward and backward over micro-batches, clip, update.

mod pass;

use std::time::{Duration, Instant};

use burn::module::AutodiffModule;
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
use crate::model::{Part, Qwen3, Setup, parts};
use crate::optim::{Ema, Norms, Optimizer, Rates, Sharded, Spikes, clip_scale};
use crate::world::{Collective, World};
use pass::{Grads, Pass, Sums};

/// How a step is cut to fit a device; the result is the same but for rounding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// Sequences that pass through the model at a time.
    pub micro_batch: usize,
    /// Whether activations are computed again in the backward pass; see [`Graph`](crate::model::Graph).
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
    /// With several processes.
    sharded: Option<Sharded<B>>,
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

impl<B> Trainer<B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels + OptimizerKernels,
{
    /// A trainer before its first step with given weights.
    pub fn new(plan: &Plan, cut: Cut, objective: Objective, model: Qwen3<B>) -> Self {
        keep_freed_memory();
        let device = model.device();
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
            sharded: None,
            model: Some(model),
            device,
        }
    }

    /// The same as one of several processes; the parameters are then those of the first. Sequences of a step are this
    /// process's, and so are the likelihoods that come of it.
    pub fn among(self, world: &World, collective: Box<dyn Collective<B::InnerBackend>>) -> Self {
        if world.size() == 1 {
            return self;
        }
        let model = self.model.expect("present between steps");
        let optimizer = match self.optimizer.updates() {
            0 => Optimizer::among(self.plan.optimizer.clone(), &model, world),
            _ => self.optimizer,
        };
        let buckets = optimizer.buckets(&model, world.size());
        let (sharded, model) =
            Sharded::new(world.clone(), collective, buckets, &self.device, model);
        Self {
            model: Some(model),
            optimizer,
            sharded: Some(sharded),
            ..self
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

    /// The processes that train together.
    pub fn world(&self) -> World {
        match &self.sharded {
            Some(sharded) => sharded.world().clone(),
            None => World::single(),
        }
    }

    /// This process's share of the optimizer's state, copied to host memory.
    pub fn moments(&self) -> Vec<Part> {
        self.optimizer.state(&self.world())
    }

    /// The same of the moving average of the weights, under the parameters' names.
    pub fn ema(&self) -> Option<Vec<Part>> {
        let ema = self.ema.as_ref();
        ema.map(|ema| ema.state(&self.world()))
    }

    /// The same of the parameters.
    pub fn params(&self) -> Vec<Part> {
        parts(self.model(), &self.world())
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
            sums,
            nll,
            grads,
            mut phases,
        } = self.pass(sequences)?;
        let start = Instant::now();
        let Sums {
            objective,
            cross_entropy,
            logit_square,
            tokens,
            squares,
        } = self.over_all(sums, &grads);
        let grad_norm = squares.sqrt();
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
            let optimizer = &mut self.optimizer;
            let (model, found) = match (grads, &mut self.sharded) {
                (Grads::Whole(mut grads), _) => {
                    optimizer.step(model, &mut grads, rates, scale, measure)
                }
                (Grads::Reduced(grads), Some(sharded)) => {
                    sharded.step(optimizer, model, grads, (rates, scale), measure)
                }
                (Grads::Reduced(_), None) => unreachable!("only a sharded update reduces"),
            };
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
            logit_rms: (logit_square / tokens).sqrt(),
            nll,
            grad_norm,
            lr,
            skipped,
            norms,
            phases,
        })
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

/// Values on the host.
pub(super) fn to_vec<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .to_vec()
        .expect("converted to f32")
}
