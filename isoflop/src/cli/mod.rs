//! The subcommands.

mod grid_args;
mod study_args;
pub mod sweep;
pub mod target;
