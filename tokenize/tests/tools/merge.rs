//! `tokenize merge`.

use std::fs;
use std::path::Path;

use crate::common::{Place, documents, json, rewrite_shard, run_ok, run_refused, tokenize};

fn merge(place: &Place, names: &[&str], out: &str) -> std::process::Command {
    let mut merge = tokenize("merge");
    merge.args(names.iter().map(|name| place.path(name)));
    merge.arg("--out").arg(place.path(out));
    merge
}

fn manifest(dir: &Path) -> serde_json::Value {
    json(&fs::read_to_string(dir.join("manifest.json")).unwrap())
}

#[test]
fn a_merged_dataset_has_the_documents_of_all() {
    let place = Place::new();
    let (en, es, de) = (
        place.dataset("en"),
        place.dataset("es"),
        place.dataset("de"),
    );
    let summary = json(&run_ok(merge(&place, &["en", "es"], "two").arg("--json")));
    let two = place.path("two");
    run_ok(tokenize("verify").arg(&two));
    let expected = [documents(&en), documents(&es)].concat();
    assert_eq!(documents(&two), expected);
    assert_eq!(summary["documents"], expected.len());
    // bad records go along
    assert_eq!(manifest(&two)["skipped"], manifest(&en)["skipped"]);
    let lists = [&two, &en].map(|dir| fs::read(dir.join("skipped.jsonl")).unwrap());
    assert_eq!(lists[0], lists[1]);
    let stats = json(&run_ok(tokenize("stats").arg(&two).arg("--json")));
    assert_eq!(stats["documents"], expected.len());

    // a merged one can be merged
    run_ok(&mut merge(&place, &["two", "de"], "three"));
    run_ok(tokenize("verify").arg(place.path("three")));
    assert_eq!(
        documents(&place.path("three")),
        [expected, documents(&de)].concat()
    );
}

#[test]
fn what_was_interrupted_can_be_repeated() {
    let place = Place::new();
    place.dataset("en");
    place.dataset("es");
    run_ok(&mut merge(&place, &["en", "es"], "whole"));
    run_ok(&mut merge(&place, &["en", "es"], "out"));
    let out = place.path("out");
    // as if killed: no manifest, one shard without its record, one half copied
    fs::remove_file(out.join("manifest.json")).unwrap();
    fs::remove_file(out.join("units/part-00001.json")).unwrap();
    fs::remove_file(out.join("units/part-00000.json")).unwrap();
    fs::remove_file(out.join("part-00000.parquet")).unwrap();
    fs::write(out.join(".part-00000.parquet.partial"), b"PAR1").unwrap();
    let (_, stderr) = run_refused(tokenize("stats").arg(&out));
    assert!(stderr.contains("has not finished"), "{stderr}");
    let summary = json(&run_ok(merge(&place, &["en", "es"], "out").arg("--json")));
    let shards = summary["shards"].as_u64().unwrap();
    assert_eq!(summary["shards_kept"], shards - 2);
    run_ok(tokenize("verify").arg(&out));
    assert_eq!(manifest(&out), manifest(&place.path("whole")));
    assert!(!out.join(".part-00000.parquet.partial").exists());
}

#[test]
fn a_link_does_not_tie_the_datasets() {
    let place = Place::new();
    let en = place.dataset("en");
    place.dataset("es");
    run_ok(&mut merge(&place, &["en", "es"], "out"));
    rewrite_shard(&en, 0, |documents| documents[0].id.push('x'));
    run_ok(tokenize("verify").arg(place.path("out")));
}

#[test]
fn unlike_datasets_are_refused() {
    let place = Place::new();
    let en = place.dataset("en");
    let first = documents(&en)[0].id.clone();

    let (_, stderr) = run_refused(&mut merge(&place, &["en", "en"], "out"));
    assert!(
        stderr.contains("occur more than once") && stderr.contains(&format!("{first:?} in ")),
        "{stderr}"
    );

    let text = place.path("web/contrib/Nemotron/Nemotron-CC/data-jsonl/quality=high/kind=actual");
    fs::create_dir_all(&text).unwrap();
    fs::write(text.join("a.jsonl"), "{\"text\": \"Some text.\"}\n").unwrap();
    let mut nemotron = tokenize("nemotron");
    nemotron
        .args(["--split", "hq_actual"])
        .arg("--input")
        .arg(place.path("web"));
    nemotron.arg("--tokenizer").arg(place.path("tokenizer"));
    run_ok(nemotron.arg("--out").arg(place.path("")));
    let (_, stderr) = run_refused(&mut merge(&place, &["en", "nemotron-hq_actual"], "out"));
    assert!(stderr.contains("their codecs differ (mel-rvq"), "{stderr}");

    let base = fs::read_to_string(place.path("tokenizer/tokenizer.json")).unwrap();
    let other = place.path("other.json");
    fs::write(&other, crate::retext::other_base(&json(&base)).to_string()).unwrap();
    place.vocab(&other, "other", 2048);
    let mut retext = tokenize("retext");
    retext.arg(&en).arg("--tokenizer").arg(place.path("other"));
    run_ok(retext.arg("--out").arg(place.path("retold")));
    let (_, stderr) = run_refused(&mut merge(&place, &["en", "retold"], "out"));
    assert!(stderr.contains("their tokenizers differ"), "{stderr}");
    assert!(!place.path("out").exists());
}
