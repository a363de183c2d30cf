//! Common Voice 17 as the hub's copies in parquet have it: an utterance a row of `en/train-NNNNN-of-NNNNN.parquet`.
//!
//! The columns are those of Mozilla's table, with the clip itself in `audio`. Only the split `train` is taken.

use stores::{Object, Store};

use super::one_a_row::{Names, OneARow};
use super::{archive, common_voice};
use crate::error::Result;

const NAMES: Names = Names {
    id: "path",
    text: "sentence",
    audio: "audio",
    speaker: Some("client_id"),
    duration_ms: None,
};

/// Plans the training part, if the input has this form.
///
/// # Errors
/// [`Error::Stores`](crate::Error::Stores) if the input cannot be listed.
pub fn find(store: &Store) -> Result<Option<OneARow>> {
    // a table is looked for first: the clips beside it may be a million, which take long to list
    for table in common_voice::TABLES {
        if store.head(table)?.is_some() {
            return Ok(None);
        }
    }
    let mut objects = store.list("en")?;
    objects.retain(is_train);
    Ok((!objects.is_empty()).then(|| {
        let text = str::to_owned;
        OneARow::new(
            common_voice::KIND,
            common_voice::NAME,
            store,
            objects,
            &NAMES,
            text,
        )
        .with_ids(id)
    }))
}

/// `en/train-….parquet`, or `en/train/….parquet`.
fn is_train(object: &Object) -> bool {
    let name = object.path.strip_prefix("en/train");
    let is_split = name.is_some_and(|rest| rest.starts_with(['-', '/']));
    is_split && object.path.ends_with(".parquet")
}

/// The clip's name, as in the other forms: `path` may name the folder or archive that it was in.
fn id(path: &str) -> &str {
    archive::stem(path, ".mp3").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_utterance_is_named_as_in_the_other_forms() {
        for path in ["common_voice_en_7.mp3", "en_train_0/common_voice_en_7.mp3"] {
            assert_eq!(id(path), "common_voice_en_7");
        }
        assert_eq!(id("common_voice_en_7"), "common_voice_en_7");
    }

    #[test]
    fn only_the_split_for_training_is_taken() {
        let is_taken = |path: &str| {
            is_train(&Object {
                path: path.to_owned(),
                size: 1,
                etag: None,
            })
        };
        assert!(is_taken("en/train-00000-of-00002.parquet"));
        assert!(is_taken("en/train/0000.parquet"));
        for path in [
            "en/validation-00000-of-00001.parquet",
            "en/training.parquet",
            "en/train-00000-of-00002.tar",
            "de/train-00000-of-00002.parquet",
        ] {
            assert!(!is_taken(path), "{path}");
        }
    }
}
