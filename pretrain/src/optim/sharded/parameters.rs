//! The way of values to the parameters of a model.

use std::collections::HashMap;

use burn::module::{ModuleMapper, Param, ParamId};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;
use kernels::OptimizerKernels;

use super::Inner;
use crate::model::Path;
use crate::optim::norms::Squares;
use crate::optim::{Optimizer, Rates};
use crate::world::Collective;

/// Replaces each parameter by that of the first rank, and keeps it.
pub(super) struct FromTheFirst<'a, B: AutodiffBackend> {
    pub collective: &'a dyn Collective<B::InnerBackend>,
    pub values: HashMap<ParamId, Inner<B>>,
}

impl<B: AutodiffBackend> ModuleMapper<B> for FromTheFirst<'_, B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let (id, value, mapper) = param.consume();
        let (shape, is_trained) = (value.shape(), value.is_require_grad());
        let flat = value.inner().flatten::<1>(0, D - 1);
        let flat = self.collective.broadcast(flat).wait();
        self.values.insert(id, flat.clone());
        let value = Tensor::from_inner(flat.reshape(shape)).set_require_grad(is_trained);
        Param::from_mapped_value(id, value, mapper)
    }
}

/// Puts new values into the parameters' places, and updates those that are not sharded.
pub(super) struct Place<'a, B: AutodiffBackend> {
    pub values: HashMap<ParamId, Inner<B>>,
    pub grads: HashMap<ParamId, Inner<B>>,
    pub optimizer: &'a mut Optimizer<B>,
    pub rates: Rates,
    pub scale: f64,
    /// Of what is not sharded.
    pub squares: Option<&'a mut [Squares<B::InnerBackend>; 2]>,
    pub path: Path,
}

impl<B: AutodiffBackend> ModuleMapper<B> for Place<'_, B>
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
        let (shape, is_trained) = (value.shape(), value.is_require_grad());
        let value = value.inner();
        let value = if let Some(new) = self.values.remove(&id) {
            new.reshape(shape)
        } else if let Some(grad) = self.grads.remove(&id) {
            let (rows, flat) = (shape[0], value.flatten::<1>(0, D - 1));
            let (name, squares) = (self.path.name(), self.squares.as_deref_mut());
            let rates = (self.rates, self.scale);
            let new = self
                .optimizer
                .update(&name, (flat, grad), rows, rates, squares);
            new.reshape(shape)
        } else {
            if let Some([_, params]) = &mut self.squares {
                params.add(value.clone());
            }
            value
        };
        let value = Tensor::from_inner(value).set_require_grad(is_trained);
        Param::from_mapped_value(id, value, mapper)
    }
}
