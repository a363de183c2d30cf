//! Optimizer, learning-rate schedule, moving average of the weights, and the guard against spikes.

mod buckets;
mod ema;
mod muon;
mod norms;
mod optimizer;
mod schedule;
mod sharded;
mod spikes;

pub use buckets::Bucket;
pub use ema::Ema;
pub use norms::{Norms, clip_scale, global_norm};
pub use optimizer::{MomentsError, Optimizer, Rates};
pub use schedule::learning_rate;
pub use sharded::{Reduced, Reduction, Sharded};
pub use spikes::Spikes;

use burn::tensor::Tensor;

/// A parameter, its gradient or its state, flattened: most updates do not care for the shape.
type Flat<B> = Tensor<B, 1>;

#[cfg(test)]
mod tests;
