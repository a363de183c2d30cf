//! The subcommands.

pub mod fit;
mod grid_args;
pub mod plot;
mod study_args;
pub mod sweep;
pub mod target;
