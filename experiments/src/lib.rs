//! Experiments as data: one TOML file an experiment, resolved to a [`Plan`] that a trainer can run
//! and a reader can check against a table.

mod check;
mod error;
pub mod flops;
mod loss;
mod model;
mod optimizer;
mod plan;
mod resolve;

pub use error::{Error, Result};
pub use loss::{AcousticWeights, Decay, LossConfig, TokenWeights};
pub use model::{ModelConfig, RopeConfig, RopeScaling};
pub use optimizer::{MuonConfig, OptimizerConfig, ScheduleConfig, SkipStepConfig};
pub use plan::{CheckpointConfig, Plan, Precision};
pub use resolve::{names, resolve};
