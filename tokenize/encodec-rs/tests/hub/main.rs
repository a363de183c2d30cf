//! Downloads against a hub on this machine that fails, stalls, cuts off and lies.

mod server;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use encodec_rs::hub::Hub;
use tempfile::TempDir;

use server::{COMMIT, Reply, Repo, Request, Server};

const NAME: &str = "some/codec";
const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";

fn repo() -> Repo {
    Repo {
        config: br#"{"model_type": "mimi"}"#.to_vec(),
        weights: (0..300_000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect(),
    }
}

/// A server that gives `reply` where it says so, else the repository.
fn server(reply: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let repo = repo();
    Server::new(move |request, before| {
        reply(request, before).unwrap_or_else(|| repo.answer(request))
    })
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    Hub {
        endpoint: server.endpoint.clone(),
        token: None,
        cache: cache.path().to_owned(),
        offline: false,
        patience: Duration::from_millis(400),
        pause: Duration::from_millis(2),
    }
}

fn cache() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn place(cache: &TempDir) -> PathBuf {
    cache.path().join("models--some--codec")
}

/// Where the weights get their name, and where they are gathered before.
fn blob(cache: &TempDir) -> (PathBuf, PathBuf) {
    let (blobs, etag) = (place(cache).join("blobs"), repo().etag(WEIGHTS));
    (blobs.join(&etag), blobs.join(format!("{etag}.incomplete")))
}

fn assert_whole(folder: &Path) {
    assert_eq!(fs::read(folder.join(CONFIG)).unwrap(), repo().config);
    assert!(
        fs::read(folder.join(WEIGHTS)).unwrap() == repo().weights,
        "other weights"
    );
}

fn error(hub: &Hub) -> String {
    hub.folder(NAME).unwrap_err().to_string()
}

#[track_caller]
fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_download_lies_where_python_puts_it_and_is_used_without_network() {
    let (server, cache) = (server(|_, _| None), cache());
    let hub = hub(&server, &cache);
    let folder = hub.folder(NAME).unwrap();
    assert_eq!(folder, place(&cache).join("snapshots").join(COMMIT));
    assert_whole(&folder);
    assert_eq!(
        fs::read_to_string(place(&cache).join("refs/main")).unwrap(),
        COMMIT
    );
    let etag = repo().etag(WEIGHTS);
    #[cfg(unix)]
    assert_eq!(
        fs::read_link(folder.join(WEIGHTS)).unwrap(),
        Path::new("../../blobs").join(etag)
    );
    // all of one commit, although `main` may move meanwhile
    let requests = server.requests();
    assert!(
        requests[0].path.contains("/resolve/main/config.json"),
        "{requests:?}"
    );
    let weights = requests.iter().filter(|r| r.path.ends_with(WEIGHTS));
    assert!(weights.clone().count() == 2 && { weights }.all(|r| r.path.contains(COMMIT)));

    let count = requests.len();
    assert_eq!(hub.folder(NAME).unwrap(), folder);
    let offline = Hub {
        offline: true,
        ..hub
    };
    assert_eq!(offline.folder(NAME).unwrap(), folder);
    assert_eq!(
        server.requests().len(),
        count,
        "the network was asked for what is cached"
    );
}

#[test]
fn failures_of_the_server_pass() {
    let server = server(|request, before| {
        let failing = request.path.ends_with(WEIGHTS) && before < 3;
        failing.then(|| Reply::status([503, 429, 500][before]))
    });
    let cache = cache();
    assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
    assert_eq!(server.ranges(WEIGHTS).len(), 4);
}

#[test]
fn a_server_that_keeps_failing_is_given_up() {
    let server = server(|request, _| request.gets(WEIGHTS).then(|| Reply::status(503)));
    let cache = cache();
    let message = error(&hub(&server, &cache));
    assert_eq!(server.ranges(WEIGHTS).len(), 6);
    assert_says(
        &message,
        &[
            WEIGHTS,
            NAME,
            "503",
            "6 attempts",
            "--codec PATH",
            "--codec mel-rvq",
        ],
    );
    assert!(!place(&cache).join("refs/main").exists());
}

#[test]
fn a_cut_connection_resumes() {
    let whole = repo();
    let server = server(move |request, before| {
        let cut = request.gets(WEIGHTS) && before < 2;
        cut.then(|| whole.answer(request).cut_after(100_000))
    });
    let cache = cache();
    assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
    let range = |start: &str| Some(format!("bytes={start}-"));
    assert_eq!(
        server.ranges(WEIGHTS),
        [None, range("100000"), range("200000")]
    );
}

#[test]
fn many_cuts_do_not_matter_while_bytes_come() {
    let whole = repo();
    let server = server(move |request, _| {
        let reply = request.gets(WEIGHTS).then(|| whole.answer(request))?;
        let some = reply.body.len().min(20_000);
        Some(reply.cut_after(some))
    });
    let cache = cache();
    assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
    assert_eq!(server.ranges(WEIGHTS).len(), 15);
}

#[test]
fn a_stalled_connection_is_given_up_and_resumes() {
    let whole = repo();
    let stall = Duration::from_secs(30);
    let server = server(move |request, before| {
        let first = request.gets(WEIGHTS) && before == 0;
        first.then(|| whole.answer(request).stalled_after(150_000, stall))
    });
    let (cache, start) = (cache(), Instant::now());
    assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
    assert_eq!(
        server.ranges(WEIGHTS),
        [None, Some("bytes=150000-".to_owned())]
    );
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    // accepts connections, and no more
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, cache) = (server(|_, _| None), cache());
    let mute = Hub {
        endpoint: format!("http://{}", listener.local_addr().unwrap()),
        patience: Duration::from_millis(50),
        ..hub(&server, &cache)
    };
    assert_says(&error(&mute), &["timeout", "6 attempts"]);
}

