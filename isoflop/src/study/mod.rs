//! A study's folder: `index.json`, `plans/NAME.toml`, and `runs/NAME/`, a run folder of the trainer.

pub mod index;

pub use index::{Entry, Index};
