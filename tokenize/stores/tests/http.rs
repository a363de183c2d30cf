//! Web servers that misbehave.

mod common;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::QUICK;
use servers::{Reply, Request, Server, content};
use stores::{Error, Object, Retry, Store};

const SIZE: usize = 20 << 20;
const ETAG: &str = "\"one\"";

fn open(server: &Server) -> Store {
    Store::open_with(&format!("{}/folder", server.endpoint), QUICK).unwrap()
}

fn object(size: usize) -> Object {
    Object {
        path: "a b.tar".to_owned(),
        size: size as u64,
        etag: Some(ETAG.to_owned()),
    }
}

fn read(store: &Store, object: &Object) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store.reader(object)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The bytes of an object on a server whose `n`-th answer to a request for a range `spoil`s.
fn read_spoilt(
    size: usize,
    spoil: impl Fn(Reply, usize) -> Reply + Send + Sync + 'static,
) -> Server {
    let bytes = Arc::new(content(size));
    let expected = bytes.clone();
    let count = AtomicUsize::new(0);
    let server = Server::new(move |request, _| {
        assert_eq!(request.header("if-match"), Some(ETAG));
        let n = count.fetch_add(1, Ordering::Relaxed);
        spoil(Reply::file(request, &bytes, ETAG), n)
    });
    let store = open(&server);
    assert!(read(&store, &object(size)).unwrap() == *expected);
    server
}

/// What is said when reading fails.
fn failure(
    size: usize,
    answer: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
) -> (Error, Server) {
    let server = Server::new(answer);
    let error = read(&open(&server), &object(size)).unwrap_err();
    (error.downcast().unwrap(), server)
}

#[test]
fn head_read_and_ranges() {
    let bytes = content(SIZE);
    let server = Server::new(move |request, _| match request.path.as_str() {
        "/folder/a%20b.tar" => Reply::file(request, &bytes, ETAG),
        "/folder/empty" => Reply::file(request, b"", ETAG),
        _ => Reply::status(404),
    });
    let store = open(&server);
    assert_eq!(store.head("a b.tar").unwrap(), Some(object(SIZE)));
    assert_eq!(store.head("absent").unwrap(), None);
    assert_eq!(store.read("absent").unwrap(), None);
    assert_eq!(store.read("empty").unwrap(), Some(Vec::new()));
    assert!(store.read("a b.tar").unwrap().unwrap() == content(SIZE));
    assert_eq!(store.transferred(), SIZE as u64);
    let mut ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(Request::range)
        .collect();
    ranges.sort_unstable();
    let mib = 1 << 20;
    assert_eq!(
        ranges,
        [
            (0, 8 * mib - 1),
            (8 * mib, 16 * mib - 1),
            (16 * mib, SIZE - 1)
        ]
    );
}

#[test]
fn answers_of_overload_are_waited_out() {
    let server = read_spoilt(1000, |reply, n| match n {
        0 => Reply::status(503),
        1 => Reply::status(429).with("Retry-After", "1"),
        2 => Reply::status(503).with("Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"),
        _ => reply,
    });
    assert_eq!(server.count("GET"), 4);
}

#[test]
fn cut_off_answers_are_taken_up_at_the_byte() {
    let server = read_spoilt(100_000, |reply, n| match n {
        // more often than attempts may fail, each with a byte more
        0..10 => reply.cut_after(n * 1000),
        _ => reply,
    });
    let mut at = 0;
    for (n, request) in server.requests().iter().enumerate() {
        assert_eq!(request.range(), Some((at, 99_999)));
        at += n * 1000;
    }
    assert_eq!(server.count("GET"), 11);
}

#[test]
fn connections_are_reset() {
    let bytes = content(300_000);
    let expected = bytes.clone();
    let first = AtomicBool::new(true);
    let server = Server::new(move |request, _| {
        let reply = Reply::file(request, &bytes, ETAG);
        match first.swap(false, Ordering::Relaxed) {
            true => reply.reset_after(100_000),
            false => reply,
        }
    });
    assert!(read(&open(&server), &object(300_000)).unwrap() == expected);
    assert_eq!(server.count("GET"), 2, "one after the reset");
}

#[test]
fn silence_is_a_failure_and_slowness_is_not() {
    let count = AtomicUsize::new(0);
    let server = Server::new(move |request, _| {
        let reply = Reply::file(request, &content(5000), ETAG);
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => reply.never_begun(),
            1 => reply.stalled_after(0),
            2 => reply.stalled_after(4960),
            // for longer than a connection may be silent
            _ => Reply {
                drip: Some(Duration::from_millis(50)),
                ..reply
            },
        }
    });
    let retry = Retry {
        stall: Duration::from_secs(1),
        ..QUICK
    };
    let store = Store::open_with(&format!("{}/folder", server.endpoint), retry).unwrap();
    assert_eq!(read(&store, &object(5000)).unwrap(), content(5000));
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(Request::range)
        .collect();
    assert_eq!(ranges, [(0, 4999), (0, 4999), (0, 4999), (4960, 4999)]);
}

