//! AdamW (Loshchilov & Hutter, arXiv 1711.05101), as PyTorch computes it.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use experiments::OptimizerConfig;

use crate::model::NamedTensor;
use crate::model::Path;

/// Saved moments that do not belong to the parameters they are loaded for.
#[derive(Debug, thiserror::Error)]
#[error("optimizer state `{name}`: {reason}")]
pub struct MomentsError {
    name: String,
    reason: String,
}

/// Decoupled weight decay on the matrices of linear layers; none on norms and embeddings.
pub struct AdamW<B: AutodiffBackend> {
    config: OptimizerConfig,
    /// Updates made, for the bias correction.
    updates: u64,
    moments: BTreeMap<String, Moments<B>>,
}

/// Running means of the gradient and of its square, flattened.
struct Moments<B: AutodiffBackend> {
    mean: Tensor<B::InnerBackend, 1>,
    square: Tensor<B::InnerBackend, 1>,
}

impl<B: AutodiffBackend> AdamW<B> {
    /// An optimizer that has seen no gradient.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            updates: 0,
            moments: BTreeMap::new(),
        }
    }

    /// One update with learning rate `lr` of every parameter that has a gradient, each gradient
    /// scaled by `grad_scale` first.
    pub fn step<M: Module<B>>(
        &mut self,
        module: M,
        grads: &mut GradientsParams,
        lr: f64,
        grad_scale: f64,
    ) -> M {
        self.updates += 1;
        let path = Path::default();
        module.map(&mut Update {
            optimizer: self,
            grads,
            lr,
            grad_scale,
            path,
        })
    }

    /// The moments of every parameter: `exp_avg.NAME` and `exp_avg_sq.NAME`, flattened.
    pub fn state(&self) -> Vec<NamedTensor> {
        let named = |kind: &str, name: &str, tensor: &Tensor<B::InnerBackend, 1>| NamedTensor {
            name: format!("{kind}.{name}"),
            data: tensor.clone().into_data().convert_dtype(DType::F32),
        };
        let both = |(name, moments): (&String, &Moments<B>)| {
            [
                named("exp_avg", name, &moments.mean),
                named("exp_avg_sq", name, &moments.square),
            ]
        };
        self.moments.iter().flat_map(both).collect()
    }

    /// Continues from [`AdamW::state`] after `updates` updates.
    ///
    /// # Errors
    /// A moment without its pair, or a name that is neither.
    pub fn load(
        &mut self,
        updates: u64,
        mut state: BTreeMap<String, TensorData>,
        device: &B::Device,
    ) -> Result<(), MomentsError> {
        self.updates = updates;
        self.moments.clear();
        while let Some((key, mean)) = state.pop_first() {
            let fail = |reason: &str| MomentsError {
                name: key.clone(),
                reason: reason.into(),
            };
            let name = key
                .strip_prefix("exp_avg.")
                .ok_or_else(|| fail("is not the first moment of a parameter"))?;
            let square = state
                .remove(&format!("exp_avg_sq.{name}"))
                .ok_or_else(|| fail("has no exp_avg_sq beside it"))?;
            let tensor = |data| Tensor::from_data(data, device);
            self.moments.insert(
                name.to_string(),
                Moments {
                    mean: tensor(mean),
                    square: tensor(square),
                },
            );
        }
        Ok(())
    }

    /// The new value of a flattened parameter.
    fn update(
        &mut self,
        name: String,
        value: Tensor<B::InnerBackend, 1>,
        grad: Tensor<B::InnerBackend, 1>,
        lr: f64,
    ) -> Tensor<B::InnerBackend, 1> {
        let OptimizerConfig {
            beta1,
            beta2,
            epsilon,
            ..
        } = self.config;
        let decay = if is_decayed(&name) {
            self.config.weight_decay
        } else {
            0.0
        };
        let (mean, square) = match self.moments.remove(&name) {
            Some(moments) => (
                moments.mean * beta1 + grad.clone() * (1.0 - beta1),
                moments.square * beta2 + grad.square() * (1.0 - beta2),
            ),
            None => (grad.clone() * (1.0 - beta1), grad.square() * (1.0 - beta2)),
        };
        let correction = |beta: f64| 1.0 - beta.powi(self.updates as i32);
        let root = square.clone().sqrt() * correction(beta2).powf(-0.5) + epsilon;
        let step = mean.clone() / root * (lr / correction(beta1));
        self.moments.insert(name, Moments { mean, square });
        match decay {
            0.0 => value - step,
            _ => value * (1.0 - lr * decay) - step,
        }
    }
}

/// Linear layers, the untied output head among them.
fn is_decayed(name: &str) -> bool {
    name.ends_with("proj.weight") || name == "lm_head.weight"
}

struct Update<'a, B: AutodiffBackend> {
    optimizer: &'a mut AdamW<B>,
    grads: &'a mut GradientsParams,
    lr: f64,
    grad_scale: f64,
    path: Path,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Update<'_, B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, value, mapper) = param.consume();
        let Some(grad) = self.grads.remove::<B::InnerBackend, D>(id) else {
            return Param::from_mapped_value(id, value, mapper);
        };
        let value = value.inner();
        let shape = value.shape();
        let flat = |tensor: Tensor<B::InnerBackend, D>| tensor.flatten::<1>(0, D - 1);
        let grad = flat(grad) * self.grad_scale;
        let value = self
            .optimizer
            .update(self.path.name(), flat(value), grad, self.lr);
        let value = Tensor::from_inner(value.reshape(shape)).require_grad();
        Param::from_mapped_value(id, value, mapper)
    }
}
