use crate::common::{check, check_packed};

const COMMAND: [&str; 3] = ["librispeech", "--codec", "mel-rvq"];

#[test]
fn flacs_with_lines_are_documents() {
    check("librispeech", "LibriSpeech", &COMMAND);
}

#[test]
fn archives_are_read_as_the_tree_that_they_unpack_to() {
    let packs = ["train-clean-100", "train-other-500", "dev-clean"];
    let packs = packs.map(|split| (split, format!("{split}.tar.gz")));
    check_packed("librispeech", "LibriSpeech", &packs, &COMMAND);
}

#[test]
fn the_hubs_tables_are_read_too() {
    check("librispeech", "librispeech_asr", &COMMAND);
}
