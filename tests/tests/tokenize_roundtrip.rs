//! The bundled corpus to shards and back.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use shards::{Dataset, Document, TokenKind};
use tests::{TokenizeJob, assert_same_bytes, bin, corpus, dir_bytes, documents, run_ok};

/// Recordings of the bundled corpus.
const RECORDINGS: usize = 80;
/// Documents its manifest makes of them.
const MANIFEST_DOCUMENTS: usize = 20;

fn with_manifest(mut command: Command) -> Command {
    command
        .arg("--manifest")
        .arg(corpus().join("manifest.jsonl"));
    command
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&run_ok(command.arg("--json"))).unwrap()
}

#[test]
fn the_number_of_threads_leaves_no_trace() {
    let job = TokenizeJob::new();
    let [one, two, five] = ["1", "2", "5"].map(|threads| {
        let out = job.path(threads);
        run_ok(
            job.command_for(&corpus(), &out)
                .args(["--shard-mib", "1", "--threads", threads]),
        );
        out
    });
    assert!(
        dir_bytes(&one).contains_key("part-00003.parquet"),
        "one shard tests too little"
    );
    assert_same_bytes(&two, &one);
    assert_same_bytes(&five, &one);

    let [one, two] = ["m1", "m2"].map(|name| {
        let out = job.path(name);
        run_ok(with_manifest(job.command_for(&corpus(), &out)).args(["--threads", &name[1..]]));
        out
    });
    assert_same_bytes(&two, &one);
}

#[test]
fn a_finished_job_is_not_redone() {
    let job = TokenizeJob::new();
    run_ok(&mut job.command_for(&corpus(), &job.out()));
    let modified = || {
        fs::metadata(job.out().join("part-00000.parquet"))
            .unwrap()
            .modified()
            .unwrap()
    };
    let (bytes, time) = (dir_bytes(&job.out()), modified());
    let again = json(&mut job.command_for(&corpus(), &job.out()));
    assert_eq!(
        (again["shards"].clone(), again["shards_kept"].clone()),
        (1.into(), 1.into())
    );
    assert_eq!(dir_bytes(&job.out()), bytes);
    assert_eq!(modified(), time);
}

#[test]
fn a_document_a_recording_or_a_row_group_of_the_manifest() {
    let job = TokenizeJob::new();
    let (plain, listed) = (job.path("plain"), job.path("listed"));
    run_ok(&mut job.command_for(&corpus(), &plain));
    run_ok(&mut with_manifest(job.command_for(&corpus(), &listed)));
    let (plain, listed) = (documents(&plain), documents(&listed));
    assert_eq!(
        (plain.len(), listed.len()),
        (RECORDINGS, MANIFEST_DOCUMENTS)
    );

    // the same recordings and transcripts, only put together otherwise
    let story = &listed["fr-3"];
    assert_eq!((story.lang.as_str(), story.segments.len()), ("fr", 4));
    for (n, segment) in story.segments.iter().enumerate() {
        let alone = &plain[&format!("fr/fr-3-{n}")];
        assert_eq!(alone.lang, "fr");
        let [alone] = &alone.segments[..] else {
            panic!("{alone:?}")
        };
        assert_eq!(
            (&segment.codes, &segment.text_ids),
            (&alone.codes, &alone.text_ids)
        );
        assert_eq!(segment.text, alone.text);
    }
    let speakers: Vec<_> = story
        .segments
        .iter()
        .map(|segment| segment.speaker)
        .collect();
    assert_eq!(speakers, [Some(0), Some(1), Some(0), Some(1)]);
}

#[test]
fn transcripts_survive() {
    let job = TokenizeJob::new();
    run_ok(&mut job.command_for(&corpus(), &job.out()));
    let vocab = Dataset::open(&job.out()).unwrap().vocab().unwrap();
    for (id, document) in job.documents() {
        let transcript = fs::read_to_string(corpus().join(&id).with_extension("txt")).unwrap();
        let segment = &document.segments[0];
        assert_eq!(segment.text, transcript.trim());
        assert_eq!(vocab.decode_text(&segment.text_ids).unwrap(), segment.text);
        assert!(
            segment
                .text_ids
                .iter()
                .all(|&token| vocab.layout().kind(token) == TokenKind::Text)
        );
    }
}

