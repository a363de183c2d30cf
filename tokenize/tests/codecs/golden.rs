//! The codes in shards, one codec of each architecture, against those that `scripts/make_golden_shards.py` wrote down.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::run::{folder, here, make_vocab, run_ok, tokenize};
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
