//! The People's Speech: an utterance a row of `{split}/train-NNNNN-of-NNNNN.parquet`, with its length in milliseconds.

use stores::Store;

use super::one_a_row::{Names, OneARow};
use super::table;
use crate::error::Result;

/// Where the corpus is published.
pub const PUBLISHED: &str = "hf://datasets/MLCommons/peoples_speech";

/// The splits of the recipe, each in a folder of its name.
pub const SPLITS: [&str; 2] = ["clean", "clean_sa"];

const NAMES: Names = Names {
    id: "id",
    text: "text",
    audio: "audio",
    speaker: None,
    duration_ms: Some("duration_ms"),
};

/// Plans the training part of a split.
///
/// # Errors
/// [`Error::Layout`](crate::Error::Layout) if there are no such files.
pub fn open(store: &Store, split: &str) -> Result<OneARow> {
    let (name, wanted) = (
        format!("peoples-speech-{split}"),
        format!("{split}/train-*.parquet"),
    );
    let objects = table::list(store, split, &wanted, |path| path.starts_with("train-"))?;
    let text = str::to_owned;
    Ok(OneARow::new(
        "peoples-speech",
        &name,
        store,
        objects,
        &NAMES,
        text,
    ))
}
