//! LibriTTS-R: read speech at 24 kHz, an utterance a row of `data/{split}/{split}-NNNNN-of-NNNNN.parquet`.
//!
//! The transcript is `text_normalized`. Only the splits `train.*` are taken.

use stores::Store;

use super::one_a_row::{Names, OneARow};
use super::table;
use crate::error::Result;

/// Where the corpus is published.
pub const PUBLISHED: &str = "hf://datasets/mythicinfinity/libritts_r";

const NAMES: Names = Names {
    id: "id",
    text: "text_normalized",
    audio: "audio",
    speaker: Some("speaker_id"),
    duration_ms: None,
};

/// Plans the training part.
///
/// # Errors
/// [`Error::Layout`](crate::Error::Layout) if there are no such files.
pub fn open(store: &Store) -> Result<OneARow> {
    let wanted = "data/train.*/*.parquet";
    let objects = table::list(store, "data", wanted, |path| path.starts_with("train."))?;
    let text = str::to_owned;
    Ok(OneARow::new(
        "libritts",
        "libritts-train",
        store,
        objects,
        &NAMES,
        text,
    ))
}
