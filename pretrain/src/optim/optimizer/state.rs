//! The optimizer's state: what a checkpoint holds of it, and what one of several processes does.

use std::collections::BTreeMap;

use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{DType, Tensor, TensorData};
use kernels::adamw::Moments;

use super::Optimizer;
use crate::model::Part;
use crate::optim::Flat;
use crate::world::World;

/// Saved state that does not belong to the optimizer it is loaded into.
#[derive(Debug, thiserror::Error)]
#[error("optimizer state `{name}`: {reason}")]
pub struct MomentsError {
    name: String,
    reason: String,
}

impl<B: AutodiffBackend> Optimizer<B> {
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
}
