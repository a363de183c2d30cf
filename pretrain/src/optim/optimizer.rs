//! One update of all parameters, each by the rule that its name asks for.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use experiments::{MuonConfig, OptimizerConfig, ScheduleConfig};
use kernels::OptimizerKernels;
use kernels::adamw::{Begun, Moments, Parameter, Rule, begin};

use super::buckets::{Bucket, Places, buckets, places};
use super::norms::{Norms, Squares};
use super::{Flat, learning_rate, muon};
use crate::model::{Part, Path, Qwen3};
use crate::world::World;

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

    /// The state, flattened: `exp_avg.NAME` and `exp_avg_sq.NAME`, or Muon's `momentum.NAME`. Of several ranks each gives the
    /// elements that it holds, none perhaps, and of what all hold its share.
    pub fn state(&self, world: &World) -> Vec<Part> {
        let mut state = Vec::new();
        for name in self.names() {
            match self.is_elementwise(name) {
                true => {
                    let moments = self.moments.get(name);
                    let [mean, square] = [moments.map(|m| &m.mean), moments.map(|m| &m.square)];
                    state.push(self.held("exp_avg", name, mean));
                    state.push(self.held("exp_avg_sq", name, square));
                }
                false => {
                    let momentum = self.momenta[name].clone();
                    state.push(Part::of(format!("momentum.{name}"), momentum, world));
                }
            }
        }
        state
    }

    /// Parameters that there is a state of, on whatever rank.
    fn names(&self) -> Vec<&str> {
        match &self.places {
            Some(places) if self.updates > 0 => places.keys().map(String::as_str).collect(),
            Some(_) => Vec::new(),
            None => self
                .moments
                .keys()
                .chain(self.momenta.keys())
                .map(String::as_str)
                .collect(),
        }
    }

    /// What this rank holds of a moment.
    fn held(&self, kind: &str, name: &str, moment: Option<&Flat<B::InnerBackend>>) -> Part {
        let values = moment.map(|moment| moment.clone().into_data().convert_dtype(DType::F32));
        let data = values.unwrap_or_else(|| TensorData::new(Vec::<f32>::new(), [0]));
        let (held, elements) = match &self.places {
            Some(places) => places[name].clone(),
            None => (0..data.num_elements(), data.num_elements()),
        };
        Part {
            name: format!("{kind}.{name}"),
            shape: vec![elements],
            start: held.start,
            data,
        }
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
        self.keep_places(&mut state)?;
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

    /// Of a state over all ranks, leaves what this one holds.
    fn keep_places(&self, state: &mut BTreeMap<String, TensorData>) -> Result<(), MomentsError> {
        let Some(places) = &self.places else {
            return Ok(());
        };
        for (key, data) in std::mem::take(state) {
            let name = key.split_once('.').map_or("", |(_, name)| name);
            let fail = |reason: &str| MomentsError {
                name: key.clone(),
                reason: reason.into(),
            };
            let Some((held, elements)) = places.get(name) else {
                return Err(fail("belongs to no parameter that is trained"));
            };
            let values = data.as_slice::<f32>();
            let values = values.map_err(|_| fail("is not of f32"))?;
            if values.len() != *elements {
                return Err(fail("has another length than its parameter"));
            }
            if !held.is_empty() {
                let held = values[held.clone()].to_vec();
                let length = held.len();
                state.insert(key, TensorData::new(held, [length]));
            }
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
