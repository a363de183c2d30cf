//! Models extended with audio tokens.

use std::fs;
use std::path::{Path, PathBuf};

use experiments::RopeConfig;
use pretrain::hf::folder_config;
use serde_json::Value;
use tests::{assert_same_bytes, fixture, run, run_ok};

use crate::{IDS, ROWS, assert_close, base, convert, copy_of, expected, logits, prompt, tensor};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
const WIDTH: usize = 16;
/// Begin of text, four markers, and two codebooks of 100 codes.
const NEW: usize = 1 + 4 + 200;

/// The fixture, or another base, extended with few audio tokens.
fn extended(base: &Path, out: &Path, extra: &[&str]) -> String {
    let mut qwen3x = convert("qwen3x", base);
    qwen3x.args(["--codebooks", "2", "--codebook-size", "100"]);
    run_ok(qwen3x.args(extra).arg("--out").arg(out))
}

/// Copied rows are those of `source`, and the others their mean with noise of deviation 0.02.
#[track_caller]
fn assert_rule(matrix: &[f32], source: &[f32], mean: &[f32]) {
    assert_eq!(matrix.len(), (IDS + NEW) * WIDTH);
    assert_eq!(matrix[..IDS * WIDTH], source[..IDS * WIDTH]);
    let noise: Vec<f64> = matrix[IDS * WIDTH..]
        .iter()
        .enumerate()
        .map(|(at, value)| f64::from(value - mean[at % WIDTH]))
        .collect();
    // Each row has a noise of its own, so each is checked: a normal's norm is 4 of 0.02 ± 0.7, and 5 deviations are allowed.
    let norm = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>().sqrt();
    for (row, noise) in noise.chunks(WIDTH).enumerate() {
        let norm = norm(noise) / 0.02;
        assert!((1.0..8.0).contains(&norm), "row {}: {norm}", IDS + row);
    }
    let n = noise.len() as f64;
    let deviation = norm(&noise) / n.sqrt();
    let mean = noise.iter().sum::<f64>() / n;
    // 3,280 draws: the deviation is known to 1.2 %, the mean to 0.00035
    assert!((deviation / 0.02 - 1.0).abs() < 0.05, "{deviation}");
    assert!(mean.abs() < 0.0015, "{mean}");
}

#[test]
fn new_rows_are_the_mean_and_noise_and_the_rest_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let said = extended(&base(), &out, &[]);
    for part in [
        "279 copied, 205 new, 484 in all; 9 of the base",
        "the base model's: theta 1000000, no scaling",
        "epsilon 1e-6",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let source = tensor(&base(), EMBEDDING);
    assert_eq!(source.len(), ROWS * WIDTH);
    let mean = expected("mean_row");
    let [embedding, head] = [EMBEDDING, HEAD].map(|name| tensor(&out, name));
    assert_rule(&embedding, &source, &mean);
    assert_rule(&head, &source, &mean);
    assert_ne!(
        embedding[IDS * WIDTH..],
        head[IDS * WIDTH..],
        "the same noise"
    );
    let row = |at: usize| &embedding[at * WIDTH..(at + 1) * WIDTH];
    assert_ne!(row(IDS), row(IDS + 1), "the same noise");
    let layer = "model.layers.1.mlp.down_proj.weight";
    assert_eq!(tensor(&out, layer), tensor(&base(), layer));

    let (model, rows) = folder_config(&out).unwrap();
    assert_eq!((model.tie_word_embeddings, rows), (false, IDS + NEW));
    // a text goes on as before
    let wide = logits(&out, &prompt());
    let text: Vec<f32> = wide
        .chunks(rows)
        .flat_map(|row| &row[..IDS])
        .copied()
        .collect();
    let before = expected("logits");
    let before: Vec<f32> = before
        .chunks(ROWS)
        .flat_map(|row| &row[..IDS])
        .copied()
        .collect();
    assert_close(&text, &before, 1e-5);
}

#[test]
fn the_tokenizer_is_extended_as_the_model_is() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    extended(&base(), &out, &[]);
    let vocab = shards::Vocab::load(&out).unwrap();
    let layout = vocab.layout();
    assert_eq!(layout.vocab_size as usize, IDS + NEW);
    // <|endoftext|> is the third from the end
    assert_eq!((layout.eos, layout.bos), (IDS as u32 - 3, IDS as u32));
    let ids = vocab.encode_text("the cold river").unwrap();
    let same: Vec<u32> = prompt().iter().map(|&id| id as u32).collect();
    assert_eq!(ids, same);
    let generation = fs::read(out.join("generation_config.json")).unwrap();
    let generation: Value = serde_json::from_slice(&generation).unwrap();
    assert_eq!(generation["bos_token_id"], layout.bos);
    assert_eq!(generation["eos_token_id"], layout.eos);
}

