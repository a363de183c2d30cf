//! One update of all parameters, each by the rule that its name asks for.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use experiments::{MuonConfig, OptimizerConfig, ScheduleConfig};
use kernels::OptimizerKernels;
use kernels::adamw::{Moments, Parameter, Rule, adamw};

use super::norms::{Norms, Squares};
use super::{Flat, learning_rate, muon};
use crate::model::{NamedTensor, Path};

/// Saved state that does not belong to the optimizer it is loaded into.
#[derive(Debug, thiserror::Error)]
#[error("optimizer state `{name}`: {reason}")]
pub struct MomentsError {
    name: String,
    reason: String,
}

/// Learning rates of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Of AdamW.
    pub adamw: f64,
    /// Of Muon; 0 without it.
    pub muon: f64,
}

impl Rates {
    /// Those of step `step` (from 0) of `steps`.
    pub fn of(
        optimizer: &OptimizerConfig,
        schedule: &ScheduleConfig,
        steps: u64,
        step: u64,
    ) -> Self {
        let rate = |peak| learning_rate(schedule, peak, steps, step);
        Self {
            adamw: rate(optimizer.lr),
            muon: optimizer.muon.as_ref().map_or(0.0, |muon| rate(muon.lr)),
        }
    }
}

/// AdamW, or Muon for the matrices of the layers and AdamW for the rest.
///
/// Weight decay is decoupled, in proportion to the learning rate, and acts on the linear layers and the untied head; with
/// AdamC (Defazio, arXiv 2506.02285) it is also in proportion to the learning rate over its peak.
pub struct Optimizer<B: AutodiffBackend> {
    config: OptimizerConfig,
    /// Updates made, for the bias correction.
    updates: u64,
    moments: BTreeMap<String, Moments<Flat<B::InnerBackend>>>,
    momenta: BTreeMap<String, Flat<B::InnerBackend>>,
}

impl<B: AutodiffBackend> Optimizer<B> {
    /// An optimizer that has seen no gradient.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            updates: 0,
            moments: BTreeMap::new(),
            momenta: BTreeMap::new(),
        }
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// The state of every parameter, flattened: `exp_avg.NAME` and `exp_avg_sq.NAME`, or Muon's `momentum.NAME`.
    pub fn state(&self) -> Vec<NamedTensor> {
        let named = |kind: &str, name: &str, tensor: &Flat<B::InnerBackend>| NamedTensor {
            name: format!("{kind}.{name}"),
            data: tensor.clone().into_data().convert_dtype(DType::F32),
        };
        let moments = self.moments.iter().flat_map(|(name, moments)| {
            [
                named("exp_avg", name, &moments.mean),
                named("exp_avg_sq", name, &moments.square),
            ]
        });
        let momenta = self
            .momenta
            .iter()
            .map(|(name, momentum)| named("momentum", name, momentum));
        moments.chain(momenta).collect()
    }

    /// Continues from [`Optimizer::state`] after `updates` updates.
    ///
    /// # Errors
    /// A moment without its pair, a name that is neither a moment nor a momentum, or the state of another optimizer.
    pub fn load(
        &mut self,
        updates: u64,
        mut state: BTreeMap<String, TensorData>,
        device: &B::Device,
    ) -> Result<(), MomentsError> {
        self.updates = updates;
        self.moments.clear();
        self.momenta.clear();
        let tensor = |data| Tensor::from_data(data, device);
        while let Some((key, data)) = state.pop_first() {
            let fail = |reason: &str| MomentsError {
                name: key.clone(),
                reason: reason.into(),
            };
            let (kind, name) = key.split_once('.').unwrap_or((&key, ""));
            let muon = match kind {
                "exp_avg" => false,
                "momentum" => true,
                // Sorted after `exp_avg`, which takes its pair along.
                "exp_avg_sq" => return Err(fail("has no exp_avg beside it")),
                _ => return Err(fail("is neither a moment nor a momentum of a parameter")),
            };
            if muon != self.muon(name).is_some() {
                let now = if muon { "AdamW" } else { "Muon" };
                return Err(fail(&format!(
                    "the plan updates this parameter by {now}, the saved state is of another optimizer; use the settings \
                     it was saved with"
                )));
            }
            if muon {
                self.momenta.insert(name.into(), tensor(data));
                continue;
            }
            let square = state
                .remove(&format!("exp_avg_sq.{name}"))
                .ok_or_else(|| fail("has no exp_avg_sq beside it"))?;
            if square.shape != data.shape {
                return Err(fail("has another length than its exp_avg_sq"));
            }
            let moments = Moments {
                mean: tensor(data),
                square: tensor(square),
            };
            self.moments.insert(name.into(), moments);
        }
        Ok(())
    }

    /// The part of a parameter that decays in one step.
    fn decay(&self, name: &str, rates: Rates) -> f64 {
        if !is_matrix(name) && !is_low_rank(name) && name != "lm_head.weight" {
            return 0.0;
        }
        let (rate, peak) = match self.muon(name) {
            Some(muon) => (rates.muon, muon.lr),
            None => (rates.adamw, self.config.lr),
        };
        // A peak of 0 decays nothing, whatever its share is taken to be.
        let share = rate / peak.max(f64::MIN_POSITIVE);
        let share = if self.config.adamc { share } else { 1.0 };
        rate * self.config.weight_decay * share
    }

    /// Muon's settings, if it updates the parameter.
    fn muon(&self, name: &str) -> Option<&MuonConfig> {
        self.config.muon.as_ref().filter(|_| is_matrix(name))
    }
}

