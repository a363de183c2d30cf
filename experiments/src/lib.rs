//! Experiments as data: one TOML file an experiment, resolved to a [`Plan`] that a trainer can run
//! and a reader can check against a table.
//!
//! [`load`] reads an [`Experiment`], whose variants [`Experiment::resolve`] makes plans of. [`catalog()`] lists them all,
//! [`Summary`], [`Estimate`] and, on many devices, [`Scaling`] say what a plan comes to, and [`differences`] what was changed.

pub mod catalog;
mod check;
mod computed;
mod device;
mod differences;
mod document;
mod error;
pub mod estimate;
mod experiment;
pub mod flops;
mod loss;
mod model;
mod optimizer;
mod plan;
mod resolve;
pub mod scaling;
mod start;
mod summary;
mod variant;
mod vocabulary;

pub use catalog::{catalog, names};
pub use differences::{Difference, differences};
pub use error::{Error, Result};
pub use estimate::{Estimate, Hardware};
pub use experiment::{Experiment, Sweep, load, over};
pub use loss::{AcousticWeights, Decay, LossConfig, TokenWeights};
pub use model::{ModelConfig, RopeConfig, RopeScaling};
pub use optimizer::{MuonConfig, OptimizerConfig, ScheduleConfig, SkipStepConfig};
pub use plan::{AnnealConfig, CheckpointConfig, LoraConfig, Plan, Precision};
pub use resolve::{Resolved, resolve};
pub use scaling::{Cluster, Network, Scaling};
pub use start::Start;
pub use summary::Summary;
pub use variant::{Axis, Variant};
pub use vocabulary::Vocabulary;
