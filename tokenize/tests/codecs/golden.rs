//! The codes in shards, one codec of each architecture, against those that `scripts/make_golden_shards.py` wrote down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run::{folder, here, make_vocab, run_ok, run_refused, tokenize};
use serde::Deserialize;
use shards::Dataset;

/// Codes of the documents made of a folder of recordings.
#[derive(Deserialize)]
struct Golden {
    recordings: String,
    codebooks: usize,
    codebook_size: usize,
    /// By id: `[frames][codebooks]`.
    documents: BTreeMap<String, Vec<Vec<u16>>>,
}

/// Tokenizes the recordings of `tests/golden/NAME.json` with `codec` and compares; then makes the documents audible.
fn assert_golden(name: &str, codec: &Path) {
    let text = fs::read_to_string(here(&format!("tests/golden/{name}.json"))).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    let recordings = here(&format!("tests/golden/{}", golden.recordings));
    let temp = tempfile::tempdir().unwrap();
    make_vocab(
        &temp.path().join("vocab"),
        golden.codebooks,
        golden.codebook_size,
    );
    let mut shards = Vec::new();
    for threads in ["1", "2"] {
        run_ok(folder(temp.path(), &recordings, codec, threads).args(["--threads", threads]));
        shards.push(fs::read(temp.path().join(threads).join("part-00000.parquet")).unwrap());
    }
    assert_eq!(
        shards[0], shards[1],
        "one thread and two make different shards"
    );

    let mut found = codes(&temp.path().join("1"), golden.codebooks);
    for (id, expected) in &golden.documents {
        let found = found
            .remove(id)
            .unwrap_or_else(|| panic!("{id} is missing"));
        assert_eq!(found.len(), expected.len(), "frames of {id}");
        for (frame, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert_eq!(found, expected, "frame {frame} of {id}");
        }
        assert_decodes(temp.path(), &recordings, id);
    }
    assert!(found.is_empty(), "more documents: {:?}", found.keys());
}

/// `[frames][codebooks]` of each document of a dataset; each has one segment.
fn codes(dataset: &Path, codebooks: usize) -> BTreeMap<String, Vec<Vec<u16>>> {
    let reader = Dataset::open(dataset).unwrap().reader(0).unwrap();
    let documents = (0..reader.row_groups()).flat_map(|group| reader.documents(group).unwrap());
    let frames = |codes: &[u16]| codes.chunks(codebooks).map(<[u16]>::to_vec).collect();
    documents
        .map(|document| (document.id, frames(&document.segments[0].codes)))
        .collect()
}

/// `tokenize decode` gives a recording of the codec's channels, as long as the original but for half a tenth of a second.
fn assert_decodes(temp: &Path, recordings: &Path, id: &str) {
    let wav = temp.join("decoded.wav");
    let mut decode = tokenize();
    decode.arg("decode").arg(temp.join("1/part-00000.parquet"));
    run_ok(decode.args(["--id", id]).arg("--out").arg(&wav));
    let original = audio::decode_file(&recordings.join(id).with_extension("wav"), 1).unwrap();
    let decoded = audio::decode_file(&wav, 1).unwrap();
    assert_eq!(decoded.source_rate_hz, original.source_rate_hz);
    let stereo = original.source_rate_hz == 48_000;
    assert_eq!(decoded.source_channels, 1 + usize::from(stereo), "{id}");
    let secs = |decoded: &audio::Decoded| {
        decoded.audio.samples.len() as f64 / f64::from(decoded.source_rate_hz)
    };
    let (original, decoded_secs) = (secs(&original), secs(&decoded));
    assert!(
        (decoded_secs - original).abs() < 0.08,
        "{id}: {original} s, {decoded_secs} s decoded"
    );
    assert!(
        decoded.audio.samples.iter().any(|x| x.abs() > 0.01),
        "{id} is silent"
    );
}

#[test]
fn mel_rvq() {
    assert_golden("mel-rvq", Path::new("mel-rvq"));
}

/// A narrow model with the strides, kernels and paddings of the published `name`.
fn narrow(name: &str) -> PathBuf {
    here("encodec-rs/tests/fixtures/lengths").join(name)
}

#[test]
fn mimi() {
    assert_golden("mimi", &narrow("mimi"));
}

#[test]
fn encodec_24khz() {
    assert_golden("encodec_24khz", &narrow("encodec_24khz"));
}

#[test]
fn encodec_48khz() {
    assert_golden("encodec_48khz", &narrow("encodec_48khz"));
}

#[test]
fn dac_16khz() {
    assert_golden("dac_16khz", &narrow("dac_16khz"));
}

#[test]
fn fewer_codebooks_are_the_first_ones() {
    let temp = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(here("tests/golden/mimi.json")).unwrap();
    let golden: Golden = serde_json::from_str(&text).unwrap();
    make_vocab(&temp.path().join("vocab"), 2, golden.codebook_size);
    let recordings = here("tests/golden").join(&golden.recordings);
    let mut two = folder(temp.path(), &recordings, &narrow("mimi"), "1");
    run_ok(two.args(["--codebooks", "2"]));
    let found = codes(&temp.path().join("1"), 2);
    for (id, expected) in &golden.documents {
        let expected: Vec<_> = expected.iter().map(|frame| frame[..2].to_vec()).collect();
        assert_eq!(found[id], expected, "{id}");
        assert_decodes(temp.path(), &recordings, id);
    }
}

#[test]
fn a_codec_that_moved_is_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| temp.path().join(name));
    fs::create_dir(&before).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(narrow("mimi").join(file), before.join(file)).unwrap();
    }
    make_vocab(&temp.path().join("vocab"), 4, 16);
    run_ok(&mut folder(
        temp.path(),
        &here("tests/golden/24khz"),
        &before,
        "out",
    ));
    fs::rename(&before, &after).unwrap();
    let decode = || {
        let mut decode = tokenize();
        decode
            .arg("decode")
            .arg(temp.path().join("out/part-00000.parquet"));
        decode
            .args(["--id", "long", "--out"])
            .arg(temp.path().join("a.wav"));
        decode
    };
    let text = run_refused(&mut decode());
    let was = before.display().to_string();
    assert!(
        text.contains("was made with codec") && text.contains(&was) && text.contains("--codec"),
        "{text}"
    );
    run_ok(decode().arg("--codec").arg(&after));
    let text = run_refused(decode().arg("--codec").arg(narrow("encodec_24khz")));
    assert!(text.contains("give the right file with --codec"), "{text}");
}
