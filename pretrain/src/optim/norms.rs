//! Global norms: of gradients, for clipping; of updates and parameters, to be watched.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};
use kernels::OptimizerKernels;
use kernels::square_sum::square_sum;

/// What a step did to all parameters together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norms {
    /// Global norm of what was added to the parameters, weight decay included.
    pub update: f64,
    /// Global norm of the parameters afterwards.
    pub params: f64,
}

/// Global norm of the gradients of a module's parameters: √Σ‖g‖².
pub fn global_norm<B, M>(module: &M, grads: &GradientsParams) -> f64
where
    B: AutodiffBackend,
    B::InnerBackend: OptimizerKernels,
    M: Module<B>,
{
    let mut squares = GradientSquares::<B> {
        grads,
        squares: Squares::default(),
    };
    module.visit(&mut squares);
    let [norm] = Squares::norms([squares.squares]);
    norm
}

/// The factor that brings gradients of this global norm to at most `max_norm`, as optax's `clip_by_global_norm` computes it.
pub fn clip_scale(norm: f64, max_norm: f64) -> f64 {
    if norm < max_norm {
        1.0
    } else {
        max_norm / norm
    }
}

/// Sums of squares, one a tensor, that stay on the device until all are known.
pub(super) struct Squares<B: Backend>(Vec<Tensor<B, 1>>);

impl<B: Backend> Default for Squares<B> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<B: OptimizerKernels> Squares<B> {
    /// Adds a tensor.
    pub fn add<const D: usize>(&mut self, tensor: Tensor<B, D>) {
        self.add_sum(square_sum(tensor));
    }

    /// Adds a sum that was made elsewhere.
    pub fn add_sum(&mut self, sum: Tensor<B, 1>) {
        self.0.push(sum);
    }

    /// The global norm of each group; see [`Squares::sums`].
    pub fn norms<const N: usize>(groups: [Self; N]) -> [f64; N] {
        Self::sums(groups).map(f64::sqrt)
    }

    /// The sum of each group, with one transfer from the device; 0 for a group of none.
    pub fn sums<const N: usize>(groups: [Self; N]) -> [f64; N] {
        let lengths = groups.each_ref().map(|group| group.0.len());
        let sums: Vec<_> = groups.into_iter().flat_map(|group| group.0).collect();
        if sums.is_empty() {
            return [0.0; N];
        }
        let sums = Tensor::cat(sums, 0).into_data().convert::<f64>();
        let mut sums = sums.iter::<f64>();
        lengths.map(|length| sums.by_ref().take(length).sum())
    }
}

struct GradientSquares<'a, B: AutodiffBackend> {
    grads: &'a GradientsParams,
    squares: Squares<B::InnerBackend>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for GradientSquares<'_, B>
where
    B::InnerBackend: OptimizerKernels,
{
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(grad) = self.grads.get::<B::InnerBackend, D>(param.id) {
            self.squares.add(grad);
        }
    }
}
