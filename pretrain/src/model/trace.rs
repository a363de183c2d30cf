//! Looks into a model: activations and gradients, part by part.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use kernels::Kernels;

use super::layers::{Residual, cast};
use super::{Batch, Path, Qwen3, Setup};

/// What passes through a model.
pub struct Activations {
    /// Root mean square of the residual stream after the embedding and after each layer.
    pub hidden_rms: Vec<f64>,
}

impl<B: Kernels> Qwen3<B> {
    /// Sizes of the activations of a batch.
    pub fn activations(&self, batch: &Batch<B>, setup: &Setup<B>) -> Activations {
        let context = setup.context(batch);
        let mut x = self.embed(batch.tokens.clone(), context.precision).sum();
        let mut hidden_rms = vec![rms(&x)];
        for layer in &self.model.layers {
            x = layer.forward(Residual::new(x), &context, None).sum();
            hidden_rms.push(rms(&x));
        }
        Activations { hidden_rms }
    }
}

fn rms<B: Backend>(x: &Tensor<B, 3>) -> f64 {
    let square = cast(x.clone(), DType::F32).square().mean();
    let square: f64 = square.into_data().convert::<f64>().iter::<f64>().sum();
    square.sqrt()
}

/// Norm of the gradient of each parameter that has one.
pub fn gradient_norms<B: AutodiffBackend, M: Module<B>>(
    module: &M,
    grads: &GradientsParams,
) -> Vec<(String, f64)> {
    let mut norms = Norms {
        grads,
        path: Path::default(),
        found: Vec::new(),
    };
    module.visit(&mut norms);
    norms.found
}

struct Norms<'a> {
    grads: &'a GradientsParams,
    path: Path,
    found: Vec<(String, f64)>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Norms<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) {
            let values = grad.into_data().convert::<f64>();
            let square: f64 = values.iter::<f64>().map(|x| x * x).sum();
            self.found.push((self.path.name(), square.sqrt()));
        }
    }
}
