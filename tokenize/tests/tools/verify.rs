//! `tokenize verify` finds what was done to a dataset.

use std::fs;
use std::path::Path;

use shards::Document;

use crate::common::{Place, documents, json, rewrite_shard, run_ok, run_refused, tokenize};

/// The faults found, as they are listed.
fn faults(dir: &Path) -> Vec<String> {
    let (stdout, stderr) = run_refused(tokenize("verify").arg(dir));
    let mut lines: Vec<_> = stdout.lines().map(str::to_owned).collect();
    let total = lines.pop().unwrap();
    let n = lines.len();
    assert!(total.ends_with(&format!(": {n} faults")), "{total}");
    assert!(stderr.contains(&format!("has {n} faults")), "{stderr}");
    lines
}

fn assert_found(faults: &[String], expected: &[&[&str]]) {
    let is_found = |parts: &&[&str]| {
        faults
            .iter()
            .any(|fault| parts.iter().all(|part| fault.contains(part)))
    };
    let missing: Vec<_> = expected.iter().filter(|parts| !is_found(parts)).collect();
    assert!(missing.is_empty(), "{missing:?} are not among {faults:#?}");
}

#[test]
fn a_sound_dataset_has_no_faults() {
    let place = Place::new();
    let dir = place.dataset("en");
    let report = json(&run_ok(tokenize("verify").arg(&dir).arg("--json")));
    assert_eq!(report["faults"], serde_json::json!([]));
    assert_eq!(report["documents"], documents(&dir).len());
    assert!(
        report["shards"].as_u64().unwrap() > 1,
        "one shard tests too little"
    );
}

#[test]
fn damage_is_found() {
    let place = Place::new();
    let dir = place.dataset("en");
    let shard = dir.join("part-00000.parquet");
    let good = fs::read(&shard).unwrap();

    // one byte, wherever it is, changes the hash; within the codes also what is decoded
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    fs::write(&shard, &flipped).unwrap();
    assert_found(&faults(&dir), &[&["part-00000.parquet: its sha256 is"]]);

    fs::write(&shard, &good[..good.len() - 9]).unwrap();
    let expected: [&[&str]; 2] = [
        &["part-00000.parquet: it has", "by manifest.json"],
        &["part-00000.parquet", "truncated or damaged"],
    ];
    assert_found(&faults(&dir), &expected);

    fs::write(&shard, &good).unwrap();
    let manifest = dir.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let hash = json(&text)["shards"][1]["summary"]["sha256"]
        .as_str()
        .unwrap()
        .to_owned();
    fs::write(&manifest, text.replace(&hash, &"0".repeat(64))).unwrap();
    let found = faults(&dir);
    let expected: [&[&str]; 2] = [
        &["part-00001.parquet: its sha256 is", &hash],
        &["units/part-00001.json: its shard is"],
    ];
    assert_found(&found, &expected);
    assert!(
        !found.iter().any(|fault| fault.contains("part-00000")),
        "{found:?}"
    );
}

#[test]
fn shards_that_changed_places_are_found() {
    let place = Place::new();
    let dir = place.dataset("en");
    let [first, second] = ["part-00000.parquet", "part-00001.parquet"].map(|name| dir.join(name));
    fs::rename(&first, dir.join("aside")).unwrap();
    fs::rename(&second, &first).unwrap();
    fs::rename(dir.join("aside"), &second).unwrap();
    let expected: [&[&str]; 3] = [
        &["part-00000.parquet: it has"],
        &["part-00001.parquet: it has"],
        &["part-00000.parquet: it holds"],
    ];
    assert_found(&faults(&dir), &expected);

    fs::copy(&first, dir.join("part-00077.parquet")).unwrap();
    assert_found(
        &faults(&dir),
        &[&["part-00077.parquet: manifest.json does not know it"]],
    );
}

#[test]
fn text_and_ids_must_agree() {
    let place = Place::new();
    let dir = place.dataset("en");
    let mut id = String::new();
    rewrite_shard(&dir, 0, |documents| {
        let text = documents.iter_mut().find(|d| d.segments.len() > 1).unwrap();
        id.clone_from(&text.id);
        text.segments[1].text.push('!');
    });
    // every hash fits again
    let expected = format!(
        "part-00000.parquet, row group 0, document {id:?}: segment 1: its text ids are not"
    );
    let found = faults(&dir);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_found(&found, &[&[&expected]]);
}

#[test]
fn ids_must_differ() {
    let place = Place::new();
    let dir = place.dataset("en");
    let first = documents(&dir)[0].id.clone();
    rewrite_shard(&dir, 1, |documents: &mut Vec<Document>| {
        documents[0].id.clone_from(&first);
    });
    let expected =
        format!("part-00000.parquet, document {first:?}: the id is also in part-00001.parquet");
    assert_eq!(faults(&dir), [expected]);
}

#[test]
fn lists_of_bad_records_must_be_whole() {
    let place = Place::new();
    let dir = place.dataset("en");
    let list = fs::read_dir(dir.join("skipped"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&list).unwrap();
    assert!(text.lines().count() > 0);
    fs::write(
        &list,
        text.split_inclusive('\n').skip(1).collect::<String>(),
    )
    .unwrap();
    let name = list.file_name().unwrap().to_str().unwrap();
    let found = faults(&dir);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_found(&found, &[&[&format!("skipped/{name}: it lists"), "says"]]);

    fs::write(dir.join("skipped.jsonl"), "{}\n").unwrap();
    assert_found(&faults(&dir), &[&["skipped.jsonl: ", "line 1"]]);
}

#[test]
fn what_is_no_finished_dataset_is_refused() {
    let place = Place::new();
    let (_, stderr) = run_refused(tokenize("verify").arg(place.path("tokenizer")));
    assert!(stderr.contains("is not a dataset"), "{stderr}");
    let dir = place.dataset("es");
    fs::remove_file(dir.join("manifest.json")).unwrap();
    let (_, stderr) = run_refused(tokenize("verify").arg(dir));
    assert!(stderr.contains("has not finished"), "{stderr}");
}
