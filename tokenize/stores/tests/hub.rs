//! A hub whose endpoint and host of files are servers of these tests.

mod common;

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Arc, LazyLock, Mutex, Once};

use common::QUICK;
use servers::{Reply, Request, Server, content};
use stores::{Error, Object, Store};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

type Answer = Arc<dyn Fn(&Request, usize) -> Reply + Send + Sync>;

/// One endpoint for all tests, since it is in the environment; each test has a data set of its own, by whose owner it is told
/// apart.
static ANSWERS: LazyLock<Mutex<HashMap<String, Answer>>> = LazyLock::new(Mutex::default);
static HUB: LazyLock<Server> = LazyLock::new(|| {
    Server::new(|request, before| {
        let owner = request.path.split("datasets/").nth(1).unwrap_or_default();
        let owner = owner.split('/').next().unwrap_or_default();
        let answer = ANSWERS.lock().unwrap().get(owner).cloned();
        let revision = format!("/api/datasets/{owner}/data/revision/v%2F1");
        match answer {
            Some(_) if request.path == revision => {
                Reply::text(format!("{{\"sha\": \"{COMMIT}\"}}"))
            }
            Some(answer) => answer(request, before),
            None => Reply::status(404).with("X-Error-Code", "RepoNotFound"),
        }
    })
});

fn endpoint() -> &'static str {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // SAFETY: every test comes by here before it opens a store, and nothing but Rust reads variables, under its lock
        unsafe {
            std::env::set_var("HF_ENDPOINT", &HUB.endpoint);
            std::env::set_var("HF_TOKEN", "hf_secret");
        }
    });
    &HUB.endpoint
}

fn open(owner: &str, answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Store {
    endpoint();
    ANSWERS
        .lock()
        .unwrap()
        .insert(owner.to_owned(), Arc::new(answer));
    Store::open_with(&format!("hf://datasets/{owner}/data@v%2F1/en"), QUICK).unwrap()
}

fn requests(owner: &str) -> Vec<Request> {
    let of_owner = |request: &Request| request.path.contains(&format!("datasets/{owner}/"));
    HUB.requests().into_iter().filter(of_owner).collect()
}

#[test]
fn folders_are_listed_page_by_page_at_one_commit() {
    let store = open("lister", |request, before| {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"));
        let tree = format!("/api/datasets/lister/data/tree/{COMMIT}/en");
        let first = format!("{tree}/a%20b?recursive=true&expand=false");
        let second = format!("{tree}/a%20b?cursor=x");
        let next = format!("<{}{second}>; rel=\"next\"", endpoint());
        match &request.path {
            path if *path == first => Reply::text(
                r#"[{"type":"directory","oid":"d","size":0,"path":"en/a b"},
                    {"type":"file","oid":"g2","size":7,"path":"en/a b/2.json"},
                    {"type":"file","oid":"g3","size":130,"lfs":{"oid":"sha","size":5000,"pointerSize":130},"path":"en/a b/10.tar"}]"#,
            )
            .with("Link", next),
            path if *path == second && before == 0 => Reply::status(500),
            path if *path == second => Reply::text(r#"[{"type":"file","oid":"g1","size":9,"path":"en/a b/1.json"}]"#),
            _ => Reply::status(404).with("X-Error-Code", "EntryNotFound"),
        }
    });
    assert_eq!(store.revision(), Some(COMMIT));
    let object = |path: &str, size, etag: &str| Object {
        path: path.to_owned(),
        size,
        etag: Some(etag.to_owned()),
    };
    assert_eq!(
        store.list("a b").unwrap(),
        [
            object("a b/1.json", 9, "g1"),
            object("a b/10.tar", 5000, "sha"),
            object("a b/2.json", 7, "g2")
        ]
    );
    assert_eq!(store.list("absent").unwrap(), []);
}

#[test]
fn files_are_read_from_another_host_which_gets_no_token() {
    let files = Arc::new(Server::new(|request, before| {
        assert_eq!(request.header("authorization"), None);
        let reply = Reply::file(request, &content(30_000), "\"another\"");
        match before {
            0 => reply.cut_after(1000),
            _ => reply,
        }
    }));
    let to = files.endpoint.clone();
    let store = open("reader", move |request, _| {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"));
        let file = format!("/datasets/reader/data/resolve/{COMMIT}/en/x.tar");
        // a renamed data set: the hub redirects within itself first
        match request.path.strip_prefix("/moved") {
            None => {
                assert_eq!(request.path, file);
                Reply::status(307).with("Location", format!("/moved{file}"))
            }
            Some(_) => Reply::status(302)
                .with("Location", format!("{to}/blob?signature=s"))
                .with("X-Linked-Size", "30000")
                .with("X-Linked-ETag", "\"sha\""),
        }
    });
    let object = store.head("x.tar").unwrap().unwrap();
    assert_eq!((object.size, object.etag.as_deref()), (30_000, Some("sha")));
    assert_eq!(files.requests().len(), 0, "the hub knows the size");
    let mut bytes = Vec::new();
    store
        .reader(&object)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    assert!(bytes == content(30_000));
    let ranges: Vec<_> = files.requests().iter().filter_map(Request::range).collect();
    assert_eq!(ranges, [(0, 29_999), (1000, 29_999)]);
    assert_eq!(requests("reader").len(), 1 + 2 + 4);
}

#[test]
fn small_files_come_from_the_hub_itself() {
    let store = open("small", |request, _| {
        match request.path.ends_with("/en/x.json") {
            true => Reply::file(request, b"{}", "\"g1\""),
            false => Reply::status(404).with("X-Error-Code", "EntryNotFound"),
        }
    });
    assert_eq!(
        store.head("x.json").unwrap().unwrap().etag.as_deref(),
        Some("g1")
    );
    assert_eq!(store.read("x.json").unwrap().unwrap(), b"{}");
    assert_eq!(store.read("absent").unwrap(), None);
}

#[test]
fn another_hash_is_an_error() {
    let store = open("changer", |request, _| {
        Reply::file(request, &content(100), "\"g2\"")
    });
    let object = Object {
        path: "x".to_owned(),
        size: 100,
        etag: Some("g1".to_owned()),
    };
    let error = store.reader(&object).unwrap().read(&mut [0]).unwrap_err();
    let error: Error = error.downcast().unwrap();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    assert!(
        error.to_string().contains("its hash was g1 and is g2"),
        "{error}"
    );
}

#[test]
fn refusals_say_what_to_do() {
    endpoint();
    let text = Store::open_with("hf://datasets/nobody/data", QUICK)
        .err()
        .unwrap();
    let text = text.to_string();
    assert!(text.starts_with("hf://datasets/nobody/data: "), "{text}");
    assert!(
        text.contains("answers 404 Not Found (RepoNotFound) (1 attempt); check the name"),
        "{text}"
    );
    for (status, said) in [
        (401, "check the token in HF_TOKEN"),
        (403, "accept the conditions at http://127.0.0.1"),
    ] {
        let store = open(&format!("closed{status}"), move |_, _| {
            Reply::status(status)
        });
        let text = store.head("x").unwrap_err().to_string();
        assert!(text.contains(said) && !text.contains("hf_secret"), "{text}");
        // the head only
        assert_eq!(requests(&format!("closed{status}")).len(), 2);
    }
}

#[test]
fn nothing_is_written() {
    let store = open("writer", |_, _| Reply::status(200));
    let text = store.write("x", b"").unwrap_err().to_string();
    assert!(
        text.contains("because hf locations are only read"),
        "{text}"
    );
    assert!(store.upload("x", "Cargo.toml".as_ref()).is_err() && store.delete("x").is_err());
}