#[test]
fn a_server_without_ranges_is_read_all_the_same() {
    let bytes = content(SIZE);
    let whole = Reply::text(bytes.clone()).with("ETag", ETAG);
    let count = AtomicUsize::new(0);
    let server = Server::new(move |_, _| match count.fetch_add(1, Ordering::Relaxed) {
        3 => whole.clone().cut_after(SIZE / 2),
        _ => whole.clone(),
    });
    let store = open(&server);
    assert!(read(&store, &object(SIZE)).unwrap() == bytes);
    let random = store.random(&object(SIZE)).unwrap();
    let found = parquet::file::reader::ChunkReader::get_bytes(&random, 9_000_000, 100).unwrap();
    assert_eq!(found[..], bytes[9_000_000..9_000_100]);
}

#[test]
fn an_object_that_changes_is_an_error() {
    let text = "changed while it was read, at byte";
    // as the server says
    let (error, _) = failure(SIZE, |request, _| {
        let new = request.range().is_some_and(|(first, _)| first > 0);
        Reply::file(request, &content(SIZE), if new { "\"two\"" } else { ETAG })
    });
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    assert!(error.to_string().contains(text), "{error}");
    // a server that knows no If-Match
    for (etag, size) in [("\"two\"", 1000), (ETAG, 1001), (ETAG, 900)] {
        let (error, server) = failure(1000, move |request, _| {
            let (first, last) = request.range().unwrap();
            let range = format!("bytes {first}-{last}/{size}");
            Reply {
                status: 206,
                ..Reply::text(content(1000))
                    .with("ETag", etag)
                    .with("Content-Range", range)
            }
        });
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
        assert_eq!(server.count("GET"), 1);
    }
    // weak tags are compared, but not sent
    let server = Server::new(|request, _| {
        assert_eq!(request.header("if-match"), None);
        Reply::file(request, &content(10), "W/\"two\"")
    });
    let weak = |etag: &str| Object {
        etag: Some(etag.to_owned()),
        ..object(10)
    };
    assert_eq!(
        read(&open(&server), &weak("W/\"two\"")).unwrap(),
        content(10)
    );
    assert!(read(&open(&server), &weak("W/\"one\"")).is_err());
}

#[test]
fn an_object_that_changes_while_it_is_read_is_an_error() {
    // what the server has after it has cut off the first answer
    type Then = fn(&Request) -> Reply;
    let cases: [(&str, Then); 5] = [
        ("its ETag is another one", |request| {
            Reply::file(request, &content(50_000), "\"two\"")
        }),
        ("its ETag was \"one\" and is \"two\"", |request| {
            Reply::unconditional(request, &content(50_000), "\"two\"")
        }),
        ("it now has 50001 bytes", |request| {
            Reply::unconditional(request, &content(50_001), ETAG)
        }),
        ("it now has 50001 bytes", |_| Reply::text(content(50_001))),
        ("it is shorter", |_| Reply::status(416)),
    ];
    for (cause, then) in cases {
        let (error, server) = failure(50_000, move |request, before| match before {
            0 => Reply::file(request, &content(50_000), ETAG).cut_after(1000),
            _ => then(request),
        });
        let text = error.to_string();
        assert!(
            text.contains(&format!("at byte 1000 of 50000: {cause};")),
            "{text}"
        );
        assert!(matches!(error, Error::Changed { .. }), "{text}");
        assert_eq!(server.count("GET"), 2, "{cause}");
    }
}

#[test]
fn bytes_of_another_place_are_not_taken() {
    let server = read_spoilt(1000, |reply, n| match n {
        0 => Reply {
            headers: vec![("Content-Range", "bytes 1-1000/1000".to_owned())],
            ..reply
        },
        1 => Reply {
            headers: Vec::new(),
            ..reply
        },
        _ => reply,
    });
    assert_eq!(server.count("GET"), 3);
    let (error, _) = failure(1000, |request, _| {
        let reply = Reply::file(request, &content(1000), ETAG);
        Reply {
            headers: vec![("Content-Range", "bytes 1-1000/1000".to_owned())],
            ..reply
        }
    });
    let said = "answers with the bytes from 1 instead of those from 0 (4 attempts)";
    assert!(error.to_string().contains(said), "{error}");
}

#[test]
fn what_cannot_get_better_is_not_tried_again() {
    for status in [401, 403, 404, 410, 400, 501] {
        let (error, server) = failure(1000, move |_, _| Reply::status(status));
        let text = error.to_string();
        assert!(
            text.contains("a b.tar at byte 0: http://127.0.0.1"),
            "{text}"
        );
        assert!(text.contains(&format!("answers {status}")), "{text}");
        assert!(text.contains("(1 attempt); "), "{text}");
        assert_eq!(server.count("GET"), 1, "{status}");
    }
}

