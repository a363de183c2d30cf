//! The subcommands: what each is asked, and what it prints.

pub mod fit;
pub mod plot;
