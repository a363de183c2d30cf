//! Object stores with the interface of S3, as a server of these tests has it.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{LazyLock, Once};

use common::QUICK;
use servers::{Reply, Request, S3, Server, content};
use stores::{Error, Object, Store};

/// One server for all tests, since its address is in the environment; each test has a bucket of its own.
static SERVER: LazyLock<Server> = LazyLock::new(|| Server::new(answer));
/// Two keys a page.
static S3: LazyLock<S3> = LazyLock::new(|| S3::new(2));

fn open(bucket: &str) -> Store {
    static SET: Once = Once::new();
    SET.call_once(|| {
        // SAFETY: every test comes by here before it opens a store, and nothing but Rust reads variables, under its lock
        unsafe {
            std::env::set_var("AWS_ENDPOINT", &SERVER.endpoint);
            std::env::set_var("AWS_ACCESS_KEY_ID", "key");
            std::env::set_var("AWS_SECRET_ACCESS_KEY", "secret");
        }
    });
    Store::open_with(&format!("s3://{bucket}/some/folder"), QUICK).unwrap()
}

fn requests(bucket: &str, method: &str) -> Vec<Request> {
    let of_bucket = |r: &Request| r.method == method && r.path.starts_with(&format!("/{bucket}"));
    SERVER.requests().into_iter().filter(of_bucket).collect()
}

/// Buckets named after a trouble have it.
fn answer(request: &Request, before: usize) -> Reply {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    if before == 0 && path.starts_with("/overloaded") {
        return Reply::status(503).with("Retry-After", "0");
    }
    if path.starts_with("/forbidden") {
        return Reply::status(403);
    }
    match request.method.as_str() {
        "PUT" if path.contains("broken") && query.contains("partNumber=2") => Reply::status(400),
        // S3 begins with 200 before it knows
        "POST" if query.starts_with("uploadId") && before == 0 => {
            Reply::text("<Error><Code>InternalError</Code></Error>")
        }
        _ => S3.answer(request),
    }
}

fn round_trip(bucket: &str) {
    let store = open(bucket);
    assert_eq!((store.local(), store.revision()), (None, None));
    assert_eq!(store.list("").unwrap(), []);
    for (path, size) in [
        ("b/3", 3),
        ("b/2 two", 2),
        ("a", 1),
        ("b/4", 10 << 20),
        ("b.c", 0),
    ] {
        store.write(path, &content(size)).unwrap();
    }
    S3.put(&format!("{bucket}/some/folder2/x"), Vec::new());
    let found = store.list("").unwrap();
    let paths: Vec<_> = found.iter().map(|object| object.path.as_str()).collect();
    assert_eq!(paths, ["a", "b.c", "b/2 two", "b/3", "b/4"]);
    assert_eq!(store.list("b").unwrap(), found[2..]);
    assert_eq!(store.head("b/3").unwrap().as_ref(), Some(&found[3]));
    assert_eq!(store.head("b").unwrap(), None);
    assert_eq!(store.read("b/2 two").unwrap().unwrap(), content(2));
    assert_eq!(store.read("absent").unwrap(), None);
    assert!(store.read("b/4").unwrap().unwrap() == content(10 << 20));
    store.delete("b/3").unwrap();
    store.delete("b/3").unwrap();
    assert_eq!(store.head("b/3").unwrap(), None);
}

#[test]
fn written_listed_read_and_deleted() {
    round_trip("plain");
    let reads = requests("plain", "GET");
    let ranges: Vec<_> = reads.iter().filter_map(Request::range).collect();
    assert_eq!(ranges.len(), 3);
    let conditional = |r: &&Request| r.header("if-match").is_some();
    assert_eq!(reads.iter().filter(conditional).count(), 3);
}

#[test]
fn overload_is_waited_out() {
    round_trip("overloaded");
}

#[test]
fn an_object_that_changes_is_an_error() {
    let store = open("changing");
    store.write("x", &content(1000)).unwrap();
    let object = store.head("x").unwrap().unwrap();
    store.write("x", &content(2000)).unwrap();
    let mut reader = store.reader(&object).unwrap();
    let error: Error = reader.read(&mut [0]).unwrap_err().downcast().unwrap();
    assert!(
        matches!(
            error,
            Error::Changed {
                offset: 0,
                size: 1000,
                ..
            }
        ),
        "{error}"
    );
    let untagged = Object {
        etag: None,
        ..object
    };
    assert!(store.random(&untagged).is_ok());
    let error = store.reader(&untagged).unwrap().read(&mut [0]).unwrap_err();
    assert!(
        error.to_string().contains("it now has 2000 bytes"),
        "{error}"
    );
}

#[test]
fn large_files_are_uploaded_in_parts() {
    let store = open("large");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let bytes = content((70 << 20) + 5);
    File::create(&path).unwrap().write_all(&bytes).unwrap();
    store.upload("x", &path).unwrap();
    assert!(S3.get("large/some/folder/x").unwrap() == bytes);
    assert_eq!(requests("large", "PUT").len(), 3);

    let error = store.upload("broken", &path).unwrap_err().to_string();
    assert!(
        error.starts_with("s3://large/some/folder: broken: "),
        "{error}"
    );
    assert_eq!(S3.parts("large"), 0, "parts are left");
    assert_eq!(S3.get("large/some/folder/broken"), None);
}

#[test]
fn small_files_are_uploaded_at_once() {
    let store = open("small");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::fs::write(&path, content(1000)).unwrap();
    store.upload("x", &path).unwrap();
    assert_eq!(store.read("x").unwrap().unwrap(), content(1000));
    assert_eq!(
        (
            requests("small", "PUT").len(),
            requests("small", "POST").len()
        ),
        (1, 0)
    );
}

#[test]
fn refusals_name_the_variables() {
    let store = open("forbidden");
    for error in [
        store.list("").unwrap_err(),
        store.head("x").unwrap_err(),
        store.write("x", b"").unwrap_err(),
    ] {
        let text = error.to_string();
        assert!(text.starts_with("s3://forbidden/some/folder: "), "{text}");
        assert!(
            text.contains("(1 attempt); check the bucket, AWS_ACCESS_KEY_ID"),
            "{text}"
        );
    }
}
