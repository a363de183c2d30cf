//! Exponential moving average of the weights (Polyak & Juditsky 1992, with a decay as optax' `ema`).

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Shape, Tensor, TensorData};
use kernels::adamw::reference::towards;

use super::Flat;
use crate::model::{ParamsError, Part, Path};
use crate::world::World;

/// `average ← decay · average + (1 − decay) · parameter`, begun at the initial weights, so without a bias to correct.
pub struct Ema<B: AutodiffBackend> {
    decay: f64,
    averages: Averages<B::InnerBackend>,
}

/// Flattened averages by parameter, with the parameters' shapes.
type Averages<B> = BTreeMap<String, (Shape, Flat<B>)>;

impl<B: AutodiffBackend> Ema<B> {
    /// Averages that equal the parameters of `module`.
    pub fn new<M: Module<B>>(decay: f64, module: &M) -> Self {
        let mut start = Start::<B> {
            averages: Averages::new(),
            path: Path::default(),
        };
        module.visit(&mut start);
        let averages = start.averages;
        Self { decay, averages }
    }

    /// Takes the parameters in, after a step.
    pub fn update<M: Module<B>>(&mut self, module: &M) {
        module.visit(&mut Update {
            ema: self,
            path: Path::default(),
        });
    }

    /// The module with the averages for its parameters.
    pub fn apply<M: Module<B::InnerBackend>>(&self, module: M) -> M {
        module.map(&mut Apply {
            averages: &self.averages,
            path: Path::default(),
        })
    }

    /// A rank's share of the averages, under the names and in the shapes of the parameters.
    pub fn state(&self, world: &World) -> Vec<Part> {
        let part = |(name, (shape, average)): (&String, &(Shape, Flat<B::InnerBackend>))| Part {
            shape: shape.to_vec(),
            ..Part::of(name.clone(), average.clone(), world)
        };
        self.averages.iter().map(part).collect()
    }

    /// Continues from [`Ema::state`].
    ///
    /// # Errors
    /// A parameter without an average, an average of another shape, or one without a parameter.
    pub fn load(&mut self, mut state: BTreeMap<String, TensorData>) -> Result<(), ParamsError> {
        for (name, (shape, average)) in &mut self.averages {
            let Some(data) = state.remove(name) else {
                return Err(ParamsError::Missing { name: name.clone() });
            };
            if data.shape != *shape {
                return Err(ParamsError::Shape {
                    name: name.clone(),
                    found: data.shape.to_vec(),
                    expected: shape.to_vec(),
                });
            }
            let flat = TensorData {
                shape: Shape::new([shape.num_elements()]),
                ..data
            };
            *average = Tensor::from_data(flat, &average.device());
        }
        match state.is_empty() {
            true => Ok(()),
            false => Err(ParamsError::Unknown {
                names: state.into_keys().collect(),
            }),
        }
    }
}

/// Collects the parameters.
struct Start<B: AutodiffBackend> {
    averages: Averages<B::InnerBackend>,
    path: Path,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Start<B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val().inner();
        let entry = (value.shape(), value.flatten(0, D - 1));
        self.averages.insert(self.path.name(), entry);
    }
}

/// Moves each average towards its parameter.
struct Update<'a, B: AutodiffBackend> {
    ema: &'a mut Ema<B>,
    path: Path,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Update<'_, B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let (name, decay) = (self.path.name(), self.ema.decay);
        let value = param.val().inner().flatten::<1>(0, D - 1);
        // Taken out, so that the sum takes the old average's buffer.
        if let Some((shape, average)) = self.ema.averages.remove(&name) {
            let average = towards(Some(average), value, decay);
            self.ema.averages.insert(name, (shape, average));
        }
    }
}

/// Puts the averages in the parameters' places.
struct Apply<'a, B: Backend> {
    averages: &'a Averages<B>,
    path: Path,
}

impl<B: Backend> ModuleMapper<B> for Apply<'_, B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, value, mapper) = param.consume();
        let value = match self.averages.get(&self.path.name()) {
            Some((shape, average)) => average.clone().reshape(shape.clone()),
            None => value,
        };
        Param::from_mapped_value(id, value, mapper)
    }
}
