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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skipped::BadRecord;
    use crate::source::{Counter, Emit, RawUtterance, Source, Transcript};

    #[derive(Default)]
    struct Heard(Vec<(String, String)>);

    impl Emit for Heard {
        fn utterance(&mut self, utterance: RawUtterance) -> Result<()> {
            let Transcript::Text(text) = utterance.transcript else {
                panic!("{} has no text", utterance.id);
            };
            self.0.push((utterance.id, text));
            Ok(())
        }

        fn bad(&mut self, record: BadRecord) -> Result<()> {
            panic!("{record:?}")
        }

        fn counter(&self) -> Counter {
            Counter::default()
        }
    }

    #[test]
    fn training_utterances_are_lower_case() {
        let corpus = "../tests/fixtures/sources/librispeech/librispeech_asr";
        let corpus = format!("{}/{corpus}", env!("CARGO_MANIFEST_DIR"));
        let source = open(&Store::open(&corpus).unwrap()).unwrap();
        let mut heard = Heard::default();
        for unit in 0..source.units().len() {
            assert!(source.units()[unit].label.starts_with("all/train."));
            source.read(unit, &mut heard).unwrap();
        }
        let expected = ("374-180298-0000", "good morning, the bread is fresh");
        assert_eq!(heard.0[0], (expected.0.to_owned(), expected.1.to_owned()));
        assert_eq!(heard.0.len(), 7);
        assert!(heard.0.iter().all(|(_, text)| *text == text.to_lowercase()));
    }
}
