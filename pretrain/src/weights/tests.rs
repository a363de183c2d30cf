use std::fs;

use burn::tensor::TensorData;
use half::{bf16, f16};
use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;

use super::*;
use crate::model::NamedTensor;

/// Tensors of 6, 4 and 1 numbers, out of order.
fn tensors() -> Vec<NamedTensor> {
    let tensor = |name: &str, values: Vec<f32>, shape: &[usize]| NamedTensor {
        name: name.into(),
        data: TensorData::new(values, shape.to_vec()),
    };
    vec![
        tensor(
            "c",
            vec![1.5, -2.0, 0.1, 3.0, 4.0, f32::MIN_POSITIVE],
            &[2, 3],
        ),
        tensor("a", vec![1.0, 2.0, 3.0, 4.0], &[4]),
        tensor("b", vec![-0.0], &[1]),
    ]
}

fn write(dir: &Path, tensors: &[NamedTensor], dtype: FloatType, max: u64) -> Vec<String> {
    let lazy = tensors.iter().map(LazyTensor::from);
    let paths = write_weights(dir, "model", lazy, dtype, max).unwrap();
    paths
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A `model.safetensors` as the safetensors crate writes it.
fn foreign(dtype: Dtype, shape: Vec<usize>, bytes: &[u8]) -> TempDir {
    let dir = folder();
    let view = TensorView::new(dtype, shape, bytes).unwrap();
    let path = dir.path().join("model.safetensors");
    safetensors::serialize_to_file([("x", view)], None, &path).unwrap();
    dir
}

#[track_caller]
fn assert_says<T>(result: Result<T>, parts: &[&str]) {
    let message = result.map(|_| ()).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn one_file_or_shards_hold_what_was_written() {
    for (max, files) in [
        (44, 1),
        // after 5 numbers of a and b, c would be more than 43 bytes
        (43, 3),
        (20, 3),
        // less than any tensor
        (1, 4),
    ] {
        let dir = folder();
        let written = write(dir.path(), &tensors(), FloatType::F32, max);
        assert_eq!(written.len(), files, "{max}: {written:?}");
        let weights = Weights::open(dir.path(), "model").unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["a", "b", "c"]);
        for tensor in tensors() {
            let found = weights.tensor(&tensor.name).unwrap();
            assert_eq!(found.shape, tensor.data.shape, "{}", tensor.name);
            assert_eq!(found.as_bytes(), tensor.data.as_bytes(), "{}", tensor.name);
        }
    }
}

#[test]
fn the_index_is_hugging_faces() {
    let dir = folder();
    let written = write(dir.path(), &tensors(), FloatType::F32, 20);
    let [first, second] = [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ];
    assert_eq!(written, [first, second, "model.safetensors.index.json"]);
    let index = fs::read(dir.path().join(&written[2])).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(
        index,
        serde_json::json!({
            "metadata": { "total_size": 44 },
            "weight_map": { "a": first, "b": first, "c": second },
        })
    );
}

#[test]
fn a_file_has_the_bytes_that_the_crate_of_the_format_gives() {
    let dir = folder();
    write(dir.path(), &tensors(), FloatType::F32, MAX_SHARD_BYTES);
    let ours = fs::read(dir.path().join("model.safetensors")).unwrap();
    let tensors = tensors();
    let views = tensors.iter().map(|tensor| {
        let shape = tensor.data.shape.to_vec();
        let view = TensorView::new(Dtype::F32, shape, tensor.data.as_bytes());
        (&tensor.name, view.unwrap())
    });
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    assert!(ours == safetensors::serialize(views, metadata).unwrap());
}

#[test]
fn bf16_is_rounded_to_nearest_even_and_read_back() {
    // 1 + k/256 lies between two numbers of bf16 for odd k: down to 1, up to 1 + 4/256
    let values = [
        1.0,
        1.0 + 1.0 / 256.0,
        1.0 + 3.0 / 256.0,
        1.0 + 1.001 / 256.0,
        -1.5,
        f32::INFINITY,
        f32::NAN,
    ];
    let rounded = [1.0, 1.0, 1.015625, 1.0078125, -1.5, f32::INFINITY];
    let dir = folder();
    let tensor = NamedTensor {
        name: "x".into(),
        data: TensorData::new(values.to_vec(), [values.len()]),
    };
    write(dir.path(), &[tensor], FloatType::Bf16, MAX_SHARD_BYTES);
    let weights = Weights::open(dir.path(), "model").unwrap();
    assert_eq!(weights.dtype("x").unwrap(), Dtype::BF16);
    let found = weights.tensor("x").unwrap().to_vec::<f32>().unwrap();
    assert_eq!(found[..6], rounded);
    assert!(found[6].is_nan());
    assert_says(weights.finite_tensor("x"), &["`x`", "inf", "place 5"]);
}

#[test]
fn halves_of_both_kinds_are_read() {
    let bytes: Vec<u8> = [1.5, -0.25]
        .map(|x| f16::from_f32(x).to_le_bytes())
        .concat();
    let dir = foreign(Dtype::F16, vec![2], &bytes);
    let weights = Weights::open(dir.path(), "model").unwrap();
    assert_eq!(
        weights.tensor("x").unwrap().to_vec::<f32>().unwrap(),
        [1.5, -0.25]
    );

    let bytes: Vec<u8> = [3.0, -1e30]
        .map(|x| bf16::from_f32(x).to_le_bytes())
        .concat();
    let dir = foreign(Dtype::BF16, vec![1, 2], &bytes);
    let weights = Weights::open(dir.path(), "model").unwrap();
    let found = weights.tensor("x").unwrap();
    assert_eq!(
        found.to_vec::<f32>().unwrap(),
        [3.0, bf16::from_f32(-1e30).to_f32()]
    );
    assert_eq!(weights.shape("x").unwrap(), [1, 2]);
    weights.finite_tensor("x").unwrap();
}

#[test]
fn what_can_not_be_read_is_named() {
    let dir = folder();
    assert_says(
        Weights::open(dir.path(), "model"),
        &["neither model.safetensors", "pytorch_model.bin"],
    );
    let dir = foreign(Dtype::I64, vec![1], &7u64.to_le_bytes());
    let weights = Weights::open(dir.path(), "model").unwrap();
    assert_says(weights.tensor("x"), &["model.safetensors", "`x`", "I64"]);
    assert_says(weights.lazy("x").map(|_| ()), &["I64", "not quantized"]);
    assert_says(weights.tensor("y"), &["`y` is missing"]);

    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for length in [0, 7, 40, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        assert_says(
            Weights::open(dir.path(), "model"),
            &["model.safetensors: not a complete", "again"],
        );
    }
}

#[test]
fn an_index_that_does_not_fit_its_shards_is_refused() {
    let dir = folder();
    write(dir.path(), &tensors(), FloatType::F32, 20);
    let path = dir.path().join("model.safetensors.index.json");
    let index = fs::read_to_string(&path).unwrap();
    for (from, to, parts) in [
        ("\"a\":", "\"z\":", vec!["`z` is missing", "index.json"]),
        (
            "model-00002",
            "model-00003",
            vec!["cannot open", "model-00003"],
        ),
        (
            "\"model-00002",
            "\"../model-00002",
            vec!["not in this folder"],
        ),
        ("{", "[", vec!["not an index"]),
    ] {
        fs::write(&path, index.replace(from, to)).unwrap();
        assert_says(Weights::open(dir.path(), "model"), &parts);
    }
}

#[test]
fn a_tensor_that_fails_fails_the_writing() {
    let dir = folder();
    let empty = foreign(Dtype::F32, vec![0], &[]);
    let weights = Weights::open(empty.path(), "model").unwrap();
    let failing = LazyTensor::new("a", vec![1], || weights.f32_bytes("none"));
    let result = write_weights(
        dir.path(),
        "model",
        [failing],
        FloatType::F32,
        MAX_SHARD_BYTES,
    );
    assert_says(result, &["`none` is missing"]);
}
