//! Running the program `mixes`.

use crate::common::*;
use mixes::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Three corpora of different sizes, and a mixture of them whose second stage goes over into the third.
pub fn three(data: &Path) -> PathBuf {
    dataset_of(data, "large", 2, 900, 0);
    dataset_of(data, "middle", 1, 500, 1);
    dataset_of(data, "small", 1, 60, 2);
    let path = data.join("three.toml");
    let text = r#"
        name = "three"
        validation_fraction = 0.2
        block_size = 16
        components = [
            { source = "large", view = "both", codebooks = 2 },
            { source = "middle", view = "audio-first", codebooks = 2 },
            { source = "small", view = "text-first", codebooks = 2 },
        ]
        [[stages]]
        start_sequences = 0
        weights = { large = 5, middle = 2, small = 1 }
        [[stages]]
        start_sequences = 160
        weights = { large = 1, middle = 2, small = 5 }
        interpolate = true
        [[stages]]
        start_sequences = 320
        weights = { large = 3, middle = 4, small = 1 }
    "#;
    fs::write(&path, text).unwrap();
    path
}

pub fn run(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mixes"));
    command.env("TIMBRE_CACHE", data.join(".cache"));
    command.args(arguments).output().unwrap()
}

/// What the program prints, after it succeeded.
pub fn printed(data: &Path, arguments: &[&str]) -> String {
    let output = run(data, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

pub fn json(data: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(data, arguments)).unwrap()
}

/// The loader that the program opens.
pub fn opened(mix: &Path, data: &Path) -> Loader {
    let options = LoaderOptions {
        seed: 0,
        window_groups: LoaderOptions::WINDOW_GROUPS,
        ..options(data)
    };
    let mixture = Mixture::open(mix.to_str().unwrap()).unwrap();
    Loader::open(&mixture, data.to_str().unwrap(), &options).unwrap()
}
