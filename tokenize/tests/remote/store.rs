//! Jobs whose input and output are in an object store.

use crate::bench::{Bench, assert_same, files, run_ok, without_inputs};

/// From store to store is what it is from store to folder, to the byte, and but for the names of inputs what it is from
/// folder to folder.
fn check(source: &[&str], corpus: &str) {
    let bench = Bench::new();
    let input = bench.put(corpus);
    run_ok(&mut bench.job(source, &input, &Bench::url("data")));
    let half = bench.path("half");
    run_ok(&mut bench.job(source, &input, half.to_str().unwrap()));
    assert_same(&bench.stored("data"), &files(&half));
    let local = bench.local(source, corpus);
    assert_same(
        &without_inputs(bench.stored("data")),
        &without_inputs(local),
    );
}

#[test]
fn lines_of_text() {
    check(&["nemotron", "--split", "hq_actual"], "nemotron");
}

#[test]
fn recordings_that_are_objects_of_their_own() {
    check(
        &["librispeech", "--codec", "mel-rvq"],
        "librispeech/LibriSpeech",
    );
}

#[test]
fn archives() {
    let parts = ["--split", "Emilia,Emilia-YODAS", "--langs", "EN"];
    let source = [&["emilia", "--codec", "mel-rvq"][..], &parts].concat();
    check(&source, "emilia");
    check(&["yodas", "--langs", "en", "--codec", "mel-rvq"], "yodas");
}

#[test]
fn tables() {
    check(&["mls", "--codec", "mel-rvq"], "mls");
    check(
        &["common-voice", "--codec", "mel-rvq"],
        "common-voice/common_voice_17_0_parquet",
    );
}
