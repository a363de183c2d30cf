//! Object stores with the interface of S3, as a server of these tests has it.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{LazyLock, Once};
use std::time::Duration;

use common::QUICK;
use servers::{Reply, Request, S3, Server, UNREAD, content};
use stores::{Error, Object, Retry, Store};

/// Long enough for a busy machine to answer.
const STALL: Duration = Duration::from_secs(3);
const ETAG: &str = "\"one\"";

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
    if path.starts_with("/crooked") && request.range().is_some() {
        return crooked(request, path, before);
    }
    match request.method.as_str() {
        "GET" if before == 0 && path.starts_with("/torn") => S3.answer(request).cut_after(20),
        "PUT" if path.contains("broken") && query.contains("partNumber=2") => Reply::status(400),
        "POST" if query.starts_with("uploadId") => {
            // S3 begins with 200 before it knows
            let error = match before {
                _ if path.contains("refused") => "AccessDenied",
                0 => "InternalError",
                1 => "SlowDown",
                _ => return S3.answer(request),
            };
            Reply::text(format!("<Error><Code>{error}</Code></Error>"))
        }
        _ => S3.answer(request),
    }
}

/// What is answered for a range of an object of 50,000 bytes whose name says what is wrong.
fn crooked(request: &Request, path: &str, before: usize) -> Reply {
    let bytes = content(50_000);
    let name = path.rsplit('/').next().unwrap().replace("%20", " ");
    let good = Reply::file(request, &bytes, ETAG);
    let reply = match (name.as_str(), before) {
        ("whole", _) => Reply::text(bytes).with("ETag", ETAG),
        ("silent", 0) => good.never_begun(),
        ("silent", 1) => good.stalled_after(1000),
        ("cut", 0..10) => good.cut_after(before * 1000),
        ("silent" | "cut", _) => good,
        (_, 0) => good.cut_after(1000),
        ("changed", _) => Reply::file(request, &bytes, "\"two\""),
        ("changed unnoticed", _) => Reply::unconditional(request, &bytes, "\"two\""),
        ("longer", _) => Reply::unconditional(request, &content(50_001), ETAG),
        ("shorter", _) => Reply::status(416),
        other => panic!("{other:?}"),
    };
    reply.with("Last-Modified", "Mon, 12 Jan 2026 10:00:00 GMT")
}

fn read_crooked(name: &str) -> std::io::Result<Vec<u8>> {
    open("crooked"); // sets the variables
    let retry = Retry {
        stall: STALL,
        ..QUICK
    };
    let store = Store::open_with("s3://crooked", retry).unwrap();
    let object = Object {
        path: name.to_owned(),
        size: 50_000,
        etag: Some(ETAG.to_owned()),
    };
    let mut bytes = Vec::new();
    store.reader(&object)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// First bytes of the ranges that were asked for.
fn starts(name: &str) -> Vec<usize> {
    let reads = requests(&format!("crooked/{}", name.replace(' ', "%20")), "GET");
    let ranges = reads.iter().filter_map(Request::range);
    ranges.map(|(first, _)| first).collect()
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
fn an_object_that_changes_while_it_is_read_is_an_error() {
    for (name, cause) in [
        ("changed", "its ETag is another one"),
        ("changed unnoticed", "its ETag was \"one\" and is \"two\""),
        ("longer", "it now has 50001 bytes"),
        ("shorter", "it is shorter"),
    ] {
        let error: Error = read_crooked(name).unwrap_err().downcast().unwrap();
        let text = error.to_string();
        assert!(
            text.contains(&format!("at byte 1000 of 50000: {cause};")),
            "{text}"
        );
        assert!(matches!(error, Error::Changed { .. }), "{text}");
        assert_eq!(starts(name), [0, 1000], "{name}");
    }
}

#[test]
fn cut_off_answers_are_taken_up_at_the_byte() {
    assert!(read_crooked("cut").unwrap() == content(50_000));
    let mut at = 0;
    for (n, start) in starts("cut").into_iter().enumerate() {
        assert_eq!(start, at);
        at += n * 1000;
    }
    assert_eq!(starts("cut").len(), 11);
}

#[test]
fn cut_off_listings_are_asked_for_again() {
    let store = open("torn");
    for path in ["a", "b", "c"] {
        store.write(path, b"").unwrap();
    }
    let found = store.list("").unwrap();
    let paths: Vec<_> = found.iter().map(|object| object.path.as_str()).collect();
    assert_eq!(paths, ["a", "b", "c"]);
    // each page is cut off once, and a listing begins anew: the first page three times, the second twice
    assert_eq!(requests("torn", "GET").len(), 5);
}

#[test]
fn silence_is_a_failure() {
    assert!(read_crooked("silent").unwrap() == content(50_000));
    assert_eq!(starts("silent"), [0, 0, 1000]);
}

#[test]
fn a_server_that_takes_no_bytes_is_given_up() {
    open("deaf"); // sets the variables
    let retry = Retry {
        stall: STALL,
        ..QUICK
    };
    let store = Store::open_with("s3://deaf", retry).unwrap();
    // more than the system takes in the server's stead
    let bytes = content(20 << 20);
    store.write(UNREAD, &bytes).unwrap();
    assert!(S3.get(&format!("deaf/{UNREAD}")).unwrap() == bytes);
    assert_eq!(requests("deaf", "PUT").len(), 2);
}

#[test]
fn a_server_without_ranges_is_refused() {
    let error = read_crooked("whole").unwrap_err().to_string();
    assert!(error.contains("s3://crooked: whole at byte 0: "), "{error}");
    assert!(error.contains("non-partial response"), "{error}");
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

    for name in ["broken", "refused"] {
        let error = store.upload(name, &path).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("s3://large/some/folder: {name}: ")),
            "{error}"
        );
        assert_eq!(S3.parts("large"), 0, "parts of {name} are left");
        assert_eq!(S3.get(&format!("large/some/folder/{name}")), None);
    }
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
