//! LibriSpeech as the hub has it: an utterance a row of `all/{split}/NNNN.parquet`.
//!
//! The transcript is in capitals and is lower-cased. Only the splits `train.*` are taken.

use stores::Store;

use super::one_a_row::{Names, OneARow};
use super::table;
use crate::error::Result;

/// Where this form is published.
pub const PUBLISHED: &str = "hf://datasets/openslr/librispeech_asr";

const NAMES: Names = Names {
    id: "id",
    text: "text",
    audio: "audio",
    speaker: Some("speaker_id"),
    duration_ms: None,
};

/// Plans the training part.
///
/// # Errors
/// [`Error::Layout`](crate::Error::Layout) if there are no such files.
pub fn open(store: &Store) -> Result<OneARow> {
    let wanted = "all/train.*/*.parquet";
    let objects = table::list(store, "all", wanted, |path| path.starts_with("train."))?;
    let text = str::to_lowercase;
    Ok(OneARow::new(
        "librispeech",
        "librispeech-train",
        store,
        objects,
        &NAMES,
        text,
    ))
}
