//! Qwen3-architecture models over audio and text tokens: training and generation.
//!
//! [`train::run`] runs an experiment's plan to its end; a [`run_dir::RunDir`] holds what it reached.

pub mod anneal;
pub mod backend;
pub mod checkpoint;
pub mod cli;
mod error;
pub mod finetune;
pub mod generate;
pub mod hf;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod optim;
pub mod report;
pub mod run_dir;
pub mod slurm;
pub mod trackers;
pub mod train;
pub mod watch;
pub mod weights;
pub mod world;

pub use error::{Error, Result};
