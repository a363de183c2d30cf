//! Speech and text corpora to token shards.
//!
//! ```text
//! Source ─ utterances ─► feed ─► pipeline ─ in order ─► assembler ─ documents ─► one shard a unit ─► manifest
//!  (one file each)      (reads    (decode, resample,     (groups by              (crate `shards`)
//!                        ahead)    codec, tokenizer)      document)
//! ```
//!
//! A [`source::Source`] plans units of input and emits the utterances of each in the order in which it reads them.
//! Utterances are encoded first and grouped into documents later, for codes are a hundredth of the audio they stand for:
//! so archives are streamed once, whatever their order. [`job::Tokenization`] turns each unit into one shard file. What is
//! finished is never redone, what is unfinished is redone whole, and the bytes do not depend on the number of threads or
//! workers.

pub mod assemble;
pub mod check;
pub mod commands;
pub mod encode;
pub mod error;
pub mod export;
pub mod feed;
pub mod filter;
pub mod heartbeat;
pub mod ids;
pub mod job;
pub mod merge;
pub mod nearby;
pub mod output;
pub mod pipeline;
pub mod progress;
pub mod sample;
pub mod skipped;
pub mod source;
pub mod sources;
pub mod status;
pub mod summary;
pub mod verify;
pub mod worker;

pub use error::{Error, Result};
