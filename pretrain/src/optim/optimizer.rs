//! One update of all parameters, each by the rule that its name asks for.

mod state;

pub use state::MomentsError;

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use experiments::{MuonConfig, OptimizerConfig, ScheduleConfig};
use kernels::OptimizerKernels;
use kernels::adamw::{Begun, Moments, Parameter, Rule, begin};

use super::buckets::{Bucket, Places, buckets, places};
use super::norms::{Norms, Squares};
use super::{Flat, learning_rate, muon};
use crate::model::{Path, Qwen3};
use crate::world::World;

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
    /// What it holds the state of, where that is not all.
    places: Option<Places>,
}

impl<B: AutodiffBackend> Optimizer<B> {
    /// An optimizer that has seen no gradient.
    pub fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            updates: 0,
            moments: BTreeMap::new(),
            momenta: BTreeMap::new(),
            places: None,
        }
    }

    /// The same for a process of several, which holds the state of its part of a model's [`buckets`].
    pub fn among(config: OptimizerConfig, model: &Qwen3<B>, world: &World) -> Self {
        let mut this = Self::new(config);
        if world.size() > 1 {
            let buckets = this.buckets(model, world.size());
            this.places = Some(places(&buckets, world.rank()));
        }
        this
    }

    /// How the gradients and the state of a model are divided among `ranks`.
    pub fn buckets(&self, model: &Qwen3<B>, ranks: usize) -> Vec<Bucket> {
        let layers = model.model.layers.len();
        buckets(model, layers, ranks, |name| self.is_elementwise(name))
    }

    /// Whether an element's update depends on no other element but by the share of those that agree.
    pub fn is_elementwise(&self, name: &str) -> bool {
        self.muon(name).is_none()
    }

    /// Whether steps that point against the gradient are left out.
    pub fn is_cautious(&self) -> bool {
        self.config.cautious
    }

    /// Updates made.
    pub fn updates(&self) -> u64 {
        self.updates
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
        self.count_update();
        let mut squares = measure.then(<[Squares<_>; 2]>::default);
        let mut update = Update {
            optimizer: self,
            grads,
            rates,
            grad_scale,
            squares: squares.as_mut(),
            path: Path::default(),
        };
        let module = module.map(&mut update);
        let norms = squares.map(|squares| {
            let [update, params] = Squares::norms(squares);
            Norms { update, params }
        });
        (module, norms)
    }

    /// Before the updates of a step.
    pub(super) fn count_update(&mut self) {
        self.updates += 1;
    }

    /// The new value of a flattened parameter of `rows` rows. Squares of change and value are added to `squares`.
    pub(super) fn update(
        &mut self,
        name: &str,
        (value, grad): (Flat<B::InnerBackend>, Flat<B::InnerBackend>),
        rows: usize,
        (rates, grad_scale): (Rates, f64),
        squares: Option<&mut [Squares<B::InnerBackend>; 2]>,
    ) -> Flat<B::InnerBackend> {
        match self.muon(name).cloned() {
            Some(config) => {
                let grad = grad * grad_scale;
                self.muon_update(name, (value, grad), rows, rates, &config, squares)
            }
            None => {
                let [elements] = value.dims();
                let begun = self.begin(name, value, grad, rates, grad_scale);
                self.finish(name, begun, elements, squares)
            }
        }
    }

    /// The first half of the update of a parameter, or of a piece of one, by AdamW; see [`kernels::adamw::begin`].
    pub(super) fn begin(
        &mut self,
        name: &str,
        value: Flat<B::InnerBackend>,
        grad: Flat<B::InnerBackend>,
        rates: Rates,
        grad_scale: f64,
    ) -> Begun<Flat<B::InnerBackend>> {
        let config = &self.config;
        let rule = Rule {
            grad_scale,
            lr: rates.adamw,
            beta1: config.beta1,
            beta2: config.beta2,
            epsilon: config.epsilon,
            cautious: config.cautious,
            decay: self.decay(name, rates),
            updates: self.updates,
        };
        let parameter = Parameter {
            value,
            grad,
            // Taken out, so that their buffers can be changed in place.
            moments: self.moments.remove(name),
        };
        begin(parameter, &rule)
    }

    /// The second half; the new value. `elements` are those of the whole parameter.
    pub(super) fn finish(
        &mut self,
        name: &str,
        begun: Begun<Flat<B::InnerBackend>>,
        elements: usize,
        squares: Option<&mut [Squares<B::InnerBackend>; 2]>,
    ) -> Flat<B::InnerBackend> {
        let updated = begun.finish(elements, squares.is_some());
        self.moments.insert(name.into(), updated.moments);
        if let (Some([changes, params]), Some(sums)) = (squares, updated.squares) {
            changes.add_sum(sums.change);
            params.add_sum(sums.value);
        }
        updated.value
    }

    fn muon_update(
        &mut self,
        name: &str,
        (value, grad): (Flat<B::InnerBackend>, Flat<B::InnerBackend>),
        rows: usize,
        rates: Rates,
        config: &MuonConfig,
        squares: Option<&mut [Squares<B::InnerBackend>; 2]>,
    ) -> Flat<B::InnerBackend> {
        let decay = self.decay(name, rates);
        let momentum = self.momenta.remove(name);
        let (momentum, step) = muon::step(momentum, grad, rows, rates.muon, config);
        self.momenta.insert(name.into(), momentum);
        // Not as `value · (1 − decay)`: that factor's rounding error, the same at each step, is not small beside `decay`.
        let change = match decay {
            0.0 => step,
            _ => step + value.clone() * decay,
        };
        let Some([changes, params]) = squares else {
            return value - change;
        };
        changes.add(change.clone());
        let value = value - change;
        params.add(value.clone());
        value
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
    squares: Option<&'a mut [Squares<B::InnerBackend>; 2]>,
    path: Path,
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
            let tensors = (flat(value), flat(grad));
            let rates = (self.rates, self.grad_scale);
            let (name, squares) = (self.path.name(), self.squares.as_deref_mut());
            let new = self
                .optimizer
                .update(&name, tensors, shape[0], rates, squares);
            value = new.reshape(shape);
        } else if let Some([_, params]) = &mut self.squares {
            params.add(value.clone());
        }
        let value = Tensor::from_inner(value).set_require_grad(is_trained);
        Param::from_mapped_value(id, value, mapper)
    }
}
