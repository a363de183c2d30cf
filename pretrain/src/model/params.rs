//! A model's parameters by name, for checkpoints and the optimizer.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use crate::world::World;

/// A tensor in host memory with the name it has in transformers' checkpoints.
#[derive(Clone, Debug)]
pub struct NamedTensor {
    /// Such as `model.layers.0.mlp.up_proj.weight`.
    pub name: String,
    /// f32 values with their shape.
    pub data: TensorData,
}

/// Some of the elements of a named tensor, in host memory.
#[derive(Clone, Debug)]
pub struct Part {
    /// See [`NamedTensor`].
    pub name: String,
    /// Shape of the whole tensor.
    pub shape: Vec<usize>,
    /// Number of the first element.
    pub start: usize,
    /// f32 values, flattened.
    pub data: TensorData,
}

/// Tensors that do not fit a model.
#[derive(Debug, thiserror::Error)]
pub enum ParamsError {
    /// The model has a parameter that is not there.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// The parameter.
        name: String,
    },
    /// The shapes differ.
    #[error("tensor `{name}` has shape {found:?}, but the model's is {expected:?}")]
    Shape {
        /// The parameter.
        name: String,
        /// Shape of the tensor.
        found: Vec<usize>,
        /// Shape in the model.
        expected: Vec<usize>,
    },
    /// Tensors that no parameter has the name of.
    #[error("the model has no parameters named {}", names.join(", "))]
    Unknown {
        /// The tensors.
        names: Vec<String>,
    },
}

/// The dotted path of the module a visitor or mapper is in.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_string());
    }

    pub fn exit(&mut self) {
        self.0.pop();
    }

    pub fn name(&self) -> String {
        self.0.join(".")
    }
}

/// Every parameter, in the order of the module tree.
pub fn named_params<B: Backend, M: Module<B>>(module: &M) -> Vec<NamedTensor> {
    let mut collect = Collect::default();
    module.visit(&mut collect);
    collect.tensors
}

/// A rank's share of every parameter: as many elements of each as of any other rank's, or one more or less.
pub fn parts<B: Backend, M: Module<B>>(module: &M, world: &World) -> Vec<Part> {
    let mut parts = Parts {
        path: Path::default(),
        world,
        parts: Vec::new(),
    };
    module.visit(&mut parts);
    parts.parts
}

/// Replaces every parameter by the tensor of its name.
///
/// # Errors
/// A parameter without a tensor, a tensor of another shape, or a tensor without a parameter.
pub fn load_params<B: Backend, M: Module<B>>(
    module: M,
    mut tensors: BTreeMap<String, TensorData>,
) -> Result<M, ParamsError> {
    let module = fill_params(module, |name, expected| {
        let Some(data) = tensors.remove(name) else {
            return Err(ParamsError::Missing { name: name.into() });
        };
        let found = data.shape.to_vec();
        match found == expected {
            true => Ok(data),
            false => Err(ParamsError::Shape {
                name: name.into(),
                found,
                expected: expected.to_vec(),
            }),
        }
    })?;
    match tensors.is_empty() {
        true => Ok(module),
        false => Err(ParamsError::Unknown {
            names: tensors.into_keys().collect(),
        }),
    }
}

/// Replaces every parameter by what `tensor` gives for its name and shape, one after the other, so that no second copy of
/// the model is held.
///
/// # Errors
/// The first of `tensor`.
pub fn fill_params<B: Backend, M: Module<B>, E>(
    module: M,
    tensor: impl FnMut(&str, &[usize]) -> Result<TensorData, E>,
) -> Result<M, E> {
    let mut fill = Fill {
        path: Path::default(),
        tensor,
        error: None,
    };
    let module = module.map(&mut fill);
    fill.error.map_or(Ok(module), Err)
}

#[derive(Default)]
struct Collect {
    path: Path,
    tensors: Vec<NamedTensor>,
}

impl<B: Backend> ModuleVisitor<B> for Collect {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let data = param.val().into_data().convert_dtype(DType::F32);
        self.tensors.push(NamedTensor {
            name: self.path.name(),
            data,
        });
    }
}

struct Parts<'a> {
    path: Path,
    world: &'a World,
    parts: Vec<Part>,
}

impl<B: Backend> ModuleVisitor<B> for Parts<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        self.parts
            .push(Part::of(self.path.name(), value, self.world));
    }
}

impl Part {
    /// A rank's share of a tensor.
    pub fn of<B: Backend, const D: usize>(
        name: String,
        value: Tensor<B, D>,
        world: &World,
    ) -> Self {
        let shape = value.shape();
        let elements = shape.num_elements();
        let mine = world.share(elements);
        let flat = value.flatten::<1>(0, D - 1);
        let flat = match mine.len() == elements {
            true => flat,
            false => flat.narrow(0, mine.start, mine.len()),
        };
        Self {
            name,
            shape: shape.to_vec(),
            start: mine.start,
            data: flat.into_data().convert_dtype(DType::F32),
        }
    }
}

struct Fill<F, E> {
    path: Path,
    tensor: F,
    error: Option<E>,
}

impl<B: Backend, E, F> ModuleMapper<B> for Fill<F, E>
where
    F: FnMut(&str, &[usize]) -> Result<TensorData, E>,
{
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.error.is_some() {
            return param;
        }
        let (id, value, mapper) = param.consume();
        let value = match (self.tensor)(&self.path.name(), &value.dims()) {
            Ok(data) => {
                Tensor::from_data(data, &value.device()).set_require_grad(value.is_require_grad())
            }
            Err(error) => {
                self.error = Some(error);
                value
            }
        };
        Param::from_mapped_value(id, value, mapper)
    }
}
