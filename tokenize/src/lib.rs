//! Speech and text corpora to token shards.
//!
//! ```text
//! Source ── units of documents ──► pipeline ── in order ──► one shard a unit ──► manifest
//!  (files and transcripts)          decode, resample,         (crate `shards`)
//!                                   codec, tokenizer
//! ```
//!
//! A [`source::Source`] plans units of documents; [`job::run`] turns each unit into one shard file. What is finished is
//! never redone, what is unfinished is redone whole, and the bytes do not depend on the number of threads.

pub mod check;
pub mod commands;
pub mod encode;
pub mod error;
pub mod job;
pub mod output;
pub mod pipeline;
pub mod progress;
pub mod skipped;
pub mod source;
pub mod sources;
pub mod summary;

pub use error::{Error, Result};
