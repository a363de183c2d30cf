//! What others tokenized, with the codec's weights unknown.

use crate::common::check;

#[test]
fn twins_become_one_and_changed_audio_is_found() {
    for (component, input) in [
        ("yodas2-en", "yodas2-mm-pretrain/en000"),
        ("emilia-en", "emilia-mm-pretrain/Emilia/EN"),
    ] {
        let command = ["pretokenized", "--source", component];
        check("pretokenized", input, &command);
    }
}
