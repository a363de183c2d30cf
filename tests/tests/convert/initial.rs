//! What a run begins with.

use std::fs;
use std::path::Path;

use burn_flex::Flex;
use experiments::ModelConfig;
use pretrain::hf::{InitialWeights, folder_config, initial_weights};
use pretrain::model::named_params;

use crate::{IDS, ROWS, base, copy_of, tensor};

const EMBEDDING: &str = "model.embed_tokens.weight";

fn config() -> ModelConfig {
    folder_config(&base()).unwrap().0
}

fn load(config: &ModelConfig, rows: usize) -> Result<InitialWeights<Flex>, String> {
    initial_weights(&base(), config, rows, &Default::default()).map_err(|e| e.to_string())
}

#[test]
fn rows_beyond_the_vocabulary_are_dropped_and_a_tied_head_is_copied() {
    let untied = ModelConfig {
        tie_word_embeddings: false,
        rms_norm_eps: 1e-5,
        ..config()
    };
    let found = load(&untied, IDS).unwrap();
    let notes = found.notes.join("\n");
    for part in [
        "the last 9 of 288 rows",
        "copy of the embedding",
        "1e-6, and the run has 1e-5",
    ] {
        assert!(notes.contains(part), "`{part}` is not in: {notes}");
    }
    let params = named_params(&found.model);
    let values = |name: &str| -> Vec<f32> {
        let param = params.iter().find(|param| param.name == name).unwrap();
        param.data.to_vec().unwrap()
    };
    let rows = tensor(&base(), EMBEDDING)[..IDS * 16].to_vec();
    assert_eq!(values(EMBEDDING), rows);
    assert_eq!(values("lm_head.weight"), rows);
    let layer = "model.layers.0.self_attn.q_norm.weight";
    assert_eq!(values(layer), tensor(&base(), layer));
    assert!(load(&config(), ROWS).unwrap().notes.is_empty());
}

#[test]
fn weights_that_do_not_fit_the_run_are_refused() {
    let with = |change: &dyn Fn(&mut ModelConfig)| {
        let mut config = config();
        change(&mut config);
        config
    };
    for (config, rows, parts) in [
        (config(), 300, ["rows for 288 ids", "qwen3x"]),
        (
            with(&|c| c.hidden_size = 32),
            ROWS,
            [
                "`model.embed_tokens.weight` has shape [288, 16]",
                "[288, 32]",
            ],
        ),
        (
            with(&|c| c.head_dim = 16),
            ROWS,
            ["self_attn.q_proj.weight", "[64, 16]"],
        ),
        (
            with(&|c| c.num_hidden_layers = 3),
            ROWS,
            ["`model.layers.2.", "is missing"],
        ),
        (
            with(&|c| c.num_hidden_layers = 1),
            ROWS,
            ["has 2 layers", "num_hidden_layers=2"],
        ),
    ] {
        let error = load(&config, rows).err().unwrap();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

#[test]
fn a_head_of_its_own_and_a_nan_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let untied = dir.path().join("untied");
    let mut qwen3x = crate::convert("qwen3x", &base());
    qwen3x.args(["--codebooks", "1", "--codebook-size", "4"]);
    tests::run_ok(qwen3x.arg("--out").arg(&untied));
    let load = |folder: &Path, config: &ModelConfig, rows| {
        let loaded = initial_weights::<Flex>(folder, config, rows, &Default::default());
        loaded.err().map(|e| e.to_string())
    };
    let error = load(&untied, &config(), IDS).unwrap();
    assert!(error.contains("model.tie_word_embeddings=false"), "{error}");

    let damaged = copy_of(&untied, &dir.path().join("damaged"));
    let (config, rows) = folder_config(&damaged).unwrap();
    assert_eq!(load(&damaged, &config, rows), None);
    let path = damaged.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    // the last tensor by name, its last number
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = load(&damaged, &config, rows).unwrap();
    assert!(
        error.contains("`model.norm.weight`") && error.contains("NaN at place 15"),
        "{error}"
    );
}
