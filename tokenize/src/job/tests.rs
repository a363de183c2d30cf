//! Whole jobs over small synthetic recordings.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use encodec_rs::MelRvq;
use serde_json::{Map, json};
use shards::{Dataset, Document, Vocab};
use tempfile::TempDir;

use super::*;
use crate::sources::folder::{Folder, FolderOptions};

/// A folder `corpus`, a tokenizer and room for outputs.
struct Bench {
    temp: TempDir,
    vocab: Vocab,
    codec: MelRvq,
    precision: Precision,
}

impl Bench {
    /// `recordings` tones of different lengths and rates, every third one without a transcript.
    fn new(recordings: usize) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let bench_dir = temp.path();
        fs::create_dir(bench_dir.join("corpus")).unwrap();
        for n in 0..recordings {
            let rate_hz = [16_000, 24_000, 44_100][n % 3];
            tone(
                &bench_dir.join(format!("corpus/{n:02}.wav")),
                rate_hz,
                0.3 + 0.13 * n as f32,
            );
            if n % 3 != 2 {
                fs::write(
                    bench_dir.join(format!("corpus/{n:02}.txt")),
                    format!(" tone {n}\n"),
                )
                .unwrap();
            }
        }
        let vocab = tokenizer(bench_dir);
        Bench {
            temp,
            vocab,
            codec: MelRvq::embedded(),
            precision: Precision::F32,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn folder(&self, shard_bytes: u64) -> Folder {
        Folder::open(&FolderOptions {
            dir: self.path("corpus"),
            shard_bytes,
            ..FolderOptions::default()
        })
        .unwrap()
    }

    fn run(&self, shard_bytes: u64, out: &str, threads: usize, max_bad: f64) -> Result<Summary> {
        let folder = self.folder(shard_bytes);
        let tokenization = Tokenization {
            source: &folder,
            coding: Coding::Codec(&self.codec, self.precision),
            vocab: &self.vocab,
            tokenizer_dir: self.path("tokenizer"),
            filters: Filters::default(),
        };
        tokenization.run(&RunOptions {
            max_bad,
            ..self.options(out, threads)
        })
    }

    fn options(&self, out: &str, threads: usize) -> RunOptions {
        RunOptions {
            out: Store::open(self.path(out).to_str().unwrap()).unwrap(),
            threads,
            worker: Worker::ALONE,
            overwrite: false,
            max_bad: 0.0,
        }
    }

    fn documents(&self, out: &str) -> Vec<Document> {
        let dataset = Dataset::open(&self.path(out)).unwrap();
        let readers = (0..dataset.shards().len()).map(|shard| dataset.reader(shard).unwrap());
        readers
            .flat_map(|r| {
                (0..r.row_groups())
                    .flat_map(move |g| r.documents(g).unwrap())
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

fn tone(path: &Path, rate_hz: u32, secs: f32) {
    let samples: Vec<f32> = (0..(secs * rate_hz as f32) as usize)
        .map(|n| 0.3 * (n as f32 * 2000.0 / rate_hz as f32).sin())
        .collect();
    let audio = audio::Audio {
        samples,
        channels: 1,
        sample_rate_hz: rate_hz,
    };
    audio::write_wav(path, &audio).unwrap();
}

/// A byte-level tokenizer of printable ASCII and the space, which is enough for these transcripts.
fn tokenizer(dir: &Path) -> Vocab {
    let mut vocab = Map::new();
    for (id, char) in ('!'..='~').chain(['Ġ']).enumerate() {
        vocab.insert(char.to_string(), id.into());
    }
    let base = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": []},
    });
    let path = dir.join("base.json");
    fs::write(&path, base.to_string()).unwrap();
    shards::extend_tokenizer(&path, &dir.join("tokenizer"), 8, 2048).unwrap();
    Vocab::load(&dir.join("tokenizer")).unwrap()
}

/// All files of a folder, by relative path, but for the lock.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(
                files(&path)
                    .into_iter()
                    .map(|(below, bytes)| (format!("{name}/{below}"), bytes)),
            );
        } else if !name.starts_with(".lock") {
            found.insert(name, fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn a_folder_becomes_a_dataset() {
    let bench = Bench::new(6);
    let summary = bench.run(1 << 20, "out", 2, 0.0).unwrap();
    assert_eq!(
        (
            summary.documents,
            summary.audio_only_documents,
            summary.shards
        ),
        (6, 2, 1)
    );
    assert_eq!(summary.text_tokens, 4 * "tone 0".len() as u64);
    let documents = bench.documents("out");
    assert_eq!(documents.len(), 6);
    for (n, document) in documents.iter().enumerate() {
        assert_eq!(
            (document.id.clone(), document.source.as_str()),
            (format!("{n:02}"), "corpus")
        );
        assert_eq!(document.origin, format!("{n:02}.wav"));
        let [segment] = document.segments.as_slice() else {
            panic!("one segment")
        };
        let text = if n % 3 == 2 {
            String::new()
        } else {
            format!("tone {n}")
        };
        assert_eq!(segment.text, text);
        assert_eq!(segment.text_ids, bench.vocab.encode_text(&text).unwrap());
        let samples = audio::load(&bench.path(&format!("corpus/{n:02}.wav")), 24_000, 1)
            .unwrap()
            .audio
            .samples;
        assert_eq!(segment.codes, bench.codec.encode(&samples).unwrap().data);
    }
    let copied = Dataset::open(&bench.path("out")).unwrap().vocab().unwrap();
    assert_eq!(copied.info().sha256, bench.vocab.info().sha256);
}

#[test]
fn the_bytes_do_not_depend_on_the_threads() {
    let bench = Bench::new(12);
    fs::write(bench.path("corpus/05.wav"), b"not audio").unwrap();
    for (out, threads) in [("one", 1), ("two", 2), ("five", 5)] {
        let summary = bench.run(60_000, out, threads, 0.5).unwrap();
        assert!(summary.shards > 3, "{} shards", summary.shards);
    }
    let one = files(&bench.path("one"));
    assert_eq!(one, files(&bench.path("two")));
    assert_eq!(one, files(&bench.path("five")));
}

#[test]
fn an_interrupted_job_continues_and_keeps_finished_shards() {
    let bench = Bench::new(9);
    bench.run(60_000, "whole", 2, 0.0).unwrap();
    bench.run(60_000, "out", 2, 0.0).unwrap();
    let out = bench.path("out");
    // as a run killed in the middle of its second shard leaves it
    fs::remove_file(out.join("manifest.json")).unwrap();
    fs::remove_file(out.join("part-00001.parquet")).unwrap();
    fs::write(out.join(".part-00001.parquet.7-7.partial"), b"half").unwrap();
    fs::create_dir_all(out.join("skipped")).unwrap();
    fs::write(out.join("skipped/part-00001.jsonl"), b"stale").unwrap();
    let kept = out.join("part-00000.parquet");
    let before = fs::metadata(&kept).unwrap().modified().unwrap();
    let summary = bench.run(60_000, "out", 1, 0.0).unwrap();
    assert_eq!(summary.shards_kept, summary.shards - 1);
    assert_eq!(fs::metadata(&kept).unwrap().modified().unwrap(), before);
    assert_eq!(files(&bench.path("whole")), files(&out));
    let again = bench.run(60_000, "out", 1, 0.0).unwrap();
    assert_eq!(
        (again.shards_kept, again.times_real_time),
        (again.shards, None)
    );
    assert_eq!(
        (
            again.documents,
            again.text_tokens,
            again.audio_only_documents
        ),
        (9, summary.text_tokens, 3)
    );
}

#[test]
fn another_jobs_folder_is_refused_by_what_differs() {
    let mut bench = Bench::new(3);
    bench.run(60_000, "out", 1, 0.0).unwrap();
    let text = bench.run(70_000, "out", 1, 0.0).unwrap_err().to_string();
    assert!(
        text.contains("shard_bytes: \"60000\" there, \"70000\" now"),
        "{text}"
    );
    bench.precision = Precision::Bf16;
    let text = bench.run(60_000, "out", 1, 0.0).unwrap_err().to_string();
    assert!(
        text.contains("precision: \"f32\" there, \"bf16\" now"),
        "{text}"
    );
    bench.precision = Precision::F32;
    tone(&bench.path("corpus/99.wav"), 24_000, 0.2);
    let text = bench.run(60_000, "out", 1, 0.0).unwrap_err().to_string();
    assert!(
        text.contains("documents: \"3\" there, \"4\" now") && text.contains("inputs_sha256"),
        "{text}"
    );
}

#[test]
fn bad_records_are_listed_and_too_many_fail_at_the_end() {
    let bench = Bench::new(9);
    fs::write(bench.path("corpus/01.txt"), " \n").unwrap();
    fs::write(bench.path("corpus/03.txt"), b"abc\xff").unwrap();
    fs::write(bench.path("corpus/04.wav"), b"not audio").unwrap();
    let error = bench.run(60_000, "out", 2, 0.3).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("3 of 9 utterances are bad")
            && text.contains("1 empty-transcript, 1 not-audio, 1 not-utf8"),
        "{text}"
    );
    assert!(!bench.path("out/manifest.json").exists());
    let listed: Vec<BadRecord> = fs::read_to_string(bench.path("out/skipped.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let paths: Vec<_> = listed
        .iter()
        .map(|r| (r.path.as_str(), r.reason.as_str()))
        .collect();
    assert_eq!(
        paths,
        [
            ("01.wav", "empty-transcript"),
            ("03.wav", "not-utf8"),
            ("04.wav", "not-audio")
        ]
    );

    // a larger allowance is the same job, and finds all its shards done
    let summary = bench.run(60_000, "out", 2, 0.34).unwrap();
    assert_eq!(
        (summary.documents, summary.shards_kept),
        (6, summary.shards)
    );
    let manifest = Dataset::open(&bench.path("out"))
        .unwrap()
        .manifest()
        .clone();
    assert_eq!(manifest.skipped, summary.skipped);
    assert_eq!(summary.skipped.values().sum::<u64>(), 3);
}

#[test]
fn a_unit_of_bad_records_only_is_an_empty_shard() {
    let bench = Bench::new(2);
    fs::write(bench.path("corpus/00.wav"), b"not audio").unwrap();
    let summary = bench.run(10, "out", 2, 1.0).unwrap();
    assert_eq!((summary.documents, summary.shards), (1, 2));
    assert_eq!(bench.documents("out").len(), 1);
}

#[test]
fn a_tokenizer_for_another_codec_is_refused_before_any_work() {
    let mut bench = Bench::new(1);
    shards::extend_tokenizer(&bench.path("base.json"), &bench.path("small"), 4, 1024).unwrap();
    bench.vocab = Vocab::load(&bench.path("small")).unwrap();
    let text = bench.run(10, "out", 1, 0.0).unwrap_err().to_string();
    assert!(
        text.contains("8 codebooks of 2048") && text.contains("--codebooks 8 --codebook-size 2048"),
        "{text}"
    );
    assert!(!bench.path("out").exists());
}

#[test]
fn rows_of_a_manifest_become_segments() {
    let bench = Bench::new(3);
    let rows = concat!(
        "{\"path\":\"corpus/01.wav\",\"document\":\"d\",\"speaker\":\"B\",\"text\":\"one\"}\n",
        "{\"path\":\"corpus/00.wav\",\"document\":\"d\",\"speaker\":\"A\"}\n",
        "{\"path\":\"corpus/02.wav\",\"document\":\"d\",\"speaker\":\"B\"}\n",
    );
    fs::write(bench.path("rows.jsonl"), rows).unwrap();
    let folder = Folder::open(&FolderOptions {
        dir: bench.path("corpus"),
        manifest: Some(bench.path("rows.jsonl")),
        lang: Some("en".into()),
        shard_bytes: 1 << 20,
        ..FolderOptions::default()
    })
    .unwrap();
    let tokenization = Tokenization {
        source: &folder,
        coding: Coding::Codec(&bench.codec, bench.precision),
        vocab: &bench.vocab,
        tokenizer_dir: bench.path("tokenizer"),
        filters: Filters::default(),
    };
    tokenization.run(&bench.options("out", 2)).unwrap();
    let documents = bench.documents("out");
    assert_eq!((documents.len(), documents[0].lang.as_str()), (1, "en"));
    let segments: Vec<_> = documents[0]
        .segments
        .iter()
        .map(|s| (s.text.as_str(), s.speaker))
        .collect();
    assert_eq!(
        segments,
        [("one", Some(0)), ("tone 0", Some(1)), ("", Some(0))]
    );
}

#[test]
fn workers_together_make_what_one_makes() {
    let bench = Bench::new(11);
    fs::write(bench.path("corpus/05.wav"), b"not audio").unwrap();
    bench.run(60_000, "alone", 2, 0.5).unwrap();
    let folder = bench.folder(60_000);
    let tokenization = Tokenization {
        source: &folder,
        coding: Coding::Codec(&bench.codec, bench.precision),
        vocab: &bench.vocab,
        tokenizer_dir: bench.path("tokenizer"),
        filters: Filters::default(),
    };
    let missing: Vec<usize> = [2, 0, 1]
        .into_iter()
        .map(|index| {
            let options = RunOptions {
                worker: Worker { index, count: 3 },
                max_bad: 0.5,
                ..bench.options("shared", 1)
            };
            tokenization.run(&options).unwrap().shards_missing
        })
        .collect();
    assert!(
        missing[0] > missing[1] && missing[1] > 0 && missing[2] == 0,
        "{missing:?}"
    );
    assert_eq!(files(&bench.path("alone")), files(&bench.path("shared")));
}

#[test]
fn filters_are_part_of_the_job_and_counted() {
    let bench = Bench::new(4);
    let folder = bench.folder(1 << 20);
    let tokenization = Tokenization {
        source: &folder,
        coding: Coding::Codec(&bench.codec, bench.precision),
        vocab: &bench.vocab,
        tokenizer_dir: bench.path("tokenizer"),
        filters: Filters {
            min_secs: Some(0.5),
            ..Filters::default()
        },
    };
    // 0.3 and 0.43 s are too short
    let summary = tokenization.run(&bench.options("out", 2)).unwrap();
    assert_eq!((summary.utterances, summary.filtered["min-secs"]), (2, 2));
    let manifest = Dataset::open(&bench.path("out"))
        .unwrap()
        .manifest()
        .clone();
    assert_eq!(manifest.filtered, summary.filtered);
    let text = bench.run(1 << 20, "out", 1, 0.0).unwrap_err().to_string();
    assert!(text.contains("min_secs: \"0.5\" there, none now"), "{text}");
}
