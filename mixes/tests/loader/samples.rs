//! Sequences as the program shows them: they read as the documents that they are of.

use crate::common::*;
use crate::program::*;
use mixes::*;
use serde_json::Value;
use shards::*;
use std::collections::BTreeSet;
use std::fs;
use tempfile::TempDir;

#[test]
fn samples_read_as_the_documents() {
    let data = TempDir::new().unwrap();
    let mix = three(data.path());
    let vocab = Vocab::load(&data.path().join("large/tokenizer")).unwrap();
    let mut whole = BTreeSet::new();
    for number in 0..1800 {
        let document = document(number, &vocab);
        for audio_first in [false, true] {
            let blocks = document.segments.iter().map(|segment| {
                let text = match segment.text_ids.as_slice() {
                    [] => String::new(),
                    ids => format!(
                        "<|text_start|>{}<|text_end|>",
                        vocab.decode_text(ids).unwrap()
                    ),
                };
                let frames = segment.codes.len() / CODEBOOKS;
                let audio = format!("<|audio_start|>[a:{frames}]<|audio_end|>");
                if audio_first {
                    audio + &text
                } else {
                    text + &audio
                }
            });
            whole.insert(format!(
                "<|begin_of_text|>{}<|end_of_text|>",
                blocks.collect::<String>()
            ));
        }
    }
    let (path, folder) = (mix.to_str().unwrap(), data.path().to_str().unwrap());
    let loader = opened(&mix, data.path());
    let arguments = [
        "report",
        path,
        "--data",
        folder,
        "--sequences",
        "60",
        "--seq-len",
        "32",
        "--samples",
        "50",
    ];
    let report = json(data.path(), &[&arguments[..], &["--json"]].concat());
    let samples = report["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 50);
    let (mut found, mut halves) = (0, 0);
    for (index, sample) in samples.iter().enumerate() {
        let sequence = loader.sequence(index as u64).unwrap();
        let component = corpus_of(&sequence, loader.vocab());
        assert_eq!(sample["component"], ["large", "middle", "small"][component]);
        let documents = sample["documents"].as_array().unwrap();
        assert_eq!(
            documents.len() as u32,
            sequence.segment_ids.last().unwrap() + 1
        );
        let tokens = documents.iter().map(|d| d["tokens"].as_u64().unwrap());
        assert_eq!(tokens.sum::<u64>(), SEQ_LEN as u64);
        for document in documents {
            let text = document["text"].as_str().unwrap();
            if text.starts_with("<|begin_of_text|>") && text.ends_with("<|end_of_text|>") {
                assert!(whole.contains(text), "{text}");
                found += 1;
            }
            halves += usize::from(text.contains(".5]"));
        }
    }
    assert!(
        found > 20 && halves > 5,
        "{found} documents, {halves} with half a frame"
    );

    // the same as text, behind the report or in a file
    let first = samples[0]["documents"][0]["text"].as_str().unwrap();
    let text = printed(data.path(), &arguments);
    assert!(
        text.contains("sequence 49, ") && text.contains(first),
        "{text}"
    );
    let file = data.path().join("samples.txt");
    let text = printed(
        data.path(),
        &[&arguments[..], &["--sample-out", file.to_str().unwrap()]].concat(),
    );
    assert!(!text.contains(first) && fs::read_to_string(&file).unwrap().contains(first));

    // and as tokens
    let arguments = [
        "sequences",
        path,
        "--data",
        folder,
        "--seq-len",
        "32",
        "--from",
        "7",
        "--count",
        "3",
        "--json",
    ];
    let lines = printed(data.path(), &arguments);
    assert_eq!(lines.lines().count(), 3);
    for (line, index) in lines.lines().zip(7..) {
        let (line, expected): (Value, _) = (
            serde_json::from_str(line).unwrap(),
            loader.sequence(index).unwrap(),
        );
        assert_eq!(line["sequence"], index);
        assert_eq!(line["tokens"], serde_json::json!(expected.tokens));
        assert_eq!(line["segment_ids"], serde_json::json!(expected.segment_ids));
        assert_eq!(
            line["loss_weights"],
            serde_json::json!(expected.loss_weights)
        );
    }
}

#[test]
fn padding_is_named_and_best_fit_documents_are_whole() {
    let data = TempDir::new().unwrap();
    dataset(data.path(), 1, 100);
    let mixture = Mixture {
        packing: Packing::BestFit,
        ..mixture(View::Both)
    };
    let loader = load(&mixture, data.path());
    let per_epoch = loader.summary().sequences_per_epoch;
    let mut padded = 0;
    for index in 0..per_epoch {
        for document in report::Sample::new(&loader, index).unwrap().documents {
            let is_padding = document.text == "[padding]";
            padded += u64::from(is_padding);
            assert!(
                is_padding
                    || document.text.ends_with("<|audio_end|><|end_of_text|>")
                    || document.text.ends_with("<|text_end|><|end_of_text|>")
            );
        }
    }
    assert!(padded > per_epoch / 2, "{padded} of {per_epoch}");
}
