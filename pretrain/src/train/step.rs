//! One optimizer step: forward, backward, clip, update.

use burn::module::AutodiffModule;
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use experiments::Plan;
use kernels::Kernels;

use super::Batch;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::model::{Context, Qwen3, RopeTable};
use crate::optim::{AdamW, clip_scale, global_norm, learning_rate};

/// Model, optimizer and step count: the state of a run.
pub struct Trainer<B: AutodiffBackend> {
    plan: Plan,
    step: u64,
    model: Option<Qwen3<B>>,
    optimizer: AdamW<B>,
    rope: RopeTable<B>,
    inference_rope: RopeTable<B::InnerBackend>,
    device: B::Device,
}

/// What a step came to.
pub struct StepOutput {
    /// Weighted mean loss, z-loss included.
    pub loss: f64,
    /// Negative log-likelihood of each position's target, in nats, as in the flattened batch.
    pub nll: Vec<f32>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub lr: f64,
}

impl<B> Trainer<B>
where
    B: AutodiffBackend + Kernels,
    B::InnerBackend: Kernels,
{
    /// A trainer at step 0 with the plan's initial weights.
    pub fn new(plan: &Plan, vocab_size: usize) -> Self {
        let device = B::Device::default();
        let model = Qwen3::new(&plan.model, vocab_size, plan.seed, &device);
        Self::with(plan, 0, model, AdamW::new(plan.optimizer.clone()), device)
    }

    /// A trainer that goes on where a checkpoint was written.
    ///
    /// # Errors
    /// Missing or damaged files.
    pub fn from_checkpoint(checkpoint: &Checkpoint, vocab_size: usize) -> Result<Self> {
        let device = B::Device::default();
        let model = checkpoint.load_model(vocab_size, &device)?;
        let optimizer = checkpoint.load_optimizer(&device)?;
        Ok(Self::with(
            &checkpoint.state.plan,
            checkpoint.state.step,
            model,
            optimizer,
            device,
        ))
    }

    /// A trainer at step 0 with given weights.
    pub fn with_model(plan: &Plan, model: Qwen3<B>) -> Self {
        Self::with(
            plan,
            0,
            model,
            AdamW::new(plan.optimizer.clone()),
            B::Device::default(),
        )
    }

    fn with(
        plan: &Plan,
        step: u64,
        model: Qwen3<B>,
        optimizer: AdamW<B>,
        device: B::Device,
    ) -> Self {
        let (config, time) = (&plan.model, plan.seq_len);
        Self {
            rope: RopeTable::new(&config.rope, config.head_dim, 0, time, &device),
            inference_rope: RopeTable::new(&config.rope, config.head_dim, 0, time, &device),
            plan: plan.clone(),
            step,
            model: Some(model),
            optimizer,
            device,
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

    /// A copy without autodiff, that shares the parameters.
    pub fn inference_model(&self) -> Qwen3<B::InnerBackend> {
        self.model().valid()
    }

    /// The optimizer.
    pub fn optimizer(&self) -> &AdamW<B> {
        &self.optimizer
    }

    /// Where the tensors are.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// Trains on a batch.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss is not finite; the parameters are then unchanged.
    pub fn train_step(&mut self, batch: &Batch<B>) -> Result<StepOutput> {
        let plan = &self.plan;
        let model = self.model.take().expect("present between steps");
        let context = Context {
            rope: &self.rope,
            mask: Some(batch.mask.clone()),
        };
        let (loss, nll) = model.loss(
            batch.tokens.clone(),
            batch.targets.clone(),
            batch.weights.clone(),
            &context,
            plan.loss.z_loss_weight,
        );
        let mut grads = GradientsParams::from_grads(loss.backward(), &model);
        let loss = to_vec(loss)[0];
        if !loss.is_finite() {
            self.model = Some(model);
            return Err(Error::Diverged {
                step: self.step + 1,
                loss: loss.into(),
            });
        }
        let grad_norm = global_norm(&model, &grads);
        let scale = clip_scale(grad_norm, plan.optimizer.max_grad_norm);
        let lr = learning_rate(&plan.schedule, plan.optimizer.lr, plan.steps, self.step);
        // Moved, not copied: the update replaces the parameters' buffers.
        self.model = Some(self.optimizer.step(model, &mut grads, lr, scale));
        self.step += 1;
        Ok(StepOutput {
            loss: loss.into(),
            nll: to_vec(nll),
            grad_norm,
            lr,
        })
    }

    /// Negative log-likelihood of each position's target, in nats.
    pub fn evaluate(
        &self,
        model: &Qwen3<B::InnerBackend>,
        batch: &Batch<B::InnerBackend>,
    ) -> Vec<f32> {
        let context = Context {
            rope: &self.inference_rope,
            mask: Some(batch.mask.clone()),
        };
        let (_, nll) = model.loss(
            batch.tokens.clone(),
            batch.targets.clone(),
            batch.weights.clone(),
            &context,
            0.0,
        );
        to_vec(nll)
    }
}

fn to_vec<B: Backend>(tensor: Tensor<B, 1>) -> Vec<f32> {
    tensor
        .into_data()
        .convert::<f32>()
        .to_vec()
        .expect("converted to f32")
}