#[test]
fn the_seed_decides_the_noise() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name));
    extended(&base(), &a, &["--seed", "7"]);
    extended(&base(), &b, &["--seed", "7"]);
    extended(&base(), &c, &["--seed", "8"]);
    assert_same_bytes(&a, &b);
    let noise = |folder: &PathBuf| tensor(folder, HEAD)[IDS * WIDTH..].to_vec();
    assert_ne!(noise(&a), noise(&c));
}

#[test]
fn the_head_of_an_untied_base_is_extended_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let untied = dir.path().join("untied");
    copy_of(&base(), &untied);
    for shard in 1..=2 {
        fs::remove_file(untied.join(format!("model-0000{shard}-of-00002.safetensors"))).unwrap();
    }
    fs::remove_file(untied.join("model.safetensors.index.json")).unwrap();
    let config = fs::read_to_string(untied.join("config.json")).unwrap();
    let config = config.replace(
        "\"tie_word_embeddings\": true",
        "\"tie_word_embeddings\": false",
    );
    fs::write(untied.join("config.json"), config).unwrap();
    let bytes = fs::read(fixture("convert/float32.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let head: Vec<f32> = (0..ROWS * WIDTH).map(|at| (at as f32).sin()).collect();
    let head_bytes: Vec<u8> = head.iter().flat_map(|x| x.to_le_bytes()).collect();
    let dtype = safetensors::Dtype::F32;
    let view = safetensors::tensor::TensorView::new(dtype, vec![ROWS, WIDTH], &head_bytes);
    let mut views = file.tensors();
    views.push((HEAD.to_owned(), view.unwrap()));
    safetensors::serialize_to_file(views, None, &untied.join("model.safetensors")).unwrap();

    let out = dir.path().join("out");
    extended(&untied, &out, &[]);
    let mean: Vec<f32> = (0..WIDTH)
        .map(|column| {
            let column = head[..IDS * WIDTH].iter().skip(column).step_by(WIDTH);
            (column.map(|&x| f64::from(x)).sum::<f64>() / IDS as f64) as f32
        })
        .collect();
    assert_rule(&tensor(&out, HEAD), &head, &mean);
    assert_rule(
        &tensor(&out, EMBEDDING),
        &tensor(&base(), EMBEDDING),
        &expected("mean_row"),
    );
}

#[test]
fn the_recipes_rope_is_taken_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let said = extended(&base(), &out, &["--rope", "recipe"]);
    assert!(
        said.contains(
            "the recipe's: theta 500000, Llama-3 scaling by 8 from 8192 positions, epsilon 1e-5"
        ),
        "{said}"
    );
    let (model, _) = folder_config(&out).unwrap();
    assert_eq!(
        (model.rope, model.rms_norm_eps),
        (RopeConfig::default(), 1e-5)
    );
}

#[test]
fn bases_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    extended(&base(), &dir.path().join("extended"), &[]);
    let bare = copy_of(&base(), &dir.path().join("bare"));
    fs::remove_file(bare.join("tokenizer.json")).unwrap();
    let larger = copy_of(&base(), &dir.path().join("larger"));
    let tokenizer = fs::read_to_string(larger.join("tokenizer.json")).unwrap();
    assert!(tokenizer.contains("\"id\": 278"));
    let tokenizer = tokenizer.replace("\"id\": 278", "\"id\": 300");
    fs::write(larger.join("tokenizer.json"), tokenizer).unwrap();
    for (base, parts) in [
        (
            dir.path().join("extended"),
            ["already extended", "tokenizer.json"],
        ),
        (bare, ["cannot read base tokenizer", "tokenizer.json"]),
        (larger, ["301 ids", "288 rows"]),
    ] {
        let run = run(convert("qwen3x", &base).arg("--out").arg(&out));
        assert_eq!(run.code, Some(1));
        for part in parts {
            assert!(
                run.stderr.contains(part),
                "`{part}` is not in: {}",
                run.stderr
            );
        }
        assert!(!out.exists());
    }
}
