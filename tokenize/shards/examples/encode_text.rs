//! Times the text encoder, for `scripts/bench_text.py`:
//!
//! ```text
//! cargo run --release -p shards --example encode_text -- BASE.json TEXTS.jsonl THREADS ROUNDS [IDS]
//! ```
//!
//! Extends the tokenizer BASE.json for audio, reads the key `text` of each line of TEXTS.jsonl, encodes all texts ROUNDS times
//! on THREADS threads and prints one line of JSON. Caches are cold in the first round and warm in the others. IDS receives
//! the ids of all texts in order, as little-endian u32.

use serde_json::{Value, json};
use shards::{Result, Vocab, extend_tokenizer};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

/// Texts that a thread takes at a time, so that taking them costs nothing.
const TAKEN: usize = 16;

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, texts, threads, rounds, ids @ ..] = arguments.as_slice() else {
        return Err("usage: encode_text BASE.json TEXTS.jsonl THREADS ROUNDS [IDS]".into());
    };
    let (threads, rounds): (usize, usize) = (threads.parse()?, rounds.parse()?);
    let texts = read(Path::new(texts))?;
    let folder = tempfile::tempdir()?;
    extend_tokenizer(Path::new(base), folder.path(), 8, 2048)?;
    let start = Instant::now();
    let vocab = Vocab::load(folder.path())?;
    let load_secs = start.elapsed().as_secs_f64();

    let mut secs = Vec::new();
    let mut encoded = Vec::new();
    for _ in 0..rounds {
        let start = Instant::now();
        encoded = encode(&vocab, &texts, threads)?;
        secs.push(start.elapsed().as_secs_f64());
    }
    if let Some(path) = ids.first() {
        let bytes: Vec<u8> = encoded
            .iter()
            .flatten()
            .flat_map(|id| id.to_le_bytes())
            .collect();
        fs::write(path, bytes)?;
    }
    let report = json!({
        "threads": threads,
        "bytes": texts.iter().map(String::len).sum::<usize>(),
        "tokens": encoded.iter().map(Vec::len).sum::<usize>(),
        "load_secs": load_secs,
        "secs": secs,
    });
    println!("{report}");
    Ok(())
}

fn read(path: &Path) -> std::result::Result<Vec<String>, Box<dyn Error>> {
    let mut texts = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        texts.push(
            line["text"]
                .as_str()
                .ok_or("a line has no text")?
                .to_string(),
        );
    }
    Ok(texts)
}

fn encode(vocab: &Vocab, texts: &[String], threads: usize) -> Result<Vec<Vec<u32>>> {
    let next = AtomicUsize::new(0);
    let mut parts: Vec<Mutex<Result<Vec<Vec<u32>>>>> = Vec::new();
    parts.resize_with(texts.len().div_ceil(TAKEN), || Mutex::new(Ok(Vec::new())));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(part), Some(texts)) = (parts.get(at), texts.chunks(TAKEN).nth(at)) else {
                break;
            };
            let ids = texts.iter().map(|text| vocab.encode_text(text)).collect();
            *part.lock().expect("no thread panics") = ids;
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut all = Vec::with_capacity(texts.len());
    for part in parts {
        all.extend(part.into_inner().expect("no thread panics")?);
    }
    Ok(all)
}
