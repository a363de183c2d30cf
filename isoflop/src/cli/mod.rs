//! The subcommands: what each is asked, and what it prints.

pub mod fit;
mod grid_args;
pub mod plot;
mod study_args;
pub mod sweep;
pub mod target;
