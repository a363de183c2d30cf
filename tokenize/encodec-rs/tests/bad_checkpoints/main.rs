//! Checkpoints that are damaged, or of something else: the error says what and where, and nothing panics.

mod settings;
mod weights;

use std::collections::BTreeMap;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use encodec_rs::models::{self, CONFIG_FILE, WEIGHTS_FILE};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// One of each architecture, and one with group norm and chunks.
const FIXTURES: [&str; 4] = ["mimi", "encodec-24khz", "encodec-48khz", "dac"];

fn fixture(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests/fixtures/codecs").join(name)
}

fn config_of(name: &str) -> Map<String, Value> {
    let text = fs::read_to_string(fixture(name).join(CONFIG_FILE)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn weights_of(name: &str) -> Vec<u8> {
    fs::read(fixture(name).join(WEIGHTS_FILE)).unwrap()
}

struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The weights of a fixture, changed.
fn edited(name: &str, edit: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Vec<u8> {
    let file = weights_of(name);
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let mut tensors: BTreeMap<String, Tensor> = tensors
        .iter()
        .map(|(name, view)| {
            let tensor = Tensor {
                dtype: view.dtype(),
                shape: view.shape().to_vec(),
                bytes: view.data().to_vec(),
            };
            (name.to_owned(), tensor)
        })
        .collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, t)| {
        (
            name,
            TensorView::new(t.dtype, t.shape.clone(), &t.bytes).unwrap(),
        )
    });
    serialize(views, None).unwrap()
}

/// Loads what is given, and says what is wrong with it.
fn load(config: &[u8], weights: &[u8]) -> Result<(), String> {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(CONFIG_FILE), config).unwrap();
    fs::write(folder.path().join(WEIGHTS_FILE), weights).unwrap();
    models::load(folder.path(), "test", None)
        .map(|_| ())
        .map_err(|e| e.to_string())
}

#[track_caller]
fn assert_says(result: Result<(), String>, parts: &[&str]) {
    let message = result.expect_err("loaded");
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

/// Loading these weights with the fixture's own configuration fails with all of `parts` in its message.
#[track_caller]
fn assert_bad_weights(name: &str, weights: &[u8], parts: &[&str]) {
    let config = serde_json::to_vec(&config_of(name)).unwrap();
    let result = load(&config, weights);
    assert_says(result, &[&[WEIGHTS_FILE], parts].concat());
}

/// Loading the fixture with `key` set to `value` fails with all of `parts` in its message.
#[track_caller]
fn assert_bad_config(name: &str, key: &str, value: Value, parts: &[&str]) {
    let mut config = config_of(name);
    config.insert(key.to_owned(), value);
    let result = load(&serde_json::to_vec(&config).unwrap(), &weights_of(name));
    assert_says(result, &[&[CONFIG_FILE], parts].concat());
}

#[test]
fn the_fixtures_themselves_are_read() {
    for name in FIXTURES {
        let config = serde_json::to_vec(&config_of(name)).unwrap();
        load(&config, &weights_of(name)).unwrap();
        // the helper of these tests changes nothing by itself
        load(&config, &edited(name, |_| {})).unwrap();
    }
}

/// Numbers and others at which arithmetic is wont to fail.
fn odd_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(|x| json!(x)),
        any::<u64>().prop_map(|x| json!(x)),
        (0..64u32).prop_map(|bit| json!(1u64 << bit)),
        any::<i64>().prop_map(|x| json!(x)),
        any::<f64>().prop_map(|x| json!(x)),
        prop::collection::vec(0..100_000usize, 0..20).prop_map(|x| json!(x)),
        any::<bool>().prop_map(|x| json!(x)),
        Just(Value::Null),
        Just(json!("time_group_norm")),
    ]
}

fn check_no_panic(config: &[u8], weights: &[u8]) -> Result<(), TestCaseError> {
    let loaded = panic::catch_unwind(|| load(config, weights));
    prop_assert!(loaded.is_ok(), "loading panicked");
    Ok(())
}

proptest! {
    #[test]
    fn odd_settings_never_panic(
        name in prop::sample::select(&FIXTURES),
        keys in prop::collection::vec((any::<prop::sample::Index>(), odd_value()), 1..4),
    ) {
        let mut config = config_of(name);
        let names: Vec<String> = config.keys().cloned().collect();
        for (key, value) in keys {
            config.insert(key.get(&names).clone(), value);
        }
        check_no_panic(&serde_json::to_vec(&config).unwrap(), &weights_of(name))?;
    }

    #[test]
    fn damaged_weights_never_panic(
        name in prop::sample::select(&FIXTURES),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        in_header in any::<bool>(),
        kept in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = weights_of(name);
        let header = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let range = if in_header { header } else { file.len() };
        for (at, byte) in damage {
            file[at.index(range)] = byte;
        }
        if let Some(kept) = kept {
            file.truncate(kept.index(file.len()));
        }
        check_no_panic(&serde_json::to_vec(&config_of(name)).unwrap(), &file)?;
    }
}