#[test]
fn wrong_bytes_never_get_the_name() {
    let whole = repo();
    let server = server(move |request, _| {
        let mut reply = request.gets(WEIGHTS).then(|| whole.answer(request))?;
        reply.body[77_777] ^= 1;
        Some(reply)
    });
    let cache = cache();
    let message = error(&hub(&server, &cache));
    assert_says(&message, &["SHA-256", &repo().etag(WEIGHTS), "damaged"]);
    let (blob, partial) = blob(&cache);
    assert!(!blob.exists() && !partial.exists());
    assert!(
        !place(&cache)
            .join("snapshots")
            .join(COMMIT)
            .join(WEIGHTS)
            .exists()
    );
    assert!(!place(&cache).join("refs/main").exists());
}

#[test]
fn a_body_without_end_is_not_stored() {
    let whole = repo();
    let server = server(move |request, _| {
        let mut reply = request.gets(WEIGHTS).then(|| whole.answer(request))?;
        reply.body.extend([0; 5000]);
        Some(reply)
    });
    let cache = cache();
    assert_says(
        &error(&hub(&server, &cache)),
        &["more than the 300000 bytes"],
    );
    let (blob, partial) = blob(&cache);
    assert!(!blob.exists());
    assert!(fs::metadata(partial).unwrap().len() <= 300_001);
}

#[test]
fn a_partial_file_is_resumed_or_discarded_and_never_taken_as_whole() {
    let weights = repo().weights;
    let mut garbage = weights.clone();
    garbage[5] ^= 1;
    let resumed = |at: usize| Some(format!("bytes={at}-"));
    for (left, requests) in [
        (weights[..1234].to_vec(), vec![resumed(1234)]),
        (weights.clone(), vec![]),
        // damaged: found out by the hash, then all is requested
        (garbage[..1234].to_vec(), vec![resumed(1234), None]),
        (garbage.clone(), vec![None]),
        ([&weights[..], b"more"].concat(), vec![None]),
        (vec![], vec![None]),
    ] {
        let (server, cache) = (server(|_, _| None), cache());
        let (blob, partial) = blob(&cache);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&partial, &left).unwrap();
        assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
        assert_eq!(
            server.ranges(WEIGHTS),
            requests,
            "{} bytes were left",
            left.len()
        );
        assert!(!partial.exists());
    }
}

