//! Documents that occur in more than one place.

use crate::common::*;
use crate::program::*;
use mixes::report::Duplicates;
use mixes::*;
use serde_json::Value;
use shards::*;
use tempfile::TempDir;

#[test]
fn documents_in_two_places_are_found() {
    let data = TempDir::new().unwrap();
    let vocab = vocabulary(&data.path().join("first/tokenizer"), 20);
    vocabulary(&data.path().join("second/tokenizer"), 20);
    let documents = |numbers: std::ops::Range<usize>| -> Vec<Document> {
        numbers.map(|number| document(number, &vocab)).collect()
    };
    // 50 to 99 are in both shards of the first, 140 to 149 and 0 are in both components
    write(
        data.path(),
        "first",
        &vocab,
        &[documents(0..100), documents(50..150)].concat(),
        100,
    );
    write(
        data.path(),
        "second",
        &vocab,
        &[documents(140..220), documents(0..1)].concat(),
        100,
    );
    let mixture = Mixture {
        components: vec![
            component("first", View::Both),
            component("second", View::AudioFirst),
        ],
        block_size: 2,
        stages: vec![stage(0, &[0.5, 0.5])],
        ..mixture(View::Both)
    };
    let loader = load(&mixture, data.path());
    let found = Duplicates::find(&loader, Duplicates::HELD).unwrap();
    let counts = found.components.iter().map(|c| (c.documents, c.repeated));
    assert_eq!(counts.collect::<Vec<_>>(), [(200, 50), (81, 0)]);
    let number = |id: &str| {
        id.strip_prefix("document-")
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    let example = number(found.components[0].example.as_ref().unwrap());
    assert!((50..100).contains(&example), "{example}");
    assert_eq!(found.components[1].example, None);
    assert_eq!((found.between.len(), found.between[0].ids), (1, 11));
    let example = number(&found.between[0].example);
    assert!(example == 0 || (140..150).contains(&example), "{example}");
    // however few hashes are held, every document is looked at once
    let mut passes = Duplicates::find(&loader, 40).unwrap();
    passes.components[0].example = found.components[0].example.clone();
    passes.between[0].example = found.between[0].example.clone();
    assert_eq!(passes, found);
}

#[test]
fn duplicates_are_reported_when_asked_for() {
    let data = TempDir::new().unwrap();
    let mix = three(data.path());
    let arguments = [
        "report",
        mix.to_str().unwrap(),
        "--data",
        data.path().to_str().unwrap(),
        "--sequences",
        "9",
        "--seq-len",
        "32",
        "--json",
    ];
    assert!(json(data.path(), &arguments).get("duplicates").is_none());
    let found = json(data.path(), &[&arguments[..], &["--duplicates"]].concat());
    let found = &found["duplicates"];
    assert_eq!(found["components"][0]["documents"], 1800);
    assert_eq!(found["components"][0]["repeated"], 0);
    // their documents are numbered alike
    let shared: Vec<&Value> = found["between"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| &pair["ids"])
        .collect();
    assert_eq!(shared, [500, 60, 60]);
}
