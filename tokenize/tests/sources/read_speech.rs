//! Corpora in parquet with an utterance a row.

use crate::common::{CODEC, check, check_damaged};

fn with_codec<'a>(command: &[&'a str]) -> Vec<&'a str> {
    [command, &CODEC].concat()
}

#[test]
fn libritts_has_normalized_texts() {
    check("libritts", ".", &with_codec(&["libritts"]));
}

#[test]
fn a_file_cut_short_is_counted() {
    check_damaged("libritts-cut", &with_codec(&["libritts"]));
}

#[test]
fn peoples_speech_has_its_training_splits() {
    let command = ["peoples-speech", "--split", "clean,clean_sa"];
    check("peoples-speech", ".", &with_codec(&command));
}