#[test]
fn a_server_without_ranges_starts_anew() {
    let whole = repo();
    let server = server(move |request, before| {
        let plain = Reply {
            body: whole.weights.clone(),
            ..Reply::status(200)
        };
        let reply = request.gets(WEIGHTS).then_some(plain)?;
        Some(if before == 0 {
            reply.cut_after(1000)
        } else {
            reply
        })
    });
    let cache = cache();
    assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
    assert_eq!(server.ranges(WEIGHTS).len(), 2);
}

#[test]
fn the_token_goes_to_the_endpoint_and_the_range_to_the_host_of_files() {
    let whole = repo();
    let files = Server::new(move |request, before| {
        let reply = whole.answer(request);
        if before == 0 {
            reply.cut_after(1000)
        } else {
            reply
        }
    });
    let (whole, target) = (repo(), files.endpoint.clone());
    let server = server(move |request, _| {
        if request.header("authorization") != Some("Bearer hf_secret") {
            return Some(Reply::status(401));
        }
        // as the hub does for large files: its own hash and size in headers of their own
        request.path.ends_with(WEIGHTS).then(|| {
            Reply::status(302)
                .with("Location", format!("{target}/files/{WEIGHTS}"))
                .with("X-Repo-Commit", COMMIT)
                .with("X-Linked-ETag", format!("\"{}\"", whole.etag(WEIGHTS)))
                .with("X-Linked-Size", whole.weights.len().to_string())
                .with("ETag", "\"of-this-answer\"")
        })
    });
    let cache = cache();
    let hub = Hub {
        token: Some("hf_secret".to_owned()),
        ..hub(&server, &cache)
    };
    assert_whole(&hub.folder(NAME).unwrap());
    assert_eq!(
        files.ranges(WEIGHTS),
        [None, Some("bytes=1000-".to_owned())]
    );
    let leaked = files
        .requests()
        .into_iter()
        .find(|r| r.header("authorization").is_some());
    assert!(leaked.is_none(), "{leaked:?}");
}

#[test]
fn a_renamed_repository_is_followed() {
    let server = server(|request, _| {
        let rest = request.path.strip_prefix("/some/codec")?;
        Some(Reply::status(307).with("Location", format!("/new/name{rest}")))
    });
    let cache = cache();
    assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
}

#[test]
fn refusals_say_what_to_do() {
    let refused = |status: u16, code: &'static str, token: Option<&str>| {
        let server = server(move |_, _| Some(Reply::status(status).with("X-Error-Code", code)));
        let cache = cache();
        let message = error(&Hub {
            token: token.map(str::to_owned),
            ..hub(&server, &cache)
        });
        assert_eq!(server.requests().len(), 1, "asked again: {message}");
        message
    };
    let token = Some("hf_secret");
    assert_says(
        &refused(401, "", None),
        &["401", "check it", "/some/codec", "set HF_TOKEN"],
    );
    let message = refused(401, "", token);
    assert_says(&message, &["401", "check the token in HF_TOKEN"]);
    assert!(!message.contains("hf_secret"), "{message}");
    assert_says(
        &refused(403, "GatedRepo", token),
        &["403", "accept the conditions at"],
    );
    assert_says(
        &refused(404, "RepoNotFound", None),
        &["404", "check the name"],
    );
    assert_says(
        &refused(404, "EntryNotFound", None),
        &["404", "no such file"],
    );
    assert_says(&refused(418, "", None), &["418", "HF_ENDPOINT"]);
    assert_says(&refused(200, "", None), &["X-Repo-Commit", "HF_ENDPOINT"]);
}

#[test]
fn names_from_the_server_stay_in_the_cache() {
    for (commit, etag) in [("../../../evil", "a1"), (COMMIT, "../evil"), (COMMIT, "")] {
        let server = server(move |_, _| {
            let reply = Reply::status(200).with("X-Repo-Commit", commit);
            Some(reply.with("ETag", format!("\"{etag}\"")))
        });
        let cache = cache();
        assert_says(&error(&hub(&server, &cache)), &["answers without a usable"]);
        assert!(!place(&cache).exists());
    }
}

