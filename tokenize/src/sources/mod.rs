//! The corpora that can be tokenized, and the forms of files that they share.

mod archive;
pub mod common_voice;
pub mod common_voice_table;
pub mod compressed;
pub mod cvss;
pub mod emilia;
pub mod folder;
pub mod instructions;
mod lang;
pub mod librispeech;
pub mod librispeech_table;
pub mod libritts;
mod lines;
pub mod mls;
pub mod mls_recordings;
pub mod nemotron;
pub mod one_a_row;
mod pairs;
pub mod peoples_speech;
pub mod pretokenized;
pub mod retext;
pub mod table;
mod tree;
mod wav;
pub mod yodas;

use stores::Store;

use crate::error::Error;

/// The input at `store` is not that of the source asked for.
fn layout(store: &Store, problem: String) -> Error {
    Error::Layout {
        location: store.location().to_owned(),
        problem,
    }
}
