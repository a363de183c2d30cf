//! Token shards: the contract between the tokenizing and the training side.
//!
//! A [`Document`] is a list of [`Segment`]s, each with text, audio codes or both. Documents live in *shards*: parquet files,
//! one row a document, written by [`ShardWriter`] and read by [`ShardReader`]. The shards of one tokenizing job, with its
//! tokenizer, form a [`Dataset`]. [`VocabLayout`] says which token id means what; [`Vocab`] adds the text tokenizer.
//! A [`View`] makes a row of token ids of a document, and nothing else decides their order.
//! Nothing here knows of audio samples or of tensors.

mod atomic;
mod check;
mod columns;
mod counts;
mod dataset;
mod document;
mod error;
mod extend;
mod layout;
mod meta;
mod read_at;
mod reader;
mod schema;
mod text;
mod view;
mod vocab;
mod writer;

pub use atomic::{sha256_file, sha256_hex, write_atomic};
pub use check::check_document;
pub use columns::{Columns, Wanted};
pub use counts::DocumentCounts;
pub use dataset::{Dataset, Job, Manifest, ShardEntry};
pub use document::{Document, Segment};
pub use error::{Error, Result};
pub use extend::{extend_tokenizer, tokenizer_ids};
pub use layout::{TokenKind, VocabLayout, pua_char};
pub use meta::{CodecInfo, ShardMeta, TokenizerInfo};
pub use read_at::ReadAt;
pub use reader::ShardReader;
pub use view::{Block, Order, SegmentRef, Sink, View};
pub use vocab::Vocab;
pub use writer::{ShardSummary, ShardWriter, WriterOptions};