impl<B: AutodiffBackend> Optimizer<B>
where
    B::InnerBackend: OptimizerKernels,
{
    /// One update of every parameter that has a gradient, each gradient scaled by `grad_scale` first. Norms are computed
    /// if `measure` asks for them.
    pub fn step<M: Module<B>>(
        &mut self,
        module: M,
        grads: &mut GradientsParams,
        rates: Rates,
        grad_scale: f64,
        measure: bool,
    ) -> (M, Option<Norms>) {
        self.updates += 1;
        let mut update = Update {
            optimizer: self,
            grads,
            rates,
            grad_scale,
            squares: measure.then(Default::default),
            path: Path::default(),
        };
        let module = module.map(&mut update);
        let norms = update.squares.map(|[update, params]| {
            let [update, params] = Squares::norms([update, params]);
            Norms { update, params }
        });
        (module, norms)
    }
}

/// The factors of a low-rank update to a matrix.
fn is_low_rank(name: &str) -> bool {
    name.ends_with(".lora.a") || name.ends_with(".lora.b")
}

/// The matrices of attention and MLP.
fn is_matrix(name: &str) -> bool {
    name.ends_with("proj.weight")
}

struct Update<'a, B: AutodiffBackend> {
    optimizer: &'a mut Optimizer<B>,
    grads: &'a mut GradientsParams,
    rates: Rates,
    grad_scale: f64,
    /// Of updates and of parameters, where they are measured.
    squares: Option<[Squares<B::InnerBackend>; 2]>,
    path: Path,
}

impl<B: AutodiffBackend> Update<'_, B>
where
    B::InnerBackend: OptimizerKernels,
{
    /// The new value of a flattened parameter of `rows` rows.
    fn update(
        &mut self,
        value: Flat<B::InnerBackend>,
        grad: Flat<B::InnerBackend>,
        rows: usize,
    ) -> Flat<B::InnerBackend> {
        let name = self.path.name();
        match self.optimizer.muon(&name).cloned() {
            Some(config) => self.muon(name, value, grad, rows, &config),
            None => self.adamw(name, value, grad),
        }
    }

    fn adamw(
        &mut self,
        name: String,
        value: Flat<B::InnerBackend>,
        grad: Flat<B::InnerBackend>,
    ) -> Flat<B::InnerBackend> {
        let config = &self.optimizer.config;
        let rule = Rule {
            grad_scale: self.grad_scale,
            lr: self.rates.adamw,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            cautious: config.cautious,
            decay: self.optimizer.decay(&name, self.rates),
            updates: self.optimizer.updates,
        };
        let parameter = Parameter {
            value,
            grad,
            // Taken out, so that their buffers can be changed in place.
            moments: self.optimizer.moments.remove(&name),
        };
        let updated = adamw(parameter, &rule, self.squares.is_some());
        self.optimizer.moments.insert(name, updated.moments);
        if let (Some([changes, params]), Some(sums)) = (&mut self.squares, updated.squares) {
            changes.add_sum(sums.change);
            params.add_sum(sums.value);
        }
        updated.value
    }

    fn muon(
        &mut self,
        name: String,
        value: Flat<B::InnerBackend>,
        grad: Flat<B::InnerBackend>,
        rows: usize,
        config: &MuonConfig,
    ) -> Flat<B::InnerBackend> {
        let decay = self.optimizer.decay(&name, self.rates);
        let momentum = self.optimizer.momenta.remove(&name);
        let grad = grad * self.grad_scale;
        let (momentum, step) = muon::step(momentum, grad, rows, self.rates.muon, config);
        self.optimizer.momenta.insert(name, momentum);
        // Not as `value · (1 − decay)`: that factor's rounding error, the same at each step, is not small beside `decay`.
        let change = match decay {
            0.0 => step,
            _ => step + value.clone() * decay,
        };
        let Some([changes, params]) = &mut self.squares else {
            return value - change;
        };
        changes.add(change.clone());
        let value = value - change;
        params.add(value.clone());
        value
    }
}

impl<B: AutodiffBackend> ModuleMapper<B> for Update<'_, B>
where
    B::InnerBackend: OptimizerKernels,
{
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, value, mapper) = param.consume();
        let is_trained = value.is_require_grad();
        // Moved all the way, so that the new value takes the old one's buffer.
        let mut value = value.inner();
        if let Some(grad) = self.grads.remove::<B::InnerBackend, D>(id) {
            let shape = value.shape();
            let flat = |tensor: Tensor<B::InnerBackend, D>| tensor.flatten::<1>(0, D - 1);
            value = self
                .update(flat(value), flat(grad), shape[0])
                .reshape(shape);
        } else if let Some([_, params]) = &mut self.squares {
            params.add(value.clone());
        }
        let value = Tensor::from_inner(value).set_require_grad(is_trained);
        Param::from_mapped_value(id, value, mapper)
    }
}
