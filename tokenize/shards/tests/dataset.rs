//! Dataset directories: job, manifest, and what is not a finished dataset.

use shards::*;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn job(language: &str) -> Job {
    let tokenizer = TokenizerInfo {
        name: "t".into(),
        sha256: "1".into(),
    };
    let arguments = BTreeMap::from([("langs".to_string(), language.to_string())]);
    Job::new(
        "folder",
        arguments,
        None,
        tokenizer,
        vec!["a".into(), "b".into()],
    )
}

fn refusal(dir: &Path) -> String {
    Dataset::open(dir).err().unwrap().to_string()
}

#[test]
fn a_job_survives_its_file_and_is_told_from_others() {
    let path = Path::new("out").join(Job::FILE);
    let parse = |text: &str| Job::parse(text.as_bytes(), &path);
    let text = String::from_utf8(job("en").to_json()).unwrap();
    let read = parse(&text).unwrap();
    assert_eq!(read, job("en"));
    assert_eq!(read.arguments_sha256(), job("en").arguments_sha256());
    assert_ne!(read.arguments_sha256(), job("de").arguments_sha256());
    let other = text.replace("\"format\": 1", "\"format\": 2");
    let error = parse(&other).unwrap_err().to_string();
    assert!(
        error.contains("job.json") && error.contains("format is 2"),
        "{error}"
    );
    let error = parse(&text.replace("units", "bunits"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("bunits") && error.contains("line"),
        "{error}"
    );
}

#[test]
fn only_finished_datasets_open() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(&dir.path().join("absent")).contains("absent"));
    assert!(refusal(dir.path()).contains("not a dataset"));
    fs::write(dir.path().join(Job::FILE), job("en").to_json()).unwrap();
    assert!(refusal(dir.path()).contains("has not finished"));

    let file = Dataset::shard_file_name(0);
    assert_eq!(file, "part-00000.parquet");
    let summary = ShardSummary {
        bytes: 5,
        ..ShardSummary::default()
    };
    let skipped = BTreeMap::from([("silent".to_string(), 2)]);
    let shards = vec![ShardEntry { file, summary }];
    let manifest = Manifest::new(shards, skipped, BTreeMap::new());
    fs::write(dir.path().join(Manifest::FILE), manifest.to_json()).unwrap();
    assert!(refusal(dir.path()).contains("part-00000.parquet"));
    let path = dir.path().join("part-00000.parquet");
    fs::write(&path, b"12345").unwrap();
    let dataset = Dataset::open(dir.path()).unwrap();
    assert_eq!(
        (dataset.manifest(), dataset.path(0)),
        (&manifest, path.clone())
    );
    assert_eq!(dataset.tokenizer_dir(), dir.path().join("tokenizer"));
    fs::write(&path, b"123").unwrap();
    let message = refusal(dir.path());
    assert!(
        message.contains("3 bytes") && message.contains("5 by manifest.json"),
        "{message}"
    );
}