#[test]
fn offline_without_cache_names_the_file_the_cache_and_the_ways_on() {
    let (server, cache) = (server(|_, _| None), cache());
    let offline = Hub {
        offline: true,
        ..hub(&server, &cache)
    };
    let parts = [
        NAME,
        "HF_HUB_OFFLINE",
        cache.path().to_str().unwrap(),
        "--codec PATH",
        "--codec mel-rvq",
    ];
    let message = error(&offline);
    assert_says(&message, &parts);
    assert_says(&message, &["`config.json`"]);
    // and the weights, where only these are missing
    let snapshot = place(&cache).join("snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(place(&cache).join("refs")).unwrap();
    fs::write(place(&cache).join("refs/main"), COMMIT).unwrap();
    fs::write(snapshot.join(CONFIG), "{}").unwrap();
    assert_says(&error(&offline), &["`model.safetensors` of"]);
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn a_machine_without_network_is_told_at_once() {
    let (server, cache) = (server(|_, _| None), cache());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let hub = Hub {
        pause: Duration::from_secs(60),
        endpoint: endpoint.clone(),
        ..hub(&server, &cache)
    };
    assert_says(
        &error(&hub),
        &[CONFIG, &endpoint, "--codec PATH", "--codec mel-rvq"],
    );
}

#[test]
fn weights_of_no_codec_are_not_downloaded() {
    let server = server(|request, _| {
        let config = br#"{"model_type": "qwen3"}"#.to_vec();
        let llm = Repo { config, ..repo() };
        Some(llm.answer(request))
    });
    let cache = cache();
    assert_says(
        &error(&hub(&server, &cache)),
        &["qwen3", "mimi, encodec, dac"],
    );
    assert_eq!(server.ranges(WEIGHTS).len(), 0);
}

#[test]
fn many_at_once_download_once() {
    let (server, cache) = (server(|_, _| None), cache());
    let hub = hub(&server, &cache);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_whole(&hub.folder(NAME).unwrap()));
        }
    });
    assert_eq!(server.ranges(WEIGHTS).len(), 1);
    let count = |folder| fs::read_dir(place(&cache).join(folder)).unwrap().count();
    assert_eq!((count("blobs"), count("refs")), (2, 1));
}

const CHILD: &str = "HUB_TEST_CHILD";

/// The process that is killed below.
#[test]
fn child() {
    if let Ok(value) = env::var(CHILD) {
        let (endpoint, cache) = value.split_once(' ').unwrap();
        let hub = Hub {
            endpoint: endpoint.to_owned(),
            cache: cache.into(),
            ..Hub::from_env()
        };
        hub.folder(NAME).unwrap();
    }
}

#[test]
fn a_killed_process_leaves_what_the_next_one_resumes() {
    let whole = repo();
    let server = server(move |request, before| {
        let first = request.gets(WEIGHTS) && before == 0;
        first.then(|| {
            whole
                .answer(request)
                .stalled_after(120_000, Duration::from_secs(60))
        })
    });
    let cache = cache();
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child"])
        .env(
            CHILD,
            format!("{} {}", server.endpoint, cache.path().display()),
        )
        .spawn()
        .unwrap();
    let (blob, partial) = blob(&cache);
    let start = Instant::now();
    while fs::metadata(&partial).map_or(0, |m| m.len()) < 120_000 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "nothing is downloaded"
        );
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!blob.exists() && !place(&cache).join("refs/main").exists());
    assert_whole(&hub(&server, &cache).folder(NAME).unwrap());
    assert_eq!(
        server.ranges(WEIGHTS),
        [None, Some("bytes=120000-".to_owned())]
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (server, cache) = (server(|_, _| None), cache());
    fs::write(place(&cache), "a file where a folder should be").unwrap();
    assert_says(
        &error(&hub(&server, &cache)),
        &["cannot write", "models--some--codec", "HF_HOME"],
    );
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named() {
    let (server, cache) = (server(|_, _| None), cache());
    let (blob, partial) = blob(&cache);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    assert_says(
        &error(&hub(&server, &cache)),
        &[
            "cannot write",
            ".incomplete",
            "No space left",
            "make room",
            "HF_HOME",
        ],
    );
    assert!(!blob.exists());
}
