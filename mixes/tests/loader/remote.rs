//! Shards in an object store: what is served is what a folder gives, also when the store has its troubles.

use crate::program::three;
use servers::{Reply, S3, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use tempfile::TempDir;

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .collect()
}

/// `mixes sequences` of the mixture `mix`.
fn sequences(mix: &Path, data: &str, cache: &Path, server: Option<&Server>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixes"));
    command.arg("sequences").arg(mix).args([
        "--data",
        data,
        "--from",
        "100",
        "--count",
        "80",
        "--seq-len",
        "32",
        "--json",
    ]);
    command.env("TIMBRE_CACHE", cache);
    if let Some(server) = server {
        command.env("AWS_ENDPOINT", &server.endpoint);
        command.env("AWS_ACCESS_KEY_ID", "key");
        command.env("AWS_SECRET_ACCESS_KEY", "secret");
    }
    command.output().unwrap()
}

#[test]
fn a_store_serves_what_a_folder_does_in_spite_of_its_troubles() {
    let data = TempDir::new().unwrap();
    let mix = three(data.path());
    let cache = TempDir::new().unwrap();
    let local = sequences(
        &mix,
        data.path().to_str().unwrap(),
        &cache.path().join("local"),
        None,
    );
    assert!(local.status.success());

    let store = Arc::new(S3::new(1000));
    for path in files(data.path()) {
        let name = path.strip_prefix(data.path()).unwrap().to_str().unwrap();
        store.put(&format!("bucket/data/{name}"), fs::read(&path).unwrap());
    }
    let answering = store.clone();
    // every shard is unavailable when it is first asked for
    let server = Server::new(move |request, before| {
        match request.path.contains(".parquet") && before == 0 {
            true => Reply::status(503).with("Retry-After", "0"),
            false => answering.answer(request),
        }
    });
    for round in ["counted", "with its index"] {
        let remote = sequences(
            &mix,
            "s3://bucket/data",
            &cache.path().join("remote"),
            Some(&server),
        );
        let errors = String::from_utf8_lossy(&remote.stderr).into_owned();
        assert!(remote.status.success(), "{round}: {errors}");
        assert!(remote.stdout == local.stdout, "{round}: other sequences");
    }

    // a shard that was written again is noticed
    let key = "bucket/data/large/part-00001.parquet";
    let mut changed = store.get(key).unwrap();
    changed.push(0);
    store.put(key, changed);
    let refused = sequences(
        &mix,
        "s3://bucket/data",
        &cache.path().join("remote"),
        Some(&server),
    );
    let errors = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success()
            && errors.contains("large/part-00001.parquet")
            && errors.contains("bytes"),
        "{errors}"
    );
}
