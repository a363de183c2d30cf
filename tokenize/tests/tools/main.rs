//! The commands over datasets, run over small ones.

mod common;
mod export;
mod merge;
mod retext;
mod status;
mod verify;
