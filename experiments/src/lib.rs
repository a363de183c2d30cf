//! Experiments as data: one TOML file an experiment, resolved to a [`Plan`] that a trainer can run
//! and a reader can check against a table.

mod error;
pub mod flops;
mod plan;
mod resolve;

pub use error::{Error, Result};
pub use plan::{ModelConfig, OptimizerConfig, Plan, RopeConfig, RopeScaling, ScheduleConfig};
pub use resolve::{names, resolve};
