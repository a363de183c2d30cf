//! Optimizer, global-norm clipping and learning-rate schedule.

mod adamw;
mod schedule;

pub use adamw::{AdamW, MomentsError};
pub use schedule::learning_rate;

use burn::module::{ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

/// Global norm of the gradients of a module's parameters: √Σ‖g‖².
///
/// The squares are summed on the device and read once.
pub fn global_norm<B: AutodiffBackend, M: burn::module::Module<B>>(
    module: &M,
    grads: &GradientsParams,
) -> f64 {
    let mut squares = Squares::<B> {
        grads,
        sums: Vec::new(),
    };
    module.visit(&mut squares);
    if squares.sums.is_empty() {
        return 0.0;
    }
    let sums = Tensor::cat(squares.sums, 0).into_data().convert::<f64>();
    sums.iter::<f64>().sum::<f64>().sqrt()
}

/// The factor that brings gradients of this global norm to at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_` computes it.
pub fn clip_scale(norm: f64, max_norm: f64) -> f64 {
    (max_norm / (norm + 1e-6)).min(1.0)
}

struct Squares<'a, B: AutodiffBackend> {
    grads: &'a GradientsParams,
    sums: Vec<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Squares<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) {
            self.sums.push(grad.square().sum());
        }
    }
}
