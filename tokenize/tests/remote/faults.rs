//! Servers that fail: what is made is the same, or nothing is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use servers::{Reply, Request};

use crate::bench::{Bench, assert_same, run, run_ok, without_inputs};

const EMILIA: [&str; 7] = [
    "emilia", "--split", "Emilia", "--langs", "EN,DE", "--codec", "mel-rvq",
];
const MLS: [&str; 3] = ["mls", "--codec", "mel-rvq"];

/// Whether content is asked for, rather than a listing.
fn is_content(request: &Request) -> bool {
    request.method == "GET" && !request.path.contains("list-type=2")
}

/// Of each four answers with content of an object three go wrong: too busy, reset in the midst of the body, and silent in it for longer than
/// most take, yet less than ends patience.
fn check(source: &[&str], corpus: &str) {
    let faults = Arc::new(AtomicUsize::new(0));
    let counted = faults.clone();
    let bench = Bench::with(move |request, before, reply| {
        if before % 4 > 2 || !is_content(request) || reply.body.len() < 100 {
            return reply;
        }
        counted.fetch_add(1, SeqCst);
        let half = reply.body.len() / 2;
        match before % 4 {
            0 => Reply::status(503),
            1 => reply.reset_after(half),
            _ => Reply {
                pause: Some((half, Duration::from_millis(700))),
                ..reply
            },
        }
    });
    let input = bench.put(corpus);
    let out = bench.path("remote");
    run_ok(&mut bench.job(source, &input, out.to_str().unwrap()));
    let found = faults.load(SeqCst);
    assert!(found >= 6, "{found} faults");
    let remote = crate::bench::files(&out);
    let local = bench.local(source, corpus);
    assert_same(&without_inputs(remote), &without_inputs(local));
}

#[test]
fn archives_survive_a_bad_network() {
    check(&EMILIA, "emilia");
}

#[test]
fn tables_survive_a_bad_network() {
    check(&MLS, "mls");
}

#[test]
fn a_store_that_refuses_leaves_nothing_half_done() {
    let is_down = Arc::new(AtomicBool::new(true));
    let asked = is_down.clone();
    // the second archive cannot be had at first
    let bench = Bench::with(move |request, _, reply| {
        let is_second = is_content(request) && request.path.contains("EN-B000001");
        match is_second && asked.load(SeqCst) {
            true => Reply::status(503),
            false => reply,
        }
    });
    let input = bench.put("emilia");
    let (out, whole) = (bench.path("out"), bench.path("whole"));
    let job = |out: &std::path::Path| bench.job(&EMILIA, &input, out.to_str().unwrap());
    let output = run(&mut job(&out));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    for part in [
        "s3://bucket/raw/emilia",
        "EN-B000001.tar",
        "503",
        "8 attempts",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let left = crate::bench::files(&out);
    let is_manifest = |name: &String| name.ends_with("manifest.json");
    assert!(!left.keys().any(is_manifest), "{:?}", left.keys());
    is_down.store(false, SeqCst);
    run_ok(&mut job(&out));
    run_ok(&mut job(&whole));
    let [found, expected] = [&out, &whole].map(|dir| crate::bench::files(dir));
    assert_same(&found, &expected);
    let kept = left.iter().filter(|(name, _)| name.ends_with(".parquet"));
    for (name, bytes) in kept {
        assert!(expected[name] == *bytes, "{name} was half written");
    }
}