/// Documents, frames and text tokens, counted from the documents themselves.
fn totals<'a>(documents: impl Iterator<Item = &'a Document>) -> [u64; 3] {
    let mut totals = [0; 3];
    for document in documents {
        totals[0] += 1;
        for segment in &document.segments {
            totals[1] += segment.codes.len() as u64 / 8;
            totals[2] += segment.text_ids.len() as u64;
        }
    }
    totals
}

/// The same three numbers from a part of `tokenize stats --json`.
fn reported(stats: &Value) -> [u64; 3] {
    let number = |value: &Value| {
        value
            .as_u64()
            .unwrap_or_else(|| panic!("no number in {stats}"))
    };
    let tokens = stats["tokens"].as_object().unwrap();
    let frames = number(&tokens["semantic"]);
    for codebook in 1..8 {
        assert_eq!(
            number(&tokens[&format!("acoustic-{codebook}")]),
            frames,
            "{stats}"
        );
    }
    assert_eq!(tokens.len(), 9, "{stats}");
    let hours = stats["audio_hours"].as_f64().unwrap();
    assert!(
        (hours - frames as f64 / 12.5 / 3600.0).abs() < 1e-9,
        "{stats}"
    );
    [number(&stats["documents"]), frames, number(&tokens["text"])]
}

#[test]
fn stats_add_up() {
    let job = TokenizeJob::new();
    let summary = json(
        job.command_for(&corpus(), &job.out())
            .args(["--shard-mib", "1"]),
    );
    let stats = json(bin("tokenize").arg("stats").arg(job.out()));
    let documents = job.documents();
    let all = totals(documents.values());
    assert_eq!(reported(&stats), all);
    let mut languages: BTreeMap<&str, Vec<&Document>> = BTreeMap::new();
    for document in documents.values() {
        languages.entry(&document.lang).or_default().push(document);
    }
    assert_eq!(
        languages.keys().copied().collect::<Vec<_>>(),
        ["de", "en", "es", "fr"]
    );
    assert_eq!(stats["languages"].as_object().unwrap().len(), 4);
    for (lang, documents) in languages {
        assert_eq!(
            reported(&stats["languages"][lang]),
            totals(documents.into_iter()),
            "{lang}"
        );
    }
    let part = |path: &Path| path.extension().is_some_and(|e| e == "parquet");
    let parts: Vec<_> = fs::read_dir(job.out())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| part(p))
        .collect();
    let bytes: u64 = parts
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert_eq!(
        (stats["shards"].as_u64(), stats["bytes"].as_u64()),
        (Some(parts.len() as u64), Some(bytes))
    );
    // what the job itself printed
    assert_eq!(summary["audio_tokens"].as_u64(), Some(all[1] * 8));
    assert_eq!(summary["text_tokens"].as_u64(), Some(all[2]));
    assert_eq!(summary["bytes"].as_u64(), Some(bytes));
}

#[test]
fn decoding_gives_audio_of_the_right_length() {
    let job = TokenizeJob::new();
    run_ok(&mut with_manifest(job.command_for(&corpus(), &job.out())));
    let wav = job.path("story.wav");
    let shard = job.out().join("part-00000.parquet");
    let mut decode = bin("tokenize");
    decode
        .arg("decode")
        .arg(&shard)
        .args(["--id", "en-2"])
        .arg("--out")
        .arg(&wav);
    let printed = run_ok(&mut decode);
    let story = &job.documents()["en-2"];
    for segment in &story.segments {
        assert!(
            printed.contains(&segment.text),
            "{:?} is not in {printed}",
            segment.text
        );
    }
    let decoded = audio::decode_file(&wav, 1).unwrap();
    let frames: usize = story
        .segments
        .iter()
        .map(|segment| segment.codes.len() / 8)
        .sum();
    assert_eq!(
        (decoded.source_rate_hz, decoded.source_channels),
        (24_000, 1)
    );
    assert_eq!(decoded.audio.samples.len(), frames * 1_920);
    let power: f32 =
        decoded.audio.samples.iter().map(|x| x * x).sum::<f32>() / (frames * 1_920) as f32;
    assert!(power > 1e-5, "silence, of power {power}");
}