#[test]
fn patience_ends() {
    let (error, server) = failure(3000, |request, _| match request.range().unwrap() {
        (0, _) => Reply::file(request, &content(3000), ETAG).cut_after(1000),
        _ => Reply::status(503),
    });
    assert_eq!(server.count("GET"), 4);
    let text = error.to_string();
    assert!(
        text.contains("a b.tar at byte 1000: http://127.0.0.1"),
        "{text}"
    );
    assert!(
        text.contains("answers 503 Service Unavailable (4 attempts); check the network"),
        "{text}"
    );
}

#[test]
fn nobody_listens() {
    let retry = Retry {
        attempts: 2,
        ..QUICK
    };
    let store = Store::open_with("http://127.0.0.1:1/x", retry).unwrap();
    let text = store.head("y").unwrap_err().to_string();
    assert!(
        text.starts_with("http://127.0.0.1:1/x: y: http://127.0.0.1:1/x/y: "),
        "{text}"
    );
    assert!(text.contains("(2 attempts)"), "{text}");
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let files = Server::new(|request, _| Reply::file(request, &content(1000), ETAG));
    let to = format!("{}/elsewhere", files.endpoint);
    let server = Server::new(move |request, _| match request.path.ends_with("loop") {
        true => Reply::status(302).with("Location", "/folder/loop"),
        false => Reply::status(302).with("Location", to.clone()),
    });
    let store = open(&server);
    assert_eq!(store.read("a b.tar").unwrap(), Some(content(1000)));
    let text = store.head("loop").unwrap_err().to_string();
    assert!(text.contains("redirects without end (1 attempt)"), "{text}");
}

#[test]
fn folders_are_listed_by_webdav_or_not_at_all() {
    let multistatus = r#"<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">
<D:response><D:href>/folder/data/</D:href><D:propstat><D:prop><D:getlastmodified>Mon, 12 Jan 2026 10:00:00 GMT</D:getlastmodified>
<D:resourcetype><D:collection/></D:resourcetype></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
<D:response><D:href>/folder/data/b%20c.tar</D:href><D:propstat><D:prop><D:getlastmodified>Mon, 12 Jan 2026 10:00:00 GMT</D:getlastmodified>
<D:getcontentlength>12</D:getcontentlength><D:getetag>"x"</D:getetag><D:resourcetype/></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
<D:response><D:href>/folder/data/a.tar</D:href><D:propstat><D:prop><D:getlastmodified>Mon, 12 Jan 2026 10:00:00 GMT</D:getlastmodified>
<D:getcontentlength>34</D:getcontentlength><D:resourcetype/></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>
</D:multistatus>"#;
    let server = Server::new(
        move |request, before| match (request.method.as_str(), before) {
            ("PROPFIND", 0) => Reply::status(503),
            ("PROPFIND", _) => Reply {
                status: 207,
                ..Reply::text(multistatus)
            },
            _ => Reply::status(500),
        },
    );
    let objects = open(&server).list("data").unwrap();
    let found: Vec<_> = objects.iter().map(|o| (o.path.as_str(), o.size)).collect();
    assert_eq!(found, [("data/a.tar", 34), ("data/b c.tar", 12)]);

    let server = Server::new(|_, _| Reply::status(405));
    let text = open(&server).list("").unwrap_err().to_string();
    assert!(
        text.contains("the folder cannot be listed by WebDAV"),
        "{text}"
    );
    assert!(
        text.contains("(1 attempt); name the files to be read"),
        "{text}"
    );
}

#[test]
fn nothing_is_written() {
    let server = Server::new(|_, _| Reply::status(200));
    let store = open(&server);
    for result in [
        store.write("x", b""),
        store.upload("x", "Cargo.toml".as_ref()),
        store.delete("x"),
    ] {
        let text = result.unwrap_err().to_string();
        assert!(
            text.contains("x cannot be written, because http locations are only read"),
            "{text}"
        );
    }
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn parquet_is_read_in_few_requests() {
    use arrow::array::{ArrayRef, BinaryArray, Int32Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;

    let audio: Vec<Vec<u8>> = (0..2000).map(|i| content(5000 + i)).collect();
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int32Array::from_iter_values(0..2000))),
        ("audio", Arc::new(BinaryArray::from_iter_values(&audio))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(20_000)
        .set_write_batch_size(4)
        .set_max_row_group_row_count(Some(500));
    let mut file = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut file, batch.schema(), Some(properties.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let size = file.len();
    assert!(size > 8 << 20);

    let server = Server::new(move |request, _| Reply::file(request, &file, ETAG));
    let random = open(&server).random(&object(size)).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(random).unwrap();
    let batches = reader.with_batch_size(2000).build().unwrap();
    let read: Vec<RecordBatch> = batches.map(Result::unwrap).collect();
    let read = arrow::compute::concat_batches(&batch.schema(), &read).unwrap();
    assert!(read == batch);
    let asked = server.count("GET");
    assert!(asked <= size.div_ceil(4 << 20), "{asked} requests");
}
