//! The corpora that can be tokenized, and the forms of files that they share.

mod archive;
pub mod common_voice;
pub mod compressed;
pub mod emilia;
pub mod folder;
mod lang;
pub mod librispeech;
pub mod nemotron;
mod pairs;
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
