//! `tokenize retext`.

use std::fs;

use serde_json::Value;
use shards::{Document, Vocab};

use crate::common::{
    Place, documents, json, repository, rewrite_shard, run_ok, run_refused, tokenize,
};

/// The base of an extended tokenizer, without its last merges: it cuts texts into more tokens.
pub fn other_base(extended: &Value) -> Value {
    let assets = repository().join("tokenize/assets/tokenizer.json");
    let mut base = json(&fs::read_to_string(assets).unwrap());
    assert!(
        extended["model"] == base["model"],
        "made from the bundled one"
    );
    let merges = base["model"]["merges"].as_array_mut().unwrap();
    merges.truncate(merges.len() / 2);
    base
}

fn place_with_other() -> Place {
    let place = Place::new();
    let extended = fs::read_to_string(place.path("tokenizer/tokenizer.json")).unwrap();
    let other = place.path("other.json");
    fs::write(&other, other_base(&json(&extended)).to_string()).unwrap();
    place.vocab(&other, "other", 2048);
    place
}

fn retext(place: &Place, from: &str, out: &str) -> std::process::Command {
    let mut retext = tokenize("retext");
    retext
        .arg(place.path(from))
        .arg("--tokenizer")
        .arg(place.path("other"));
    retext.arg("--out").arg(place.path(out));
    retext
}

/// What no source of today makes, but a shard may hold.
fn make_odd(documents: &mut [Document]) {
    let document = documents.iter_mut().find(|d| d.segments.len() > 2).unwrap();
    document.source = "elsewhere".into();
    document.lang = String::new();
    let segments = &mut document.segments;
    for (segment, speaker) in segments.iter_mut().zip([Some(3), None, Some(1)]) {
        segment.speaker = speaker;
    }
    segments[0].text = " \u{feff}white space \n".into();
    segments[0].start_ms = Some(7);
    segments[1].end_ms = Some(u32::MAX);
    segments[1].text = " \t ".into();
    segments[2].text.clear();
    for segment in segments {
        segment.text_ids.clear();
    }
}

#[test]
fn everything_but_the_ids_is_kept() {
    let place = place_with_other();
    let en = place.dataset("en");
    rewrite_shard(&en, 0, |documents| make_odd(documents));
    run_ok(&mut retext(&place, "en", "out"));
    run_ok(tokenize("verify").arg(place.path("out")));

    let vocab = Vocab::load(&place.path("other")).unwrap();
    let before = documents(&en);
    let mut expected = before.clone();
    let segments = || before.iter().flat_map(|document| &document.segments);
    assert!(segments().any(|s| s.text.is_empty()) && segments().any(|s| s.speaker == Some(1)));
    for segment in expected.iter_mut().flat_map(|d| &mut d.segments) {
        segment.text_ids = vocab.encode_text(&segment.text).unwrap();
    }
    assert_ne!(expected, before, "the tokenizers must differ");
    assert_eq!(documents(&place.path("out")), expected);
}

#[test]
fn bad_documents_are_left_out_only_where_that_is_allowed() {
    let place = place_with_other();
    let en = place.dataset("en");
    rewrite_shard(&en, 0, |documents| documents[0].segments.clear());
    let (_, stderr) = run_refused(&mut retext(&place, "en", "out"));
    assert!(stderr.contains("more than --max-bad 0 allows"), "{stderr}");
    run_ok(retext(&place, "en", "out").args(["--max-bad", "0.5"]));
    let left = documents(&place.path("out"));
    assert_eq!(left.len() + 1, documents(&en).len());
}

#[test]
fn text_alone_and_workers() {
    let place = place_with_other();
    let text = place.path("web/contrib/Nemotron/Nemotron-CC/data-jsonl/quality=high/kind=actual");
    fs::create_dir_all(&text).unwrap();
    for name in ["a", "b", "c"] {
        let line = format!("{{\"text\": \"The text of {name}.\", \"id\": \"{name}\"}}\n");
        fs::write(text.join(format!("{name}.jsonl")), line).unwrap();
    }
    let mut nemotron = tokenize("nemotron");
    nemotron
        .args(["--split", "hq_actual"])
        .arg("--input")
        .arg(place.path("web"));
    nemotron.arg("--tokenizer").arg(place.path("tokenizer"));
    run_ok(nemotron.arg("--out").arg(place.path("")));
    let from = "nemotron-hq_actual";
    run_ok(&mut retext(&place, from, "alone"));
    run_ok(retext(&place, from, "shared").args(["--worker", "0/2"]));
    let (_, stderr) = run_refused(tokenize("stats").arg(place.path("shared")));
    assert!(stderr.contains("has not finished"), "{stderr}");
    run_ok(retext(&place, from, "shared").args(["--worker", "1/2"]));
    let [alone, shared] = ["alone", "shared"].map(|name| documents(&place.path(name)));
    assert_eq!(alone, shared);
    assert_eq!(alone.len(), 3);
    assert_eq!(alone[0].source, "nemotron-hq_actual");
}

#[test]
fn a_dataset_is_not_made_from_itself() {
    let place = place_with_other();
    let en = place.dataset("en");
    let (_, stderr) = run_refused(retext(&place, "en", "en").arg("--overwrite"));
    assert!(stderr.contains("inside the output folder"), "{stderr}");
    run_ok(tokenize("verify").arg(en));

    // codes without ids
    let base = repository().join("tokenize/assets/tokenizer.json");
    place.vocab(&base, "small", 16);
    let mut retext = tokenize("retext");
    retext
        .arg(place.path("en"))
        .arg("--out")
        .arg(place.path("out"));
    let (_, stderr) = run_refused(retext.arg("--tokenizer").arg(place.path("small")));
    assert!(stderr.contains("make a fitting one"), "{stderr}");
}
