//! The checkpoint of a run, exported.

use std::fs;

use serde_json::Value;
use tests::{TokenizeJob, bin, corpus, run_ok};

use crate::{convert, logits};

/// A model and a run as small as can be.
const TINY: [&str; 9] = [
    "model.hidden_size=32",
    "model.intermediate_size=64",
    "model.num_hidden_layers=2",
    "model.num_attention_heads=2",
    "model.num_key_value_heads=1",
    "model.head_dim=16",
    "seq_len=64",
    "batch_size=2",
    "steps=4",
];

#[test]
fn an_export_has_the_runs_model_vocabulary_and_story() {
    let job = TokenizeJob::new();
    let data = job.path("data");
    run_ok(&mut job.command_for(&corpus(), &data.join("quickstart")));
    let run = job.path("run");
    let mut pretrain = bin("pretrain");
    pretrain
        .arg("quickstart")
        .arg("--data")
        .arg(&data)
        .arg("--out")
        .arg(&run);
    run_ok(pretrain.args(TINY.iter().flat_map(|set| ["--set", set])));
    let checkpoint = run.join("checkpoints/step-4");
    let out = job.path("exported");
    let mut export = convert("hf-export", &checkpoint);
    let json = run_ok(export.arg("--json").arg("--out").arg(&out));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["step"], 4);

    let ids = [0, 5, 700, 1030, 1031, 17_000];
    let ours = logits(&checkpoint, &ids);
    assert_eq!(ours.len() as u64, 6 * json["rows"].as_u64().unwrap());
    assert!(logits(&out, &ids) == ours, "other logits");

    let read = |name: &str| fs::read(out.join(name)).unwrap();
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "audio_vocab.json",
    ] {
        assert!(
            read(name) == fs::read(checkpoint.join(name)).unwrap(),
            "{name}"
        );
    }
    let [generation, layout] = ["generation_config.json", "audio_vocab.json"]
        .map(|name| serde_json::from_slice::<Value>(&read(name)).unwrap());
    assert_eq!(generation["bos_token_id"], layout["bos"]);
    assert_eq!(generation["eos_token_id"], layout["eos"]);

    // the last validation, as the run recorded it
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let last = metrics
        .lines()
        .rev()
        .find(|line| line.contains("\"validation\""));
    let last: Value = serde_json::from_str(last.unwrap()).unwrap();
    let loss = last["by_kind"]["acoustic-3"].as_f64().unwrap();
    let card = String::from_utf8(read("README.md")).unwrap();
    for part in [
        "---\nlibrary_name: transformers",
        "# quickstart",
        "step 4 of 4, 512 tokens",
        "| `<\\|audio_start\\|>` | 1026 |",
        "codec `mel-rvq`",
        "| quickstart | both | ",
        &format!("| acoustic-3 | {loss:.4} | "),
        "batch_size = 2",
        "[schedule]",
        "<|begin_of_text|><|text_start|>Good morning.<|text_end|><|audio_start|>",
    ] {
        assert!(card.contains(part), "`{part}` is not in:\n{card}");
    }
}
