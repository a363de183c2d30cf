//! What `mixes report` says is what counting by hand gives.

use crate::common::*;
use crate::program::*;
use mixes::*;
use serde_json::Value;
use shards::*;
use std::fs;
use tempfile::TempDir;

/// First and last sequence, and beyond, of the three stages of [`three`].
const STAGES: [(u64, u64); 3] = [(0, 160), (160, 320), (320, 500)];

/// Shares at the beginning of each.
const SHARES: [[f64; 3]; 3] = [
    [0.625, 0.25, 0.125],
    [0.125, 0.25, 0.625],
    [0.375, 0.5, 0.125],
];

#[test]
fn counts_are_those_of_every_single_sequence() {
    let data = TempDir::new().unwrap();
    let mix = three(data.path());
    let (path, folder) = (mix.to_str().unwrap(), data.path().to_str().unwrap());
    // ends within a stage and within a block
    let report = json(
        data.path(),
        &[
            "report",
            path,
            "--data",
            folder,
            "--tokens",
            "13.6e3",
            "--seq-len",
            "32",
            "--json",
        ],
    );
    let sequences = 425;
    assert_eq!(report["sequences"], sequences);
    assert_eq!(report["stages"].as_array().unwrap().len(), 3);
    let loader = opened(&mix, data.path());
    let per_epoch = loader.summary().components;
    let mut all = ([0u64; 3], [0.0; 3]);
    for (number, (first, next)) in STAGES.into_iter().enumerate() {
        let (mut counts, mut expected) = ([0u64; 3], [0.0; 3]);
        for index in first..next.min(sequences) {
            let sequence = loader.sequence(index).unwrap();
            counts[corpus_of(&sequence, loader.vocab())] += 1;
            let way = (index - first) as f64 + 0.5;
            let way = if number == 1 {
                way / (next - first) as f64
            } else {
                0.0
            };
            for component in 0..3 {
                let until = SHARES[(number + 1).min(2)][component];
                expected[component] += SHARES[number][component] * (1.0 - way) + until * way;
            }
        }
        let stage = &report["stages"][number];
        assert_eq!(stage["first_sequence"], first);
        assert_eq!(stage["sequences"], next.min(sequences) - first);
        for component in 0..3 {
            check(
                &stage["portions"][component],
                counts[component],
                expected[component],
                per_epoch[component].sequences_per_epoch,
            );
            all.0[component] += counts[component];
            all.1[component] += expected[component];
        }
    }
    for component in 0..3 {
        let found = &report["components"][component];
        let per_epoch = &per_epoch[component];
        check(
            found,
            all.0[component],
            all.1[component],
            per_epoch.sequences_per_epoch,
        );
        assert_eq!(found["data"]["train_tokens"], per_epoch.train_tokens);
        assert_eq!(found["data"]["view"], per_epoch.view.name());
    }
    // without data there are no epochs, and everything else is the same
    let mixture = Mixture::open(path).unwrap();
    let planned = report::Report::planned(&mixture, SEQ_LEN, 0..sequences).unwrap();
    for (component, found) in planned.components.iter().enumerate() {
        assert_eq!(found.portion.sequences, all.0[component]);
        assert_eq!(found.portion.epochs, None);
        assert!(found.data.is_none());
    }
    let text = printed(
        data.path(),
        &[
            "report",
            path,
            "--data",
            folder,
            "--sequences",
            "425",
            "--seq-len",
            "32",
        ],
    );
    for part in [
        "three: 425 sequences",
        "stage 2: 160 sequences from 160 on",
        "all stages",
        "lost tokens",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

fn check(portion: &Value, sequences: u64, expected: f64, per_epoch: u64) {
    assert_eq!(portion["sequences"], sequences, "{portion}");
    assert_eq!(portion["tokens"], sequences * SEQ_LEN as u64);
    let found = portion["expected_tokens"].as_f64().unwrap();
    assert!(
        (found - expected * SEQ_LEN as f64).abs() < 1e-6,
        "{portion}, {expected}"
    );
    let epochs = portion["epochs"].as_f64().unwrap();
    assert!(
        (epochs - sequences as f64 / per_epoch as f64).abs() < 1e-12,
        "{portion}"
    );
}

#[test]
fn truncation_is_that_of_the_renderings() {
    let data = TempDir::new().unwrap();
    let vocab = vocabulary(&data.path().join("corpus/tokenizer"), 20);
    let mut all: Vec<Document> = (0..800).map(|number| document(number, &vocab)).collect();
    for number in (0..800).step_by(3) {
        let more = document(number * 7 + 1, &vocab).segments;
        all[number].segments.extend(more);
    }
    write(data.path(), "corpus", &vocab, &all, 400);
    let mut lengths = Vec::new();
    for document in all.iter().filter(|d| !is_validation(&d.id, 0.2)) {
        let counts = DocumentCounts::of(document, CODEBOOKS).unwrap();
        for order in View::Both.renderings(&counts) {
            let mut tokens = Vec::new();
            order.render(document, vocab.layout(), CODEBOOKS, CODEBOOKS, &mut tokens);
            lengths.push(tokens.len() as u64);
        }
    }
    let longer = |than: u64| lengths.iter().filter(move |&&length| length > than);
    let all_tokens: u64 = lengths.iter().sum();
    for (packing, seq_len, over) in [
        (Packing::Concat, 32, 32),
        (Packing::Concat, 24, 32),
        (Packing::BestFit, 24, 24),
    ] {
        let mixture = Mixture {
            packing,
            ..mixture(View::Both)
        };
        let options = LoaderOptions {
            seq_len,
            ..options(data.path())
        };
        let loader = Loader::open(&mixture, data.path().to_str().unwrap(), &options).unwrap();
        let report = report::Report::new(&loader, 0..10).unwrap();
        let found = &report.components[0].data.as_ref().unwrap().truncation;
        let per_epoch = loader.summary().sequences_per_epoch;
        let mut tokens = 0;
        let mut padding = 0;
        for index in 0..per_epoch {
            let sequence = loader.sequence(index).unwrap();
            let last = sequence.segment_ids.last().unwrap();
            let of_last = sequence
                .segment_ids
                .iter()
                .zip(&sequence.tokens)
                .filter(|(s, _)| *s == last);
            let of_last: Vec<u32> = of_last.map(|(_, token)| *token).collect();
            let padded = of_last[0] == vocab.layout().eos && of_last.len() < seq_len && *last > 0;
            padding += if padded { of_last.len() as u64 } else { 0 };
            tokens += seq_len as u64;
        }
        assert!(longer(over).count() > 5);
        assert_eq!(found.renderings, lengths.len() as u64);
        assert_eq!(
            (found.long_over_tokens, found.long_renderings),
            (over, longer(over).count() as u64)
        );
        assert_eq!(
            found.lost_tokens,
            all_tokens - (tokens - padding),
            "{packing:?}"
        );
        assert_eq!(found.padding_tokens, padding, "{packing:?}");
    }
}

#[test]
fn what_cannot_be_reported_is_refused_with_the_reason() {
    let data = TempDir::new().unwrap();
    let mix = three(data.path());
    let (mix, folder) = (mix.to_str().unwrap(), data.path().to_str().unwrap());
    let out = data.path().join("x.svg");
    let out = out.to_str().unwrap();
    let ends = data.path().join("ends.toml");
    let text = fs::read_to_string(mix).unwrap();
    fs::write(
        &ends,
        text.replace("block_size", "stop = \"first_exhausted\"\nblock_size"),
    )
    .unwrap();
    let ends = ends.to_str().unwrap();
    for (arguments, expected) in [
        (&["report", mix, "--data", folder][..], "--tokens <TOKENS>"),
        (
            &["report", mix, "--data", folder, "--tokens", "-1"],
            "--tokens",
        ),
        (
            &["plot", mix, "--tokens", "many", "--out", out],
            "like 500e9",
        ),
        (
            &["plot", mix, "--sequences", "0", "--out", out],
            "the number of sequences is 0",
        ),
        (
            &[
                "plot",
                mix,
                "--sequences",
                "9",
                "--seq-len",
                "32",
                "--out",
                "/nowhere/x.svg",
            ],
            "cannot write /nowhere/x.svg",
        ),
        (
            &["report", "pretrain", "--data", folder, "--tokens", "1e9"],
            "emilia-en",
        ),
        (
            &[
                "report",
                mix,
                "--data",
                folder,
                "--tokens",
                "9",
                "--seq-len",
                "8",
            ],
            "sequence length is 8",
        ),
        (
            &[
                "report",
                ends,
                "--data",
                folder,
                "--sequences",
                "9000",
                "--seq-len",
                "32",
            ],
            "first_exhausted",
        ),
        (
            &["show", mix, "--block-size", "3"],
            "set block_size to at least 8",
        ),
        (&["show", "pretrian"], "did you mean \"pretrain\"?"),
    ] {
        let output = run(data.path(), arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains(expected),
            "{arguments:?}: {errors}"
        );
    }
}
