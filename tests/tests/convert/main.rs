//! `convert` on a tiny Qwen3 of transformers, `tests/fixtures/convert`, made by `scripts/make_convert_fixtures.py`.

mod exchange;
mod extend;
mod hub;
mod initial;
mod run;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::{Tensor, TensorData};
use burn_flex::Flex;
use experiments::Precision;
use pretrain::hf::{folder_config, initial_weights};
use pretrain::model::{Context, Qwen3, RopeTable, document_starts};
use pretrain::weights::Weights;
use safetensors::SafeTensors;
use tests::{bin, fixture};

/// Ids of the fixture's tokenizer, and rows of its model.
const IDS: usize = 279;
const ROWS: usize = 288;

/// The model as the hub would have it.
fn base() -> PathBuf {
    fixture("convert/base")
}

/// `convert COMMAND SOURCE`, of which `--out` is still to be given.
fn convert(command: &str, source: &Path) -> Command {
    let mut convert = bin("convert");
    convert.arg(command);
    if command == "qwen3x" {
        convert.arg("--base");
    }
    convert.arg(source);
    convert
}

/// A copy of a folder's files.
fn copy_of(folder: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    to.to_owned()
}

/// f32 values of a tensor that transformers computed.
fn expected(name: &str) -> Vec<f32> {
    let bytes = fs::read(fixture("convert/expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor(name).unwrap().data().to_vec();
    let values = data.chunks_exact(4);
    values
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// The prompt whose logits the fixture holds.
fn prompt() -> Vec<i32> {
    let bytes = fs::read(fixture("convert/expected.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let data = file.tensor("ids").unwrap().data().to_vec();
    let values = data.chunks_exact(4);
    values
        .map(|b| i32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Logits `[tokens, rows]` that a folder's model gives here.
fn logits(folder: &Path, ids: &[i32]) -> Vec<f32> {
    let (config, rows) = folder_config(folder).unwrap();
    let device = Default::default();
    let model: Qwen3<Flex> = initial_weights(folder, &config, rows, &device)
        .unwrap()
        .model;
    let rope = RopeTable::new(&config.rope, config.head_dim, 0, ids.len(), &device);
    let document = vec![0; ids.len()];
    let context = Context {
        rope,
        starts: document_starts(&[&document], &device),
        precision: Precision::F32,
    };
    let tokens = TensorData::new(ids.to_vec(), [1, ids.len()]);
    let hidden = model.hidden(Tensor::from_data(tokens, &device), &context);
    let hidden = hidden.squeeze_dim::<2>(0);
    let logits = hidden.matmul(model.head().transpose());
    logits.into_data().to_vec().unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    let pairs = found.iter().zip(expected);
    let error = pairs.fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(error <= tolerance * scale, "error {error} of {scale}");
}

/// A tensor of a folder's `model` as f32.
fn tensor(folder: &Path, name: &str) -> Vec<f32> {
    let weights = Weights::open(folder, "model").unwrap();
    weights.tensor(name).unwrap().to_vec().unwrap()
}
