//! Models from a hub on this machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use servers::{Reply, Request, Server};
use tests::{assert_same_bytes, run, run_ok};

use crate::{base, convert};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const NAME: &str = "some/qwen3";

/// A hub that has the fixture as `some/qwen3`, without the file `lacking`.
fn hub(lacking: &'static str) -> Server {
    Server::new(move |request: &Request, _| {
        let absent = |code| Reply::status(404).with("X-Error-Code", code);
        let Some(path) = request.path.strip_prefix("/some/qwen3/resolve/") else {
            return absent("RepoNotFound");
        };
        let (revision, name) = path.split_once('/').unwrap();
        if !["main", "v1", COMMIT].contains(&revision) {
            return absent("RevisionNotFound");
        }
        let Ok(content) = fs::read(base().join(name)) else {
            return absent("EntryNotFound");
        };
        if name == lacking {
            return absent("EntryNotFound");
        }
        // a name for each content; small files have no SHA-256
        let etag = format!("\"{}\"", name.replace('.', "-"));
        Reply::file(request, &content, &etag).with("X-Repo-Commit", COMMIT)
    })
}

fn import(source: &str, endpoint: &str, cache: &Path, out: &Path) -> Command {
    let mut import = convert("hf-import", Path::new(source));
    import.arg("--out").arg(out);
    import.env("HF_ENDPOINT", endpoint).env("HF_HOME", cache);
    for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN"] {
        import.env_remove(name);
    }
    import
}

#[test]
fn a_repository_is_imported_as_its_folder_is_and_cached() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    run_ok(
        convert("hf-import", &base())
            .arg("--out")
            .arg(path("local")),
    );
    let server = hub("");
    let cache = path("cache");
    run_ok(&mut import(NAME, &server.endpoint, &cache, &path("remote")));
    assert_same_bytes(&path("remote"), &path("local"));
    // all but the first of one commit, although `main` may move meanwhile
    let requests = server.requests();
    let other = requests.iter().filter(|r| !r.path.contains(COMMIT));
    assert_eq!(other.count(), 1, "{requests:?}");
    assert_eq!(requests.iter().filter(|r| r.method == "GET").count(), 7);

    // what is cached needs no hub
    let count = requests.len();
    run_ok(&mut import(NAME, &server.endpoint, &cache, &path("again")));
    let mut offline = import(NAME, "http://127.0.0.1:9", &cache, &path("offline"));
    run_ok(offline.env("HF_HUB_OFFLINE", "1"));
    run_ok(&mut import(
        &format!("{NAME}@{COMMIT}"),
        "http://127.0.0.1:9",
        &cache,
        &path("commit"),
    ));
    assert_eq!(server.requests().len(), count);
    assert_same_bytes(&path("offline"), &path("local"));

    run_ok(&mut import(
        &format!("{NAME}@v1"),
        &server.endpoint,
        &cache,
        &path("v1"),
    ));
    assert_same_bytes(&path("v1"), &path("local"));
    let reference = cache.join("hub/models--some--qwen3/refs/v1");
    assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);
}

#[test]
fn what_a_repository_lacks_is_said() {
    for (source, lacking, parts) in [
        (
            NAME,
            "config.json",
            vec![
                "`config.json` of `some/qwen3`",
                "no such file",
                "its folder",
            ],
        ),
        (
            NAME,
            "model-00002-of-00002.safetensors",
            vec!["`model-00002-of-00002.safetensors`", "no such file"],
        ),
        (
            NAME,
            "model.safetensors.index.json",
            vec!["`model.safetensors`", "no such file"],
        ),
        ("some/qwen3@v2", "", vec!["no such branch, tag or commit"]),
        ("some/qwen3@../v2", "", vec!["`../v2`", "no plain name"]),
        ("some/qwen4", "", vec!["check the name"]),
        ("mimi", "", vec!["no such folder", "OWNER/NAME"]),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let server = hub(lacking);
        let run = run(&mut import(
            source,
            &server.endpoint,
            &dir.path().join("cache"),
            &out,
        ));
        assert_eq!(
            run.code,
            Some(1),
            "{source} without `{lacking}`: {}",
            run.stdout
        );
        for part in parts {
            assert!(
                run.stderr.contains(part),
                "`{part}` is not in: {}",
                run.stderr
            );
        }
        assert!(!run.stderr.contains("codec"), "{}", run.stderr);
        assert!(!out.exists());
    }
}

#[test]
fn a_repository_without_a_tokenizer_is_imported_but_not_extended() {
    let dir = tempfile::tempdir().unwrap();
    let server = hub("tokenizer.json");
    let cache = dir.path().join("cache");
    let said = run_ok(&mut import(
        NAME,
        &server.endpoint,
        &cache,
        &dir.path().join("out"),
    ));
    assert!(!said.contains("tokenizer.json"), "{said}");
    let mut qwen3x = convert("qwen3x", Path::new(NAME));
    qwen3x.arg("--out").arg(dir.path().join("extended"));
    qwen3x
        .env("HF_ENDPOINT", &server.endpoint)
        .env("HF_HOME", &cache);
    let run = run(&mut qwen3x);
    assert_eq!(run.code, Some(1));
    assert!(
        run.stderr.contains("`tokenizer.json` of `some/qwen3`"),
        "{}",
        run.stderr
    );
}
