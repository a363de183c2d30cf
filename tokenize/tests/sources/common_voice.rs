use crate::common::{check, check_packed};

const COMMAND: [&str; 3] = ["common-voice", "--codec", "mel-rvq"];
const MOZILLA: &str = "cv-corpus-17.0-2024-03-15";

#[test]
fn clips_of_the_table_are_documents() {
    check("common-voice", MOZILLA, &COMMAND);
    check("common-voice", "common_voice_17_0", &COMMAND);
}

#[test]
fn the_hubs_tables_with_clips_are_read_too() {
    check("common-voice", "common_voice_17_0_parquet", &COMMAND);
}

#[test]
fn an_archive_is_read_as_the_tree_that_it_unpacks_to() {
    let packs = [("en", format!("{MOZILLA}-en.tar.gz"))];
    check_packed("common-voice", MOZILLA, &packs, &COMMAND);
}
